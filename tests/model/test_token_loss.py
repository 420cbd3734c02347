"""The cross-entropy, made a chunk of places at a time, is that of all logits at once, with its gradient."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_inputs import observe, random_model, tiny_config, with_actions

from fastki.model import losses
from fastki.model.config import MODES
from fastki.model.losses import FlowDraw, compute_losses
from fastki.model.params import flatten

CONFIG = tiny_config()
LENGTHS = [[6, 9], [3, 17], [20, 0], [2, 1]]


@pytest.fixture(scope="module")
def places():
    """Hidden states, ids and which are learnt, in the order that the loss puts them; a table; weights of examples."""
    rng = np.random.default_rng(0)
    learnt = np.arange(11) < np.array([[4], [11], [0], [7]])
    hidden = jnp.asarray(rng.normal(size=(4, 11, 6)), jnp.float32)
    chosen = losses._Places(hidden, jnp.asarray(rng.integers(0, 40, (4, 11))), jnp.asarray(learnt))
    return chosen, jnp.asarray(rng.normal(size=(40, 6)), jnp.float32), jnp.asarray([1.0, -2.0, 3.0, 0.5])


def dense(hidden, table, places):
    log_p = jax.nn.log_softmax(hidden @ table.T)
    nll = -jnp.take_along_axis(log_p, places.ids[..., None], axis=-1)[..., 0] * places.learnt
    return nll.sum(axis=1), ((log_p.argmax(axis=-1) == places.ids) & places.learnt).sum(axis=1)


@pytest.mark.parametrize("at_once", [1, 3, 4, 32])
def test_chunks_sum_to_the_whole(places, at_once, monkeypatch):
    monkeypatch.setattr(losses, "_PLACES_AT_ONCE", at_once)
    chosen, table, weights = places

    def mine(hidden, table):
        return losses._summed(chosen._replace(hidden=hidden), table).nll @ weights

    def theirs(hidden, table):
        return dense(hidden, table, chosen)[0] @ weights

    sums = losses._summed(chosen, table)
    np.testing.assert_allclose(sums.nll, dense(chosen.hidden, table, chosen)[0], rtol=1e-5)
    np.testing.assert_array_equal(sums.correct, dense(chosen.hidden, table, chosen)[1])
    np.testing.assert_array_equal(sums.tokens, [4, 11, 0, 7])
    own, expected = (jax.jit(jax.grad(work, argnums=(0, 1)))(chosen.hidden, table) for work in (mine, theirs))
    for slope, other in zip(own, expected, strict=True):
        np.testing.assert_allclose(slope, other, atol=2e-5)


def test_a_chunk_costs_no_copy_of_the_table(places, monkeypatch):
    """Eleven chunks of one place each: were the table kept for each, memory would be elevenfold."""
    monkeypatch.setattr(losses, "_PLACES_AT_ONCE", 1)
    chosen = places[0]
    table = jnp.zeros((20_000, 6))
    slope = jax.jit(jax.grad(lambda table: losses._summed(chosen, table).nll.sum()))
    sizes = slope.lower(table).compile().memory_analysis()
    assert sizes.temp_size_in_bytes < 6 * table.nbytes


def test_a_camera_that_no_example_has_can_be_left_out():
    """It moves neither loss nor any parameter's gradient, and costs its share of the image tower."""
    definition, params = random_model(CONFIG)
    observation = observe(CONFIG, LENGTHS, cameras=3)
    masks = observation.image_masks | {"right_wrist_0_rgb": np.zeros(4, bool)}
    batch = with_actions(CONFIG, dataclasses.replace(observation, image_masks=masks))
    rng = np.random.default_rng(0)
    draw = FlowDraw(rng.normal(size=batch.actions.shape).astype(np.float32), rng.random(4, np.float32))
    fewer = {
        name: {slot: array for slot, array in getattr(batch.observation, name).items() if slot in list(masks)[:2]}
        for name in ("images", "image_masks")
    }
    less = dataclasses.replace(batch, observation=dataclasses.replace(batch.observation, **fewer))

    @jax.jit
    def slopes(params, batch):
        return jax.value_and_grad(lambda p: compute_losses(definition.merge(p), batch, draw, MODES["ki"]).total)(params)

    (whole, by_whole), (part, by_part) = slopes(params, batch), slopes(params, less)
    assert float(whole) == pytest.approx(float(part), rel=1e-6)
    for name, slope in flatten(by_whole).items():
        np.testing.assert_allclose(flatten(by_part)[name], slope, atol=2e-5 * max(1, float(jnp.abs(slope).max())))
