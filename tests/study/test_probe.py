"""The probe: it learns what state and tokens tell, on one budget for all, and writes chunks that decode."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("jax")

import jax

from fastki import FastTokenizer
from fastki.data import Chunks, ChunkSpec, Normalizer
from fastki.errors import TrainingError, UsageError
from fastki.study import probe_model
from fastki.study.ngram import ngram_nats
from fastki.study.probe import ProbeResult, ProbeSettings, run_probe
from fastki.study.probe_model import Batch, ModelShape
from fastki.study.probe_rollout import roll_out
from fastki.study.probe_training import batch_of, chunk_batches, recipe_of, train_probe
from fastki.tokenizer.binning import BinningTokenizer
from fastki.tokenizer.grammar import TokenGrammar
from fastki.tokenizer.ragged import Ragged
from fastki.tokenizer.reference import fit_reference
from fastki.tokenizer.rules import AnyLength, FixedLength, rules_of

HORIZON, DIMS = 4, 2


@pytest.fixture
def strict_arithmetic():
    """For the network; Optax relies on promotion."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def chunks_of(actions: np.ndarray, previous: np.ndarray) -> Chunks:
    count, horizon, _ = actions.shape
    return Chunks(
        actions=actions,
        reference=np.zeros_like(previous),
        previous=previous,
        episode=np.zeros(count, dtype=np.int32),
        start=np.arange(count, dtype=np.int32),
        spec=ChunkSpec(horizon=horizon),
    )


def steered(count: int, seed: int) -> Chunks:
    """Chunks that turn away from their starting state: the state says all of them."""
    start = np.random.default_rng(seed).uniform(-0.9, 0.9, size=(count, DIMS))
    angles = np.arange(1, HORIZON + 1) * 0.4
    turn = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]])
    return chunks_of(np.einsum("abt,nb->nta", turn, start) * 0.7, start)


def shuffled(chunks: Chunks, seed: int) -> Chunks:
    """The same chunks, each with another's starting state."""
    order = np.random.default_rng(seed).permutation(len(chunks))
    return dataclasses.replace(chunks, previous=chunks.previous[order])


TRAIN, TEST = steered(1500, 0), steered(200, 1)
NORMALIZER = Normalizer.fit(TRAIN.actions.reshape(-1, DIMS), method="minmax")
MAKERS: dict[str, Callable[[], object]] = {
    "binning": lambda: BinningTokenizer(12, HORIZON, DIMS, NORMALIZER),
    "fast": lambda: FastTokenizer.fit(TRAIN, vocab_size=96, bins=12, normalizer=NORMALIZER),
}


def ngram_of(tokenizer) -> float:
    train, test = (Ragged.from_list(tokenizer.encode(side.actions)) for side in (TRAIN, TEST))
    return ngram_nats(train, test, tokenizer.vocab_size, values_per_chunk=HORIZON * DIMS)


def mean_action_rmse() -> float:
    train, test = (NORMALIZER.normalize(side.actions) for side in (TRAIN, TEST))
    return float(np.sqrt(np.mean((test - train.mean(axis=0)) ** 2)))


@pytest.mark.parametrize("method", MAKERS)
def test_a_state_that_says_all_is_learnt_and_written_down(method):
    tokenizer = MAKERS[method]()
    settings = ProbeSettings(steps=400)
    found = run_probe(tokenizer, TRAIN, TEST, settings)
    blind = run_probe(tokenizer, shuffled(TRAIN, 0), shuffled(TEST, 1), settings)
    unconditional = ngram_of(tokenizer)
    assert found.nats_per_value < 0.6 * unconditional
    assert blind.nats_per_value > 0.85 * unconditional  # Nothing but the state made the difference.
    assert found.rollout_rmse < 0.4 * mean_action_rmse() < blind.rollout_rmse
    assert found.rollout_rmse <= found.rollout_max
    assert found.rollout_repaired == 0


def test_given_states_take_the_place_of_the_action_before():
    tokenizer = MAKERS["binning"]()
    train, test = shuffled(TRAIN, 0), shuffled(TEST, 1)
    hidden = [np.tanh(side.previous) @ np.array([[1.0, 5.0, 0.0], [-1.0, 5.0, 0.0]]) + 7 for side in (TRAIN, TEST)]
    settings = ProbeSettings(steps=400)
    told = run_probe(tokenizer, train, test, settings, train_states=hidden[0], test_states=hidden[1])
    untold = run_probe(tokenizer, train, test, settings)
    assert told.nats_per_value < 0.7 * untold.nats_per_value
    assert told.rollout_rmse < 0.5 * untold.rollout_rmse


def same(one: ProbeResult, other: ProbeResult) -> bool:
    return dataclasses.replace(one, seconds=0) == dataclasses.replace(other, seconds=0)


