"""The integer BPE against a hand-worked example, Hugging Face's trainer and encoder, and its own inverse."""

from __future__ import annotations

import json
import pickle
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, trainers

from fastki.errors import TokenizerError, UsageError
from fastki.tokenizer import bpe as bpe_module
from fastki.tokenizer import bpe_checks
from fastki.tokenizer.bpe import Bpe, train_bpe
from fastki.tokenizer.bpe_code import encode_kernel
from fastki.tokenizer.bpe_train import train_kernel
from fastki.tokenizer.ragged import Ragged

FIRST = 0x4E00  # code point of symbol 0: far from digits, spaces and surrogates


def text(symbols) -> str:
    return "".join(map(chr, (np.asarray(symbols) + FIRST).tolist()))


def hf_train(sequences: Ragged, num_symbols: int, vocab_size: int, min_count: int = 2) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_count,
        initial_alphabet=list(text(range(num_symbols))),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(map(text, sequences), trainer)
    return tokenizer


def hf_merges(tokenizer: Tokenizer) -> list[list[int]]:
    """[left id, right id, merged id] of each merge, in rank order."""
    model = json.loads(tokenizer.to_str())["model"]
    ids = model["vocab"]
    return [[ids[left], ids[right], ids[left + right]] for left, right in model["merges"]]


def hf_encode(tokenizer: Tokenizer, sequences: Ragged) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(map(text, sequences)))]


def hf_load(bpe: Bpe) -> Tokenizer:
    """Hugging Face's model with our merges."""
    texts = [text(phrase) for phrase in bpe.expansions]
    pairs = [(texts[left], texts[right]) for left, right in bpe.merges]
    return Tokenizer(models.BPE({phrase: token for token, phrase in enumerate(texts)}, pairs))


def our_merges(bpe: Bpe) -> list[list[int]]:
    return np.column_stack([bpe.merges, bpe.merged]).tolist()


def as_lists(ragged: Ragged) -> list[list[int]]:
    return [sequence.tolist() for sequence in ragged]


def check_against_hf(
    sequences: Ragged, num_symbols: int, vocab_size: int, min_count: int = 2, others: Ragged | None = None
) -> Bpe:
    """Merges, ids and the way back, for the training sequences and `others`."""
    hf = hf_train(sequences, num_symbols, vocab_size, min_count)
    bpe = train_bpe(sequences, num_symbols=num_symbols, vocab_size=vocab_size, min_count=min_count)
    assert our_merges(bpe) == hf_merges(hf)
    assert bpe.vocab_size == hf.get_vocab_size()
    for unseen in (sequences, others or Ragged.from_list([])):
        ids = bpe.encode(unseen)
        assert as_lists(ids) == hf_encode(hf, unseen)
        assert as_lists(bpe.decode(ids)) == as_lists(unseen)
    return bpe


