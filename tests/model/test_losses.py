"""The losses against plain NumPy: means an example, padding, chunks of logits, modes and what they tell."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

pytest.importorskip("flax")

import jax
import jax.numpy as jnp
import scipy.special
import scipy.stats
from jaxprs import equations
from model_batches import DEFAULT, REAL_DIMS, micro_config, random_batch, random_draw, random_model, with_text
from quick import run_quickly

from fastki.model import losses
from fastki.model.config import MODES
from fastki.model.losses import FlowDraw, compute_losses, draw_flow, flow_loss, token_sums
from fastki.model.params import flatten
from fastki.model.vla import Outputs

LENGTHS = ((5, 6), (3, 9), (4, 0))
"""Prompt and FAST of three examples; the last has none."""
CLOSE = 1e-6
"""Relative: float32 sums of some dozens of numbers, in another order."""


@pytest.fixture(scope="module")
def config():
    """So few words that chance gets some right."""
    return micro_config(vocab=7, ki_fast_loss_weight=0.5)


@pytest.fixture(scope="module")
def model(config):
    return random_model(config)


@pytest.fixture(scope="module")
def batch(config):
    """The first example has an action dimension less than the others."""
    made = random_batch(config, LENGTHS)
    mask = made.actions_mask.copy()
    mask[0, :, REAL_DIMS - 1] = False
    return dataclasses.replace(made, actions_mask=mask)


def run(model, batch, mode, **options):
    """The losses, compiled."""
    definition, params = model
    draw = random_draw(batch)

    def losses_of(params, batch):
        found = compute_losses(definition.merge(params), batch, draw, MODES[mode], **options)
        return found.total, found.metrics

    total, metrics = run_quickly(losses_of, params, batch)
    assert total == metrics["loss"]
    return {name: float(value) for name, value in metrics.items()}


@pytest.fixture(scope="module")
def found(model, batch):
    return run(model, batch, "ki")


@pytest.fixture(scope="module")
def reference(model, batch):
    """Flow ``[B]``, −log p, correct and number of tokens ``[B]``, by plain NumPy from what the model says."""
    definition, params = model
    draw = random_draw(batch)

    def outputs(params, batch):
        whole = definition.merge(params)
        time = draw.time[:, None, None]
        noisy = time * draw.noise + (1 - time) * batch.actions
        out = whole.joint(batch.observation, noisy, draw.time, insulated=True)
        return out.velocity, whole.llm.embedder.decode(out.prefix[:, out.text_start :])

    velocity, logits = (np.asarray(array, np.float64) for array in run_quickly(outputs, params, batch))
    seen, flow, nll, correct, tokens = batch.observation, [], [], [], []
    for index in range(len(batch)):
        off = np.square(velocity[index] - (np.asarray(draw.noise[index]) - batch.actions[index]))
        flow.append(off[batch.actions_mask[index]].mean())
        places = np.flatnonzero(seen.token_loss_mask[index])
        log_p = scipy.special.log_softmax(logits[index], axis=-1)
        words = seen.tokenized_prompt[index, places]
        nll.append(-log_p[places - 1, words].sum())
        correct.append((logits[index, places - 1].argmax(axis=-1) == words).sum())
        tokens.append(len(places))
    return tuple(np.array(numbers, float) for numbers in (flow, nll, correct, tokens))


def test_each_loss_is_a_mean_over_examples_of_the_examples_own_mean(found, reference):
    flow, nll, correct, tokens = reference
    cross_entropy = (nll[:2] / tokens[:2]).mean()  # The third has no token to learn.
    assert found["flow_loss"] == pytest.approx(flow.mean(), rel=CLOSE)
    assert found["loss"] == pytest.approx(flow.mean() + 0.5 * cross_entropy, rel=CLOSE)
    assert found["fast_loss"] == pytest.approx(nll.sum() / tokens.sum(), rel=CLOSE)
    assert found["token_accuracy"] == pytest.approx(correct.sum() / tokens.sum(), rel=CLOSE)
    assert 0 < correct.sum() < tokens.sum()
    assert abs(cross_entropy - found["fast_loss"]) > 1e-3, "the examples differ in length, and so these two in weights"


def test_nats_per_value_are_over_the_real_values_of_examples_with_tokens(found, reference, config):
    _, nll, _, _ = reference
    horizon = config.action_horizon
    values = horizon * (REAL_DIMS - 1) + horizon * REAL_DIMS
    assert found["nats_per_value"] == pytest.approx(nll.sum() / values, rel=CLOSE)


def test_what_padding_holds_never_counts(model, batch, found):
    seen = batch.observation
    missing = {slot: image.copy() for slot, image in seen.images.items()}
    missing["base_0_rgb"][~seen.image_masks["base_0_rgb"]] = 255
    ids = np.where(seen.tokenized_prompt_mask, seen.tokenized_prompt, 5)
    marked = seen.token_loss_mask | ~seen.tokenized_prompt_mask
    assert (ids != seen.tokenized_prompt).any()
    assert run(model, with_text(batch, tokenized_prompt=ids, images=missing), "ki") == found
    # Nor does a padded place that is marked as one to be learnt; where FAST ends is then for the mask of text to say.
    assert run(model, with_text(batch, token_loss_mask=marked), "fast")["fast_loss"] == pytest.approx(
        found["fast_loss"], rel=CLOSE
    )


def test_examples_without_actions_have_no_flow_but_do_have_tokens(model, batch, reference, config):
    flow, nll, _, tokens = reference
    metrics = run(model, batch, "joint", has_actions=jnp.array([False, True, True]))
    assert metrics["flow_loss"] == pytest.approx(flow[1:].mean(), rel=CLOSE)
    assert metrics["fast_loss"] == pytest.approx(nll.sum() / tokens.sum(), rel=CLOSE)
    assert metrics["nats_per_value"] == pytest.approx(nll[1] / (config.action_horizon * REAL_DIMS), rel=CLOSE)
    none = run(model, batch, "ki", has_actions=jnp.zeros(3, bool))
    assert none["flow_loss"] == 0
    assert none["nats_per_value"] == 0
    assert math.isfinite(none["loss"])


FLOW, FAST = {"flow_loss"}, {"fast_loss", "nats_per_value", "token_accuracy"}


@pytest.mark.parametrize(
    ("mode", "parts"), [("ki", FLOW | FAST), ("joint", FLOW | FAST), ("flow", FLOW), ("fast", FAST)]
)
def test_a_mode_tells_of_the_losses_that_it_has(model, batch, found, mode, parts):
    metrics = run(model, batch, mode)
    assert set(metrics) == {"loss", *parts}
    for name in parts:  # One pass of both gives what each alone would.
        assert metrics[name] == pytest.approx(found[name], rel=CLOSE), name


def test_the_flows_loss_by_hand():
    """Two examples of one step: the first has one real dimension, the second two, the third none."""
    velocity = jnp.array([[[3.0, 9.0]], [[1.0, 2.0]], [[5.0, 5.0]]])
    mask = jnp.array([[[True, False]], [[True, True]], [[False, False]]])
    # 3² / 1 and (1² + 2²) / 2, over the two that have any.
    assert flow_loss(velocity, jnp.zeros_like(velocity), mask) == (9 + 2.5) / 2


def test_token_sums_by_hand(config):
    """With the identity for a table, what the backbone says are the logits themselves."""
    config = dataclasses.replace(config, vocab=config.size.backbone.width)
    definition, params = random_model(config)
    params["PaliGemma"]["llm"]["embedder"]["input_embedding"] = jnp.eye(config.vocab)
    ids = np.zeros((1, 6), np.int32)
    ids[0, :4] = 5, 7, 9, 11
    hidden = np.full((1, 2 + 6, config.vocab), -100.0, np.float32)
    hidden[0, 2, [5, 7]] = np.log([0.75, 0.25])  # Where 5 stands, the next is 7.
    hidden[0, 3, [8, 9]] = np.log([0.5, 0.5])  # As likely as another: that counts.
    hidden[0, 4, [11, 4]] = np.log([0.9, 0.1])
    learnt = np.array([[False, True, True, True, False, False]])
    observation = dataclasses.replace(
        random_batch(config, [(2, 2)]).observation,
        tokenized_prompt=ids,
        tokenized_prompt_mask=ids > 0,
        token_loss_mask=learnt,
    )
    sums = token_sums(definition.merge(params), Outputs(jnp.asarray(hidden), None, None, 2), observation)
    assert sums.nll[0] == pytest.approx(-np.log([0.25, 0.5, 0.9]).sum(), rel=CLOSE)
    assert sums.correct.tolist() == [2]
    assert sums.tokens.tolist() == [3]


@pytest.fixture(scope="module")
def long_batch(config):
    """More places than are taken at once, and more tokens than one chunk has."""
    config = dataclasses.replace(config, max_token_len=90)
    return config, random_batch(config, [(4, 70), (9, 3)])


def fast_gradients(config, batch):
    definition, params = random_model(config)

    def loss(params):
        return compute_losses(definition.merge(params), batch, random_draw(batch), MODES["fast"]).total

    value, gradients = run_quickly(jax.value_and_grad(loss), params)
    return float(value), flatten(gradients)


def test_logits_a_chunk_at_a_time_give_the_same_loss_and_gradient(long_batch, monkeypatch):
    config, batch = long_batch
    value, gradients = fast_gradients(config, batch)
    monkeypatch.setattr(losses, "_PLACES_AT_ONCE", 1 << 20)
    whole, exact = fast_gradients(config, batch)
    monkeypatch.setattr(losses, "LOGITS_AT_ONCE", 2 * config.vocab * 7)
    small, others = fast_gradients(config, batch)
    assert value == pytest.approx(whole, rel=CLOSE)
    assert small == pytest.approx(whole, rel=CLOSE)
    for found in (gradients, others):
        for name, leaf in found.items():
            size = float(np.abs(exact[name]).max())
            np.testing.assert_allclose(leaf, exact[name], rtol=0, atol=CLOSE * size + 1e-9, err_msg=name)


def test_no_array_of_logits_is_larger_than_a_chunk(long_batch, monkeypatch):
    """Neither forwards nor backwards: all that has the vocabulary's axis is the table, and 7 places of 2 examples."""
    config, batch = long_batch
    config = dataclasses.replace(config, vocab=1009)  # A prime: no other axis can be as long.
    monkeypatch.setattr(losses, "LOGITS_AT_ONCE", 2 * config.vocab * 7)
    definition, params = random_model(config)

    def loss(params):
        return compute_losses(definition.merge(params), batch, random_draw(batch), MODES["ki"]).total

    jaxpr = jax.make_jaxpr(jax.grad(loss))(params)
    shapes = {out.aval.shape for equation, _ in equations(jaxpr.jaxpr) for out in equation.outvars}
    wide = {shape for shape in shapes if config.vocab in shape}
    table = (config.vocab, config.size.backbone.width)
    assert (2, 7, config.vocab) in wide
    assert all(set(shape) == set(table) or math.prod(shape) <= 2 * 7 * config.vocab for shape in wide), wide