def test_one_seed_gives_one_result_and_another_another():
    tokenizer = MAKERS["fast"]()
    first, again = (run_probe(tokenizer, TRAIN, TEST, ProbeSettings(steps=20, seed=3)) for _ in range(2))
    assert same(first, again)
    assert not same(first, run_probe(tokenizer, TRAIN, TEST, ProbeSettings(steps=20, seed=4)))


def test_more_steps_learn_more():
    tokenizer = MAKERS["binning"]()
    few, many = (run_probe(tokenizer, TRAIN, TEST, ProbeSettings(steps=steps)).nats_per_value for steps in (5, 200))
    assert many < few


@pytest.mark.usefixtures("strict_arithmetic")
def test_untrained_it_knows_how_common_each_token_is():
    tokens = Ragged.from_list([[0, 0, 1], [0], [2, 0]])
    counts = np.array([4, 1, 1, 3])
    shape = shape_of(vocab_size=3, places=16)
    params = probe_model.init_params(shape, 0, counts)
    batch = batch_of(shape, tokens, np.zeros((3, DIMS), np.float32), np.arange(3))
    expected = -np.log((counts + 1) / 13)
    found = np.asarray(probe_model.chunk_nll(params, batch, shape=shape))
    assert found == pytest.approx(
        [expected[[0, 0, 1, 3]].sum(), expected[[0, 3]].sum(), expected[[2, 0, 3]].sum()], 0.1
    )


def shape_of(*, vocab_size: int, places: int, by_product: bool = False) -> ModelShape:
    return ModelShape(vocab_size, places, HORIZON * DIMS, DIMS, width=32, layers=2, heads=2, by_product=by_product)


def network(shape: ModelShape, chunks: int = 5):
    """Parameters far from their start, and a batch of chunks of unequal length."""
    rng = np.random.default_rng(0)
    params = probe_model.init_params(shape, 0, rng.integers(1, 9, size=shape.vocab_size + 1))
    params = jax.tree_util.tree_map(lambda leaf: leaf * 1.5 + np.float32(0.05), params)
    rows = [rng.integers(0, shape.vocab_size, size=length) for length in (0, 3, shape.places - 1, 7, 5)[:chunks]]
    states = rng.normal(size=(chunks, DIMS)).astype(np.float32)
    return params, batch_of(shape, Ragged.from_list(rows), states, np.arange(chunks))


@pytest.mark.usefixtures("strict_arithmetic")
def test_the_future_and_the_padding_change_nothing():
    shape = shape_of(vocab_size=9, places=16)
    params, batch = network(shape)
    before = np.asarray(probe_model.chunk_nll(params, batch, shape=shape))
    ids = batch.ids.copy()
    for row, length in enumerate(batch.lengths.tolist()):
        ids[row, length + 1 :] = 4
    np.testing.assert_array_equal(before, probe_model.chunk_nll(params, batch._replace(ids=ids), shape=shape))
    alone = Batch(*(part[1:2] for part in batch))
    np.testing.assert_allclose(before[1], probe_model.chunk_nll(params, alone, shape=shape)[0], rtol=1e-5)


@pytest.mark.usefixtures("strict_arithmetic")
def test_token_by_token_with_a_cache_is_the_same_network():
    shape = shape_of(vocab_size=9, places=16)
    params, batch = network(shape)
    logits, cache = probe_model.first_logits(params, probe_model.empty_cache(shape, 5), batch.states, shape=shape)
    total = np.zeros(5)
    for place in range(shape.places):
        log_p = np.asarray(jax.nn.log_softmax(logits, axis=-1), dtype=np.float64)
        total -= np.where(place <= batch.lengths, log_p[np.arange(5), batch.ids[:, place]], 0)
        if place + 1 < shape.places:
            tokens, after = batch.ids[:, place], np.int32(place + 1)
            logits, cache = probe_model.next_logits(params, cache, tokens, after, shape=shape)
    np.testing.assert_allclose(total, probe_model.chunk_nll(params, batch, shape=shape), rtol=1e-5)


@pytest.mark.usefixtures("strict_arithmetic")
def test_many_logits_in_blocks_give_the_same_loss_and_gradient(monkeypatch):
    shape = shape_of(vocab_size=9, places=16)
    params, batch = network(shape)
    hidden = probe_model._hidden(params, batch, shape)

    def loss(hidden, params):
        return probe_model._token_nll(params, hidden, batch.ids)

    def weighed(hidden, params):
        return (loss(hidden, params) * np.arange(80, dtype=np.float32).reshape(5, 16)).sum()

    whole, slopes = loss(hidden, params), jax.jit(jax.grad(weighed, argnums=(0, 1)))(hidden, params)
    monkeypatch.setattr(probe_model, "_LOGITS", 70)
    np.testing.assert_allclose(whole, loss(hidden, params), rtol=1e-6)
    pieces = jax.jit(jax.grad(weighed, argnums=(0, 1)))(hidden, params)
    jax.tree_util.tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), slopes, pieces)


