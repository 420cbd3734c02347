"""The n-gram columns: a true probability, known values on made-up tokens, and fairness between kinds of tokens."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest

from fastki.errors import UsageError
from fastki.study import ngram
from fastki.study.ngram import ngram_nats, symbol_log_probs
from fastki.tokenizer.ragged import Ragged


def uneven(rng: np.random.Generator, chunks: int, vocab: int, longest: int = 9) -> Ragged:
    """Chunks of unequal length, some empty, whose tokens lean on the ones before."""
    rows = []
    for _ in range(chunks):
        steps = rng.integers(0, 3, size=rng.integers(0, longest + 1))
        rows.append((np.cumsum(steps) + rng.integers(0, vocab)) % vocab)
    return Ragged.from_list(rows)


def next_probabilities(train: Ragged, prefix: list[int], vocab: int, *, end: bool) -> np.ndarray:
    """p of every symbol after a prefix, by asking for each; the end's last."""
    asked = Ragged.from_list([[*prefix, token] for token in range(vocab)])
    logs = symbol_log_probs(train, asked, vocab, end=end).reshape(vocab, -1)
    result = np.exp(logs[:, len(prefix)])
    if end:
        last = symbol_log_probs(train, Ragged.from_list([prefix]), vocab, end=True)[-1]
        result = np.append(result, np.exp(last))
    return result


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("prefix", [[], [3], [0, 1, 2], [5, 5, 5, 5, 5], [6, 0, 6, 0, 6, 0, 6, 0, 6, 0, 6, 0]])
@pytest.mark.parametrize("chunks", [1, 2, 40, 400])
def test_probabilities_are_above_zero_and_sum_to_one_in_any_context(prefix, chunks, end):
    train = uneven(np.random.default_rng(chunks), chunks, 7)
    probabilities = next_probabilities(train, prefix, 7, end=end)
    assert (probabilities > 0).all()
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)


def test_an_id_that_no_training_chunk_has_costs_something_finite():
    train, test = Ragged.from_list([[0, 1, 2]] * 20), Ragged.from_list([[999, 3]])
    assert 5 < ngram_nats(train, test, 1000, values_per_chunk=1) < 60


def test_uniform_tokens_cost_the_logarithm_of_the_vocabulary():
    rng = np.random.default_rng(0)
    train, test = (Ragged.from_list(list(rng.integers(0, 64, size=(n, 32)))) for n in (3000, 300))
    nats = ngram_nats(train, test, 64, values_per_chunk=32)
    assert math.log(64) - 0.01 < nats < math.log(64) + 0.05


def test_a_fixed_cycle_costs_nothing():
    chunks = Ragged.from_list([np.arange(48) % 12] * 500)
    assert 0 < ngram_nats(chunks, chunks, 12, values_per_chunk=48) < 2e-3


def test_nats_are_per_action_value_and_count_the_end():
    train, test = uneven(np.random.default_rng(0), 300, 7), uneven(np.random.default_rng(1), 50, 7)
    whole = symbol_log_probs(train, test, 7)
    assert whole.shape == (len(test.values) + 50,)
    assert ngram_nats(train, test, 7, values_per_chunk=6) == pytest.approx(-whole.sum() / (50 * 6))
    assert symbol_log_probs(train, test, 7, end=False).shape == test.values.shape


def test_each_dimension_s_own_past_is_found_without_being_told():
    """Binned walks: what foretells a value best stands A tokens back, where a plain n-gram does not look."""
    rng = np.random.default_rng(0)
    bins, dims = 16, 6
    steps = rng.choice([-1, 0, 0, 0, 1], size=(1500, 20, dims))
    values = (rng.integers(0, bins, size=(1500, 1, dims)) + np.cumsum(steps, axis=1)) % bins
    train, test = (Ragged.from_list(list(part.reshape(len(part), -1))) for part in (values[:1300], values[1300:]))
    assert ngram._repeat_lag(train) == dims
    one_step = -(0.6 * math.log(0.6) + 0.4 * math.log(0.2))
    truth = (math.log(bins) + 19 * one_step) / 20
    assert truth - 0.02 < ngram_nats(train, test, bins, values_per_chunk=20 * dims) < truth * 1.1


def test_the_last_three_tokens_count_where_they_tell_most():
    """A token that is a function of the three before it: no shorter context foretells it."""
    rng = np.random.default_rng(1)
    table, rows = rng.permutation(8**3) % 8, []
    for _ in range(1200):
        row = list(rng.integers(0, 8, size=3))
        while len(row) < 24:
            row.append(int(table[row[-1] * 64 + row[-2] * 8 + row[-3]]))
        rows.append(row)
    nats = ngram_nats(Ragged.from_list(rows[:1000]), Ragged.from_list(rows[1000:]), 8, values_per_chunk=24)
    assert 3 * math.log(8) / 24 < nats < math.log(8) / 4