def geometric(seed: int, count: int, length: int, num_symbols: int, decay: float = 3.0) -> Ragged:
    """Like quantised DCT coefficients, frequency by frequency: magnitudes that fade into runs of zeros."""
    rng = np.random.default_rng(seed)
    spread = num_symbols / 3 * np.exp(-decay * np.arange(length) / length * 2)
    values = np.rint(rng.laplace(size=(count, length)) * spread / 3)
    symbols = np.clip(values + num_symbols // 2, 0, num_symbols - 1).astype(np.int32)
    return Ragged(symbols.reshape(-1), np.arange(count + 1, dtype=np.int64) * length)


@pytest.fixture(scope="module")
def trained() -> Bpe:
    return train_bpe(geometric(0, 300, 64, 41), num_symbols=41, vocab_size=300)


# -- by hand -------------------------------------------------------------------------------------------------


def test_by_hand():
    # abab ac + ab: (a, b) three times → 3. Then 3 3 ac: all pairs once, so the smallest: (a, c) → 4.
    # 3 3 4: (3, 3) → 5. 5 4 → 6.
    sequences = Ragged.from_list([[0, 1, 0, 1, 0, 2], [0, 1]])
    bpe = train_bpe(sequences, num_symbols=3, vocab_size=100, min_count=1)
    assert bpe.merges.tolist() == [[0, 1], [0, 2], [3, 3], [5, 4]]
    assert bpe.merged.tolist() == [3, 4, 5, 6]
    assert bpe.vocab_size == 7
    assert as_lists(bpe.expansions) == [[0], [1], [2], [0, 1], [0, 2], [0, 1, 0, 1], [0, 1, 0, 1, 0, 2]]
    assert bpe.encode_one([0, 1, 0, 2, 2]).tolist() == [3, 4, 2]
    assert bpe.decode_one([6, 1]).tolist() == [0, 1, 0, 1, 0, 2, 1]


def test_pairs_in_a_run_overlap_when_counted():
    # aaa has (a, a) twice, so it is merged with min_count 2; what is left, (aa, a), occurs once.
    bpe = train_bpe(Ragged.from_list([[0, 0, 0]]), num_symbols=1, vocab_size=9)
    assert our_merges(bpe) == [[0, 0, 1]]
    assert bpe.encode_one([0, 0, 0]).tolist() == [1, 0]


# -- Hugging Face --------------------------------------------------------------------------------------------


@st.composite
def corpora(draw) -> tuple[Ragged, int]:
    """Few symbols, so that runs, overlaps and ties are everywhere; some corpora repeat a tile."""
    num_symbols = draw(st.integers(1, 5))
    symbol = st.integers(0, num_symbols - 1)
    piece = st.lists(symbol, min_size=1, max_size=6)
    run = st.builds(lambda a, n: [a] * n, symbol, st.integers(1, 9))
    tile = draw(piece)
    repeat = st.builds(lambda n, cut: (tile * n)[cut:], st.integers(1, 6), st.integers(0, 3))
    sequence = st.lists(st.one_of(piece, run, repeat), max_size=6).map(lambda parts: list(chain(*parts)))
    return Ragged.from_list(draw(st.lists(sequence, max_size=12))), num_symbols


@settings(max_examples=400, deadline=None)
@given(corpora(), corpora(), st.integers(0, 60), st.integers(0, 4))
def test_same_as_hf_on_few_symbols(corpus, other, extra, min_count):
    sequences, num_symbols = corpus
    others = Ragged(other[0].values % num_symbols, other[0].offsets)
    bpe = check_against_hf(sequences, num_symbols, num_symbols + extra, min_count, others)
    phrases = {tuple(phrase) for phrase in bpe.expansions}
    assert len(phrases) == bpe.vocab_size == num_symbols + len(bpe.merges)  # no phrase is made in a second way


@settings(max_examples=100, deadline=None)
@given(corpora(), st.integers(0, 60), st.integers(1, 3))
def test_both_stages_of_training_agree(corpus, extra, floor):
    sequences, num_symbols = corpus
    arguments = (sequences.values, sequences.offsets, num_symbols, num_symbols + extra, floor)
    passes, visits = (train_kernel(*arguments, dense, np.zeros(2, np.int64)) for dense in (2**40, 0))
    assert passes.tolist() == visits.tolist()


@pytest.mark.parametrize(
    ("count", "length", "num_symbols", "vocab_size"),
    [(500, 128, 41, 1024), (200, 300, 500, 900), (400, 40, 3000, 3400), (50, 1000, 9, 200)],
)
def test_same_as_hf_on_fading_coefficients(count, length, num_symbols, vocab_size):
    others = geometric(9, 50, length, num_symbols, decay=2.0)
    check_against_hf(geometric(1, count, length, num_symbols), num_symbols, vocab_size, others=others)


def test_same_as_hf_for_thousands_of_merges():
    rng = np.random.default_rng(2)
    tiles = [rng.integers(0, 60, size=rng.integers(2, 9)) for _ in range(3000)]
    picks = rng.zipf(1.3, size=(2500, 12)) % len(tiles)
    sequences = Ragged.from_list([np.concatenate([tiles[pick] for pick in row]) for row in picks])
    bpe = check_against_hf(sequences, 60, 60 + 4096)
    assert len(bpe.merges) == 4096


@pytest.mark.parametrize(
    "sequences",
    [
        [],
        [[]],
        [[], [0], [], [1], []],
        [[0]],
        [[0] * 1000],
        [[0] * 7, [0] * 8, [0] * 9, []],
        [[0, 1] * 300],
        [[1, 0, 1, 1] * 50, [0]],
        [[0, 0, 1] * 9, [0, 1, 1] * 9],
    ],
    ids=["none", "empty", "singles", "one", "constant", "constants", "period 2", "period 4", "period 3"],
)
@pytest.mark.parametrize("min_count", [0, 1, 2, 3])
def test_same_as_hf_on_degenerate_corpora(sequences, min_count):
    check_against_hf(Ragged.from_list(sequences), 2, 50, min_count)


def test_same_as_hf_with_sixteen_bit_ids():
    # Ids from 32,768 on set the sign of a packed pair; symbols lie at the two ends of the alphabet.
    num_symbols = 40_000 - FIRST
    rng = np.random.default_rng(3)
    symbols = rng.zipf(1.5, size=(300, 60)) % 40
    symbols = np.where(symbols % 2, symbols, num_symbols - 1 - symbols)
    bpe = check_against_hf(Ragged.from_list(symbols), num_symbols, num_symbols + 400)
    top = bpe_checks.MAX_VOCAB_SIZE
    shift = top - 500 - num_symbols  # The same corpus higher up, beyond what Hugging Face's text can spell.
    moved = np.where(symbols > num_symbols // 2, symbols + shift, symbols)
    high = train_bpe(Ragged.from_list(moved), num_symbols=num_symbols + shift, vocab_size=top - 100)
    old, new = our_merges(bpe), our_merges(high)
    assert new == [[i + shift if i > num_symbols // 2 else i for i in merge] for merge in old]
    assert as_lists(high.decode(high.encode(Ragged.from_list(moved)))) == moved.tolist()


@pytest.fixture(scope="module")
def g1_chunks(shared) -> np.ndarray:
    """Sliding windows over normalised actions of real episodes, float64 [N, 16, 8]."""
    parquet = pytest.importorskip("pyarrow.parquet")
    files = sorted((Path(shared) / "data/g1_pick_bottle/data/chunk-000").glob("episode_*.parquet"))
    if not files:
        pytest.skip("no G1 episodes in the shared folder")
    episodes = [np.array(parquet.read_table(file, columns=["action"])["action"].to_pylist()) for file in files]
    episodes = [episode[:, :8] for episode in episodes]
    low, high = np.quantile(np.concatenate(episodes), [0.01, 0.99], axis=0)
    scaled = [np.clip(2 * (episode - low) / (high - low) - 1, -1, 1) for episode in episodes]
    windows = [np.lib.stride_tricks.sliding_window_view(episode, 16, axis=0) for episode in scaled]
    return np.concatenate(windows).swapaxes(1, 2)


@pytest.mark.parametrize(("scale", "step", "vocab_size"), [(10, 1, 1024), (40, 6, 1024)])
def test_same_as_hf_on_real_actions(g1_chunks, scale, step, vocab_size):
    from scipy.fft import dct

    coefficients = np.rint(dct(g1_chunks, axis=1, norm="ortho") * scale).astype(np.int32)
    symbols = (coefficients - coefficients.min()).reshape(len(coefficients), -1)
    num_symbols = int(symbols.max()) + 1
    others = Ragged.from_list(symbols[1 : 1000 * step : step])
    bpe = check_against_hf(Ragged.from_list(symbols[::step]), num_symbols, vocab_size, others=others)
    assert bpe.vocab_size == vocab_size


# -- tables that training does not make ----------------------------------------------------------------------


@st.composite
def odd_tables(draw) -> Bpe:
    """Merges in any order that make the phrases over two symbols in all the ways drawn."""
    phrases = draw(st.lists(st.text("ab", min_size=2, max_size=5), unique=True, min_size=1, max_size=9))
    ids = {"a": 0, "b": 1}
    pairs = []
    for phrase in sorted(phrases, key=len):
        ways = [(phrase[:k], phrase[k:]) for k in range(1, len(phrase))]
        ways = [way for way in ways if way[0] in ids and way[1] in ids]
        if ways:
            ids[phrase] = len(ids)
            pairs += draw(st.lists(st.sampled_from(ways), min_size=1, max_size=len(ways)))
    pairs = draw(st.permutations(pairs))
    merged = [ids[left + right] for left, right in pairs]
    return Bpe(2, np.array([[ids[left], ids[right]] for left, right in pairs]).reshape(-1, 2), np.array(merged))


@settings(max_examples=300, deadline=None)
@given(odd_tables(), st.lists(st.lists(st.integers(0, 1), max_size=30), max_size=5))
def test_tables_with_phrases_made_in_several_ways_encode_as_in_hf(bpe, lists):
    sequences = Ragged.from_list(lists)
    ids = bpe.encode(sequences)
    assert as_lists(ids) == hf_encode(hf_load(bpe), sequences)
    assert as_lists(bpe.decode(ids)) == lists


def test_a_reused_id_of_lower_rank_goes_first():
    # Ranks: abc d, a bc, a b, ab c, b c. Only a b fits at first, and then ab c; but the first abc has a d behind
    # it, and abc d has rank 0, so it goes before the second ab c.
    bpe = Bpe(4, [[6, 3], [0, 4], [0, 1], [5, 2], [1, 2]], [7, 6, 5, 6, 4])
    assert as_lists(bpe.expansions)[4:] == [[1, 2], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    sequence = [0, 1, 2, 3, 0, 1, 2]
    assert bpe.encode_one(sequence).tolist() == [7, 6]
    assert hf_encode(hf_load(bpe), Ragged.from_list([sequence])) == [[7, 6]]


def test_prefix_stops_with_the_merge_that_fills_the_vocabulary():
    bpe = Bpe(2, [[0, 0], [2, 0], [0, 2], [3, 1]], [2, 3, 3, 4])
    assert bpe.prefix(4).merges.tolist() == [[0, 0], [2, 0]]


@pytest.mark.parametrize(
    ("merges", "merged", "message"),
    [
        ([[0, 3]], [2], "merge 0 .* ids must run without a gap"),
        ([[0, -1]], [2], "merge 0 .* ids must run without a gap"),
        ([[0, 1], [0, 0]], [2, 4], "merge 1 .* ids must run without a gap"),
        ([[0, 1]], [1], "merge 0 .* ids must run without a gap"),
        (
            [[0, 1], [3, 0], [0, 0]],
            [2, 3, 4],
            "merge 1 makes id 3 of ids 3 and 0, .* not made of smaller ids",
        ),
        ([[3, 1], [0, 1]], [2, 3], "merge 0 makes id 2 of ids 3 and 1, .* not made of smaller ids"),
        ([[0, 1], [1, 0]], [2, 2], "merge 1 makes id 2 .* other symbols elsewhere"),
        ([[0, 1], [2, 0], [1, 2]], [2, 3, 3], "merge 2 makes id 3 .* other symbols elsewhere"),
        ([[0, 1], [2, 0], [0, 1]], [2, 3, 3], "merge 2 makes id 3 .* other symbols elsewhere"),
        ([[0, 0], [2, 0], [0, 2]], [2, 3, 4], "1 ids stand for what another id stands for"),
        ([[0, 1]], [2, 3], "1 merges make 2 ids"),
        ([[i, i] for i in range(1, 60)], list(range(2, 61)), "stand for more than"),
    ],
)
def test_inconsistent_tables_are_refused(merges, merged, message):
    with pytest.raises(TokenizerError, match=message):
        Bpe(2, np.array(merges), np.array(merged))


def test_tables_of_wrong_size_are_refused():
    with pytest.raises(TokenizerError, match="num_symbols 0"):
        Bpe(0, np.zeros((0, 2)), np.zeros(0))
    with pytest.raises(TokenizerError, match="65537 ids"):
        Bpe(65_536, [[0, 0]], [65_536])


# -- encode and decode ---------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(sequences=st.lists(st.lists(st.integers(0, 40), max_size=40), max_size=6))
def test_decode_inverts_encode(trained, sequences):
    ids = trained.encode(Ragged.from_list(sequences))
    assert as_lists(trained.decode(ids)) == sequences
    for sequence, one in zip(sequences, ids, strict=True):
        assert trained.encode_one(sequence).tolist() == one.tolist()
        assert trained.decode_one(one).tolist() == sequence


@pytest.mark.parametrize("threads", [2, 3, 50])
def test_threads_change_nothing(trained, monkeypatch, threads):
    sequences = Ragged.from_list([*geometric(4, 40, 64, 41), [], [5] * 3000, []])
    alone = trained.encode(sequences, threads=1)
    monkeypatch.setattr(bpe_module, "_PARALLEL", 1)
    started = []
    monkeypatch.setattr(
        bpe_module,
        "ThreadPoolExecutor",
        lambda n, start=bpe_module.ThreadPoolExecutor: started.append(n) or start(n),
    )
    several = trained.encode(sequences, threads=threads)
    assert as_lists(several) == as_lists(alone)
    assert 1 < started[0] <= threads
    with pytest.raises(TokenizerError, match="sequence 40, position 2 is 41, not a base symbol"):
        trained.encode(Ragged.from_list([*geometric(4, 40, 64, 41), [0, 1, 41], [-1]]), threads=threads)


def test_threads_below_one_are_refused(trained):
    with pytest.raises(UsageError, match="threads 0 is below 1"):
        trained.encode(Ragged.from_list([[0]]), threads=0)


def test_no_sequences_at_all(trained, monkeypatch):
    monkeypatch.setattr(bpe_module, "_PARALLEL", 0)
    empty = Ragged.from_list([])
    assert len(trained.encode(empty, threads=4)) == len(trained.decode(empty)) == 0


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
def test_other_arrays_are_taken_without_compiling_anew(trained, dtype):
    sequences = geometric(5, 3, 64, 41)
    expected = as_lists(trained.encode(sequences))
    values = sequences.values.astype(dtype)
    values.flags.writeable = False
    assert as_lists(trained.encode(Ragged(values, sequences.offsets))) == expected
    assert trained.encode_one(values[:64]).tolist() == expected[0]
    assert trained.encode_one(values[::2]).tolist() == trained.encode_one(sequences.values[::2].tolist()).tolist()
    assert len(encode_kernel.signatures) == 1


@pytest.mark.parametrize("symbol", [-1, 41])
def test_strange_symbols_are_named(trained, symbol):
    strange = Ragged.from_list([[], [3, 4], [0, symbol, 1]])
    with pytest.raises(TokenizerError, match=f"sequence 2, position 1 is {symbol}, not a base symbol .0 … 40"):
        trained.encode(strange)
    with pytest.raises(TokenizerError, match=f"position 1 is {symbol}, not a base symbol"):
        trained.encode_one(strange[2])
    with pytest.raises(TokenizerError, match=f"sequence 2, position 1 is {symbol}, not a base symbol"):
        train_bpe(strange, num_symbols=41, vocab_size=50)


@pytest.mark.parametrize("token", [-1, 300])
def test_unknown_ids_are_named(trained, token):
    strange = Ragged.from_list([[299], [], [7, 8, token]])
    with pytest.raises(TokenizerError, match=f"sequence 2, position 2 is {token}, not an id .0 … 299"):
        trained.decode(strange)
    with pytest.raises(TokenizerError, match=f"position 2 is {token}, not an id"):
        trained.decode_one(strange[2])


def test_integers_that_do_not_fit_are_not_wrapped(trained):
    with pytest.raises(TokenizerError, match="do not fit in int32"):
        trained.encode_one(np.array([1, 2**32 + 1]))
    with pytest.raises(TokenizerError, match="do not fit in int32"):
        trained.decode_one(np.array([1.0, 2.5]))


def test_offsets_that_a_kernel_cannot_trust_are_refused(trained):
    for offsets in ([0, 5], [1, 3], [0, 3, 2, 3], [0, 2]):
        with pytest.raises(UsageError, match="offsets do not ascend"):
            trained.encode(Ragged(np.zeros(3, np.int32), np.array(offsets)))


def test_arrays_with_other_axes_are_refused(trained):
    square = np.zeros((2, 2), np.int32)
    for call in (trained.encode_one, trained.decode_one):
        with pytest.raises(UsageError, match="one sequence has one axis, not 2"):
            call(square)
    with pytest.raises(UsageError, match="2 and 1 axes"):
        trained.encode(Ragged(square, np.array([0, 2])))


# -- the object ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocab_size", [41, 42, 150, 299, 300, 1000])
def test_prefix_is_training_with_a_smaller_vocabulary(trained, vocab_size):
    small = train_bpe(geometric(0, 300, 64, 41), num_symbols=41, vocab_size=min(vocab_size, 300))
    assert trained.prefix(vocab_size) == small
    assert small.vocab_size == min(vocab_size, 300)


def test_prefix_below_the_alphabet_is_refused(trained):
    with pytest.raises(UsageError, match="vocab_size 40 is below the 41 base symbols"):
        trained.prefix(40)


def test_pickle_and_equality(trained):
    trained.encode_one([1, 2, 3])
    again = pickle.loads(pickle.dumps(trained))
    assert again == trained
    assert hash(again) == hash(trained)
    assert len(pickle.dumps(trained)) < 2 * (trained.merges.nbytes + trained.merged.nbytes)
    assert trained != trained.prefix(299)
    assert trained != "trained"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_symbols": 0}, "num_symbols 0 is below 1"),
        ({"vocab_size": 2}, "vocab_size 2 is below the 3 base symbols"),
        ({"vocab_size": 65_537}, "vocab_size 65537 is above 65536"),
        ({"min_count": -1}, "min_count -1 is below 0"),
    ],
)
def test_training_parameters_are_checked(changes, message):
    with pytest.raises(UsageError, match=message):
        train_bpe(Ragged.from_list([[0, 1]]), **{"num_symbols": 3, "vocab_size": 5, **changes})


def test_too_many_symbols_are_refused(monkeypatch):
    monkeypatch.setattr(bpe_checks, "MAX_CELLS", 4)
    with pytest.raises(UsageError, match="more than 4: train on a sample"):
        train_bpe(Ragged.from_list([[0, 1, 2]]), num_symbols=3, vocab_size=5)


def test_progress_is_reported_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(bpe_module, "_POLL", 1e-4)
    sequences = geometric(6, 2000, 64, 41)
    seen: list[tuple[int, int]] = []
    watched = train_bpe(sequences, num_symbols=41, vocab_size=1000, progress=lambda *now: seen.append(now))
    assert watched == train_bpe(sequences, num_symbols=41, vocab_size=1000)
    made = [now for now, _ in seen]
    assert {total for _, total in seen} == {1000}
    assert made  # how often depends on the machine's load
    assert made == sorted(made)
    assert made[0] >= 41
    assert made[-1] == watched.vocab_size


def test_an_error_in_progress_stops_the_training(monkeypatch):
    monkeypatch.setattr(bpe_module, "_POLL", 1e-4)
    calls = []

    def fail(now: int, total: int) -> None:
        calls.append(now)
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        train_bpe(geometric(6, 2000, 64, 41), num_symbols=41, vocab_size=1000, progress=fail)
    assert len(calls) == 1


def test_a_cancelled_training_returns_what_it_has():
    sequences = geometric(6, 20, 64, 41)
    arguments = (sequences.values, sequences.offsets, 41, 1000, 2, 16)
    assert len(train_kernel(*arguments, np.zeros(2, np.int64))) > 0
    assert len(train_kernel(*arguments, np.array([0, 1]))) == 0