@pytest.mark.usefixtures("strict_arithmetic")
def test_both_ways_to_look_embeddings_up_learn_alike():
    results = []
    for by_product in (False, True):
        shape = shape_of(vocab_size=9, places=16, by_product=by_product)
        params, batch = network(shape)
        loss = jax.grad(
            lambda params, shape=shape, batch=batch: probe_model.chunk_nll(params, batch, shape=shape).sum()
        )
        results.append(loss(params))
    jax.tree_util.tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *results)


def trained_on(settings: ProbeSettings):
    """What training makes of a few chunks, the chunks, and the network's shape."""
    shape = shape_of(vocab_size=9, places=16)
    rng = np.random.default_rng(0)
    tokens = Ragged.from_list([rng.integers(0, 9, size=length) for length in (0, 3, 15, 7)])
    states = rng.normal(size=(4, DIMS)).astype(np.float32)
    return *train_probe(shape, tokens, states, settings), (tokens, states), shape


def test_a_step_of_adam_moves_by_the_rate():
    """Its first step is the rate times the gradient's sign (Kingma and Ba 2015, section 2.1)."""
    settings = ProbeSettings(steps=1, batch_size=4, width=32, learning_rate=0.01)
    after, loss, (tokens, states), shape = trained_on(settings)
    counts = np.append(np.bincount(tokens.values, minlength=9), 4)
    before = probe_model.init_params(shape, 0, counts)
    moved = np.abs(np.asarray(after["layers"]["0"]["qkv"] - before["layers"]["0"]["qkv"]))
    np.testing.assert_allclose(moved, 0.01, rtol=1e-2)
    nll = np.asarray(probe_model.chunk_nll(before, batch_of(shape, tokens, states, np.arange(4)), shape=shape)).mean()
    assert loss == pytest.approx(nll / (HORIZON * DIMS), rel=1e-5)


def test_a_loss_that_is_no_number_stops_the_probe():
    shape = shape_of(vocab_size=9, places=16)
    states = np.full((2, DIMS), np.nan, np.float32)
    with pytest.raises(TrainingError, match="the probe's loss at step 1 is not finite"):
        train_probe(shape, Ragged.from_list([[1], [2]]), states, ProbeSettings(steps=2, width=32))


@pytest.mark.usefixtures("strict_arithmetic")
def test_networks_for_two_vocabularies_begin_alike():
    small, large = shape_of(vocab_size=9, places=16), shape_of(vocab_size=40, places=32)
    first, second = (
        probe_model.init_params(shape, 5, np.ones(shape.vocab_size + 1, np.int64)) for shape in (small, large)
    )
    for name in ("state_in", "layers", "norm"):
        jax.tree_util.tree_map(np.testing.assert_array_equal, first[name], second[name])
    np.testing.assert_array_equal(first["places"], second["places"][:16])
    np.testing.assert_array_equal(first["tokens"], second["tokens"][:10])


def test_every_chunk_comes_equally_often_and_in_the_same_order_for_every_cell():
    settings = ProbeSettings(steps=15, batch_size=4)
    seen = []
    for shape, width in ((shape_of(vocab_size=9, places=16), 1), (shape_of(vocab_size=40, places=32), 9)):
        tokens = Ragged.from_list([[1] * width] * 10)
        states = np.arange(10, dtype=np.float32)[:, None]  # Each says which chunk it is of.
        seen.append(np.concatenate([b.states[:, 0] for b in chunk_batches(shape, tokens, states, settings)]))
    assert np.bincount(seen[0].astype(int)).tolist() == [6] * 10
    np.testing.assert_array_equal(*seen)


def test_rates_rise_and_fall_to_near_zero():
    def rates(**settings) -> np.ndarray:
        budget = ProbeSettings(**settings)
        return np.array([float(recipe_of(budget).schedule.rate()(step)) for step in range(budget.steps)])

    found = rates(steps=100, learning_rate=0.01)
    assert found.argmax() in (9, 10)
    assert found.max() == pytest.approx(0.01)
    assert (np.diff(found[10:]) < 0).all()
    assert 0 < found[-1] < 0.001
    assert rates(steps=1) == pytest.approx([0.007])


def test_rules_follow_from_the_tokenizer():
    fast, binning = MAKERS["fast"](), MAKERS["binning"]()
    uneven = Ragged.from_list([[0, 1], [2]])
    assert isinstance(rules_of(fast, uneven.lengths), TokenGrammar)
    assert rules_of(binning, Ragged.from_list(binning.encode(TEST.actions)).lengths) == FixedLength(12, HORIZON * DIMS)
    assert rules_of(dataclasses.replace(binning), uneven.lengths) == AnyLength(12)