def test_chunks_without_a_token_make_no_logits(config, monkeypatch):
    """70 places of text, 5 tokens to learn: one chunk of logits is made, and the others skipped as they come."""
    made = []
    original = losses.logits_of

    def logits_of(hidden, table):
        jax.debug.callback(lambda: made.append(hidden.shape))
        return original(hidden, table)

    monkeypatch.setattr(losses, "logits_of", logits_of)
    monkeypatch.setattr(losses, "_PLACES_AT_ONCE", 10)
    config = dataclasses.replace(config, max_token_len=71)
    definition, params = random_model(config)
    for tokens, chunks in ((5, 1), (15, 2), (0, 0)):
        made.clear()
        batch = random_batch(config, [(30, tokens), (2, 3 if tokens else 0)])
        run((definition, params), batch, "fast")
        jax.effects_barrier()
        assert made == [(2, 10, config.size.backbone.width)] * chunks, tokens


def test_times_are_beta_and_noise_is_normal():
    draw = draw_flow(jax.random.key(0), (20_000, 1, 2))
    assert isinstance(draw, FlowDraw)
    time, noise = np.asarray(draw.time), np.asarray(draw.noise)
    assert time.min() >= 0.001
    assert time.max() <= 1
    assert scipy.stats.kstest((time - 0.001) / 0.999, scipy.stats.beta(1.5, 1).cdf).pvalue > 0.01
    assert scipy.stats.kstest(noise.ravel(), "norm").pvalue > 0.01
    assert abs(np.corrcoef(time, noise[:, 0, 0])[0, 1]) < 0.03
    assert (time < 0.5).mean() == pytest.approx(((0.5 - 0.001) / 0.999) ** 1.5, abs=0.01)


def test_another_key_draws_others_and_the_same_key_the_same():
    first, again, other = (draw_flow(jax.random.key(seed), (4, 2, 3)) for seed in (1, 1, 2))
    for ours, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(ours, same)
        assert not np.any(ours == different)


def test_the_default_layouts_text_has_its_loss_on_fast_alone(batch):
    seen = batch.observation
    assert DEFAULT.kinds == ("images", "prompt", "fast", "actions")
    assert seen.token_loss_mask.sum(axis=1).tolist() == [6, 9, 0]