class PlainKneserNey:
    """The same back-off model from its definition, over dictionaries of sets."""

    def __init__(self, rows: list[list[int]], chain: tuple[int, ...], vocab: int) -> None:
        self.chain, self.vocab = chain, vocab
        self.counts = [defaultdict(Counter) for _ in range(len(chain) + 1)]
        for row in rows:
            for at, symbol in enumerate([*row, vocab]):
                self.counts[-1][self.features(row, at)][symbol] += 1
        for level in range(len(chain), 0, -1):
            for context, counter in self.counts[level].items():
                for symbol in counter:
                    self.counts[level - 1][context[:-1]][symbol] += 1

    def features(self, row: list[int], at: int) -> tuple[object, ...]:
        return tuple(("place", at) if back == 0 else row[at - back] if at >= back else "before" for back in self.chain)

    def discount(self, level: int, count: int) -> float:
        kinds = Counter(c for counter in self.counts[level].values() for c in counter.values())
        both = kinds[1] + 2 * kinds[2]
        single = kinds[1] / both if both else 0.5
        count = min(count, 3)
        raw = count - (count + 1) * single * kinds[count + 1] / kinds[count] if kinds[count] else single
        return min(max(raw, 0.05), 0.95 * count) if count else 0.0

    def probability(self, row: list[int], at: int) -> float:
        symbol, context = ([*row, self.vocab])[at], self.features(row, at)
        share = 1 / (self.vocab + 1)
        for level in range(len(self.chain) + 1):
            seen = self.counts[level].get(context[:level])
            if seen is None:
                break
            freed = sum(self.discount(level, count) for count in seen.values())
            kept = seen[symbol] - self.discount(level, seen[symbol])
            share = (kept + freed * share) / sum(seen.values())
        return share


@pytest.mark.parametrize("chain", [(1, 2, 3), (0, 1, 2), (2, 0), (2, 4, 0)])
def test_the_kernels_agree_with_the_definition(chain):
    rng = np.random.default_rng(len(chain))
    train, test = uneven(rng, 60, 5), uneven(rng, 12, 5, longest=12)
    sizes = ngram._Sizes.of(train, test, 5, True)
    _, scores = ngram._chain_scores(chain, train.part(0, 50), train.part(50, 60), test, sizes)
    plain = PlainKneserNey([row.tolist() for row in train], chain, 5)
    expected = [plain.probability(row.tolist(), at) for row in test for at in range(len(row) + 1)]
    np.testing.assert_allclose(scores, expected, rtol=1e-12)


def test_weights_find_the_better_model_and_never_lose_to_either():
    rng = np.random.default_rng(0)
    good, bad = rng.uniform(0.5, 0.9, 4000), rng.uniform(0.01, 0.2, 4000)
    assert ngram._mixture_weights(np.stack([bad, good]))[1] > 0.99
    either = np.where(rng.random(4000) < 0.3, np.stack([good, bad]), np.stack([bad, good]))
    mixed = ngram._mixture_weights(either) @ either
    assert np.log(mixed).sum() > np.log(either).sum(axis=1).max()


def test_the_same_tokens_give_the_same_figure():
    train, test = uneven(np.random.default_rng(0), 500, 30), uneven(np.random.default_rng(1), 100, 30)
    first, second = (ngram_nats(train, test, 30, values_per_chunk=8) for _ in range(2))
    assert first == second


def test_tables_grow_past_their_first_size():
    rng = np.random.default_rng(0)
    train = Ragged.from_list(list(rng.integers(0, 5000, size=(600, 50))))
    test = Ragged.from_list(list(rng.integers(0, 5000, size=(20, 50))))
    assert math.log(5000) - 0.1 < ngram_nats(train, test, 5000, values_per_chunk=50) < math.log(5000) + 0.5


@pytest.mark.parametrize(
    ("train", "test", "vocab", "values", "message"),
    [
        ([], [[0]], 4, 1, "no training chunk"),
        ([[0]], [], 4, 1, "no held-out chunk"),
        ([[0, 4]], [[0]], 4, 1, "training token 4 lies outside the vocabulary 0 … 3"),
        ([[0]], [[0, -1]], 4, 1, "held-out token -1"),
        ([[0]], [[0]], 4, 0, "at least one action value"),
    ],
)
def test_bad_input_is_refused_with_its_reason(train, test, vocab, values, message):
    with pytest.raises(UsageError, match=message):
        ngram_nats(Ragged.from_list(train), Ragged.from_list(test), vocab, values_per_chunk=values)


def test_importing_loads_no_jax():
    code = "import sys, fastki.study.ngram, fastki.study.probe; print('jax' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "False"