def drawn_to(token: int, shape: ModelShape):
    """A network that wants one id everywhere."""
    params = probe_model.init_params(shape, 0, np.ones(shape.vocab_size + 1, np.int64))
    return {**params, "bias": params["bias"].at[token].add(50.0)}


@pytest.mark.usefixtures("strict_arithmetic")
def test_rollouts_keep_the_rules_whatever_the_network_wants():
    states = np.zeros((3, DIMS), np.float32)
    fixed, shape = FixedLength(12, 8), shape_of(vocab_size=12, places=16)
    assert [len(row) for row in roll_out(drawn_to(12, shape), shape, states, fixed)] == [8] * 3  # It wants the end.
    assert [row.tolist() for row in roll_out(drawn_to(5, shape), shape, states, fixed)] == [[5] * 8] * 3
    free = AnyLength(12)
    assert [len(row) for row in roll_out(drawn_to(12, shape), shape, states, free)] == [0] * 3
    assert [len(row) for row in roll_out(drawn_to(5, shape), shape, states, free)] == [16] * 3  # All places.


@pytest.mark.parametrize("places", [16, 112])
def test_a_cut_rollout_needs_no_repair_either(places):
    """Escapes for ever: 16 places end inside the first number, which is left out."""
    fast = MAKERS["fast"]()
    shape, escape = shape_of(vocab_size=fast.vocab_size, places=places), fast.codec.alphabet.escape
    grammar = rules_of(fast)
    for wanted in (0, escape, fast.vocab_size - 1):
        written = roll_out(drawn_to(wanted, shape), shape, np.zeros((3, DIMS), np.float32), grammar)
        fast.decode_normalized(written, strict=True)
        assert (len(written[0]) == 0) == (places == 16 and wanted == escape)


def test_without_jax_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(UsageError, match="pip install"):
        run_probe(MAKERS["binning"](), TRAIN, TEST, ProbeSettings(steps=1))


def test_ids_without_a_grammar_are_probed_too_and_their_repairs_told():
    fit = fit_reference(NORMALIZER.normalize(TRAIN.actions), scale=6, vocab_size=200, normalizer=NORMALIZER)
    found = run_probe(fit.tokenizer, TRAIN, TEST, ProbeSettings(steps=30))
    assert math.isfinite(found.nats_per_value + found.rollout_rmse)
    assert 0 < found.rollout_repaired <= 1


def test_chunks_relative_to_the_action_before_are_written_relative_to_it():
    """Chunks near where they start: found again only if decoding adds the held-out chunk's own action before."""
    rng = np.random.default_rng(0)
    sides = []
    for count in (800, 60):
        start = rng.uniform(-1, 1, size=(count, DIMS))
        sides.append(chunks_of(start[:, None] + rng.normal(size=(count, HORIZON, DIMS)) * 0.01, start))
    normalizer = Normalizer.fit(sides[0].actions.reshape(-1, DIMS), method="minmax")
    tokenizer = FastTokenizer.fit(sides[0], vocab_size=96, bins=60, reference="previous", normalizer=normalizer)
    assert run_probe(tokenizer, *sides, ProbeSettings(steps=40)).rollout_max < 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"steps": 1, "batch_size": 0}, "batch_size must be at least 1"),
        ({"steps": 1, "seed": -1}, "seed must be 0 or more"),
        ({"steps": 1, "width": 30, "heads": 4}, "multiple of twice its 4 heads, not 30"),
        ({"steps": 1, "learning_rate": 0.0}, "learning rate must lie between 0 and 1"),
        ({"steps": 1, "learning_rate": math.nan}, "learning rate must lie between 0 and 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        ProbeSettings(**settings)


def test_bad_inputs_are_refused():
    tokenizer, settings = MAKERS["binning"](), ProbeSettings(steps=1)
    with pytest.raises(UsageError, match="1500 fitted and 0 held out"):
        run_probe(tokenizer, TRAIN, TEST.take(np.arange(0)), settings)
    with pytest.raises(UsageError, match="normaliser"):
        run_probe(dataclasses.replace(tokenizer, normalizer=None), TRAIN, TEST, settings)
    with pytest.raises(UsageError, match=r"states must be finite numbers \[1500, S\]"):
        run_probe(tokenizer, TRAIN, TEST, settings, train_states=np.zeros((3, 2)))
    with pytest.raises(UsageError, match="3 dimensions, held-out ones 2: give both"):
        run_probe(tokenizer, TRAIN, TEST, settings, train_states=np.zeros((1500, 3)))
