"""openpi's numbers, from openpi's parameters: everything that its golden vectors hold of a forward and backward pass.

Rows of padding are left out of ``prefix_out`` and the logits: a padded query sees nobody and so reads the mean of all
values, which in openpi's one attention are backbone's and expert's, and here the backbone's alone. Nothing reads them.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flax")

import jax
import jax.numpy as jnp
from openpi_golden import FLOAT32, IMAGE_TOKENS, KINDS, Golden, flow_pass, load_golden, real, relative
from quick import run_quickly

from fastki.model.attention import attend
from fastki.model.config import MODES
from fastki.model.gemma import Span, scan_layers
from fastki.model.losses import compute_losses
from fastki.model.params import abstract_model, flatten
from fastki.model.vla import VLA, Outputs

GRADIENT = 2e-5
"""Of a gradient's largest number: the same numbers, summed over 1,600 tokens in another order."""
GRADIENT_NORM = 5e-6
"""Of a gradient's norm, in which the rounding of single numbers averages out."""
NO_GRADIENT = 1e-7
"""Gradients that are zero but for rounding; the largest number of the smallest real one is 2e-3."""
ROTATED = 2.0**-14
"""Of the largest key: the float32 spacing of an angle near 800 rad, of which a division may be off by one in the last
place where XLA writes it as a product."""

COMPARED = ("prefix_tokens", "suffix_tokens", "adarms_cond", "prefix_out", "suffix_out", "v_t", "logits_text8")


@pytest.fixture(scope="module", params=[name for name, kind in KINDS.items() if kind != "pi0_fast"])
def golden(request, shared) -> Golden:
    return load_golden(shared, request.param)


@pytest.fixture(scope="module")
def found(golden):
    return flow_pass(golden)


def test_every_parameter_has_openpis_name_and_shape(golden):
    shapes = {name: leaf.shape for name, leaf in flatten(abstract_model(golden.config())[1]).items()}
    assert shapes == golden.shapes


def test_a_float32_pass_gives_openpis_numbers(golden, found):
    compared = [name for name in COMPARED if name in golden.outputs]
    assert len(compared) == len(COMPARED) - (golden.kind == "pi0")  # Whose norms adapt to nothing.
    differences = {
        name: relative(np.asarray(found[name])[rows], golden.outputs[name][rows])
        for name in compared
        for rows in [real(golden, name)]
    }
    assert max(differences.values()) < FLOAT32, differences


def test_padded_queries_alone_differ(golden, found):
    """The difference that the module's docstring claims is there, and is nowhere else."""
    off = np.abs(np.asarray(found["prefix_out"]) - golden.outputs["prefix_out"]).max(axis=-1)
    padded = ~golden.outputs["prefix_mask"]
    assert (off[padded] > 10 * off[~padded].max()).mean() > 0.9


def test_masks_flags_and_positions_are_openpis(golden, found):
    theirs = golden.outputs
    cut = theirs["prefix_mask"].shape[1]
    flags = np.diff(np.asarray(found["block"]), axis=1, prepend=0) != 0
    for ours, name in (
        (found["attn_mask"], "attn_mask"),
        (found["positions"], "positions"),
        (found["valid"][:, :cut], "prefix_mask"),
        (found["valid"][:, cut:], "suffix_mask"),
        (flags[0, :cut], "prefix_ar_mask"),
        (flags[0, cut:], "suffix_ar_mask"),
    ):
        np.testing.assert_array_equal(ours, theirs[name], err_msg=name)
    assert (flags == flags[0]).all()


def test_the_loss_of_each_action_is_openpis(golden, found):
    off = np.square(np.asarray(found["v_t"]) - golden.outputs["u_t"]).mean(axis=-1)
    assert relative(off, golden.outputs["loss"]) < FLOAT32


def test_noise_time_and_target_are_put_together_as_openpi_does(golden, monkeypatch):
    """A model that answers with openpi's own u_t has no loss left, and was asked at openpi's x_t."""
    asked = []

    def answer(model, observation, noisy, time, *, insulated):
        asked.append(noisy)
        return Outputs(jnp.zeros(()), None, jnp.asarray(golden.outputs["u_t"]), 0)

    monkeypatch.setattr(VLA, "joint", answer)
    model = golden.definition().merge(golden.params)
    assert compute_losses(model, golden.batch, golden.draw, MODES["flow"]).total == 0
    assert relative(asked[0], golden.outputs["x_t"]) < FLOAT32


def test_every_gradient_is_openpis(golden):
    definition = golden.definition()

    def loss(params):
        return compute_losses(definition.merge(params), golden.batch, golden.draw, MODES["flow"]).total

    value, gradients = run_quickly(jax.value_and_grad(loss), golden.params)
    assert float(value) == pytest.approx(golden.outputs["loss"].mean(), rel=FLOAT32)
    ours, norms = flatten(gradients), golden.report["grad_norms_float32"]
    assert set(ours) == set(norms)
    assert set(golden.gradients) <= set(ours)
    for name, theirs in golden.gradients.items():
        limit = max(GRADIENT * np.abs(theirs).max(), NO_GRADIENT)
        assert np.abs(np.asarray(ours[name]) - theirs).max() < limit, name
    for name, norm in norms.items():
        assert float(jnp.linalg.norm(ours[name])) == pytest.approx(norm, rel=GRADIENT_NORM, abs=NO_GRADIENT), name


def test_keys_and_values_of_every_layer_are_openpis(golden):
    """The sets hold the first and the last layer's, at every 16th place of the whole sequence."""
    definition = golden.definition()

    def run(params, observation, noisy, time):
        model = definition.merge(params)
        prefix = model.embed_prefix(observation)
        where = model.places(observation, prefix.image_valid, expert=True)
        mask, positions, cut = where.attention(), model.positions(where), prefix.tokens.shape[1]
        _, cache = model.llm.backbone(Span(prefix.tokens, positions[:, :cut], mask[:, :cut, :cut]))
        suffix, cond = model.embed_suffix(jnp.asarray(observation.state), noisy, time)

        def layer(block, x, context):  # Gemma.expert's, which keeps no keys of the expert.
            query, own, gate = block.enter(1, Span(x, positions[:, cut:], mask[:, cut:]), cond, model.llm.numerics)
            attended = attend(query, context.then(own), mask[:, cut:], model.llm.numerics)
            return block.leave(1, x, attended, gate, cond), own

        x, own = scan_layers(model.llm.layers, layer, suffix, cache, "none")
        expert = model.llm.expert(Span(suffix, positions[:, cut:], mask[:, cut:]), cache, cond)
        return cache.then(own), model.llm.final(1, x, cond), expert

    arguments = (golden.params, golden.observation, golden.outputs["x_t"], golden.inputs["time"])
    cache, expert_here, expert = run_quickly(run, *arguments)
    valid = np.concatenate([golden.outputs["prefix_mask"], golden.outputs["suffix_mask"]], axis=1)[:, ::16]
    prefix_length = IMAGE_TOKENS + golden.config().max_token_len
    assert (valid.shape[1] - 1) * 16 >= prefix_length, "the last sampled place is the expert's"
    for ours, name, limit in (
        (cache.keys, "kv_cache_k_first_last", ROTATED),
        (cache.values, "kv_cache_v_first_last", FLOAT32),
    ):
        sampled = np.asarray(ours)[[0, -1], :, ::16]
        assert relative(sampled[:, valid], golden.outputs[name][:, valid]) < limit, name
    # With a filled cache the expert says what it says in the joint pass.
    np.testing.assert_array_equal(expert, expert_here)
    assert relative(expert, golden.outputs["suffix_out"]) < FLOAT32
