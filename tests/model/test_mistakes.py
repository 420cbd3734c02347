"""Mistakes that a port of openpi can make, each made on purpose: parity must notice every one.

A mistake is a function of fastki replaced by a wrong one. Of those that openpi was measured with, ``report.json`` has
how far they move the velocity, and here they must move it as far.
"""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("flax")

import jax
import jax.numpy as jnp
from openpi_golden import FLOAT32, IMAGE_TOKENS, load_golden, relative
from quick import run_quickly

from fastki.model import attention, gemma, layers, vla
from fastki.model.attention import KeysValues
from fastki.model.gemma import Embedder
from fastki.model.layers import AdaptiveRMSNorm, Einsum, RMSNorm, normalise
from fastki.model.siglip import SigLIP
from fastki.model.vla import VLA, Prefix

NOTICED = 10 * FLOAT32
"""A mistake must move the velocity by this at the least, of its largest number."""
ALIKE = 1.02
"""And by openpi's own figure within this factor."""


@pytest.fixture(scope="module")
def golden(shared):
    """Its two key/value heads for four heads tell apart what one would not."""
    return load_golden(shared, "pi05_asym")


def velocity(golden, patch, *, tower=False):
    """At the set's own x_t; with openpi's tokens of the pictures, unless the tower is to run."""
    definition = golden.definition()
    if not tower:
        tokens = golden.outputs["prefix_tokens"][:, :IMAGE_TOKENS]
        patch.setattr(SigLIP, "__call__", lambda self, images, dtype: jnp.asarray(tokens))

    def run(params, observation, noisy, time):
        return definition.merge(params).joint(observation, noisy, time, insulated=False).velocity

    return run_quickly(run, golden.params, golden.observation, golden.outputs["x_t"], golden.inputs["time"])


def reverse_prompt(patch, golden):
    original = VLA.embed_text

    def embed_text(model, observation):
        reversed_ids = observation.tokenized_prompt[:, ::-1]
        return original(model, dataclasses.replace(observation, tokenized_prompt=reversed_ids))

    patch.setattr(VLA, "embed_text", embed_text)


def ignore_padding(patch, golden):
    original = VLA.places

    def places(model, observation, image_valid, *, expert):
        everything = jnp.ones_like(observation.tokenized_prompt_mask)
        observation = dataclasses.replace(observation, tokenized_prompt_mask=everything)
        return original(model, observation, image_valid, expert=expert)

    patch.setattr(VLA, "places", places)


def ignore_missing_camera(patch, golden):
    original = VLA.embed_prefix

    def embed_prefix(model, observation):
        prefix = original(model, observation)
        return Prefix(prefix.tokens, jnp.ones_like(prefix.image_valid))

    patch.setattr(VLA, "embed_prefix", embed_prefix)


def swap_cameras(patch, golden):
    original = VLA.embed_prefix
    first, second, _ = golden.cameras

    def embed_prefix(model, observation):
        images = {**observation.images, first: observation.images[second], second: observation.images[first]}
        return original(model, dataclasses.replace(observation, images=images))

    patch.setattr(VLA, "embed_prefix", embed_prefix)


def late(patch, golden):
    original = VLA.joint

    def joint(model, observation, noisy, time, *, insulated):
        return original(model, observation, noisy + 0.01 * golden.outputs["u_t"], time + 0.01, insulated=insulated)

    patch.setattr(VLA, "joint", joint)


def gate_plus_one(patch, golden):
    def add_branch(x, branch, gate):
        return x + (branch if gate is None else branch * (1 + gate))

    patch.setattr(gemma, "add_branch", add_branch)


def interleaved_rope(patch, golden):
    original = attention.rope

    def rope(x, positions, *, dtype=None):
        pairs = x.reshape(*x.shape[:-1], -1, 2)
        halves = jnp.concatenate([pairs[..., 0], pairs[..., 1]], axis=-1)
        turned = original(halves, positions, dtype=dtype)
        first, second = jnp.split(turned, 2, axis=-1)
        return jnp.stack([first, second], axis=-1).reshape(x.shape)

    patch.setattr(attention, "rope", rope)


def erf_gelu(patch, golden):
    original = jax.nn.gelu
    patch.setattr(jax.nn, "gelu", lambda x, approximate: original(x, approximate=False))


def plain_positions(patch, golden):
    def positions(model, where):
        return jnp.broadcast_to(jnp.arange(where.valid.shape[1]), where.valid.shape)

    patch.setattr(VLA, "positions", positions)


def embeddings_without_root(patch, golden):
    patch.setattr(Embedder, "encode", lambda self, ids, dtype: self.input_embedding[...][ids].astype(dtype))


def keys_for_values(patch, golden):
    original = Einsum.__call__

    def call(self, equation, x):
        result = original(self, equation, x)
        return result[::-1] if equation == "BTD,SKDH->SBTKH" else result

    patch.setattr(Einsum, "__call__", call)


def shift_for_scale(patch, golden):
    def call(self, x, cond=None):
        kernel, bias = (self.Dense_0[name][...] for name in ("kernel", "bias"))
        shift, scale, gate = jnp.split((cond @ kernel + bias)[:, None, :], 3, axis=-1)
        return normalise(x) * (1 + scale) + shift, gate

    patch.setattr(AdaptiveRMSNorm, "__call__", call)


def interleaved_heads(patch, golden):
    """Query head n reads key/value head n mod K."""
    original = attention.attend

    def attend(query, context, mask, numerics):
        shared = context.keys.shape[2]
        grouped = query.reshape(*query.shape[:2], -1, shared, query.shape[-1]).swapaxes(2, 3)
        read = original(grouped.reshape(query.shape), context, mask, numerics)
        return read.reshape(*query.shape[:2], shared, -1, query.shape[-1]).swapaxes(2, 3).reshape(query.shape)

    patch.setattr(gemma, "attend", attend)


def norm_without_one(patch, golden):
    patch.setattr(RMSNorm, "__call__", lambda self, x, cond=None: (normalise(x) * self.scale[...], None))


def cosine_first(patch, golden):
    original = layers.time_embedding
    patch.setattr(vla, "time_embedding", lambda time, width: jnp.roll(original(time, width), width // 2, axis=-1))


def unscaled_queries(patch, golden):
    original = attention.Attention.project

    def project(self, index, x, positions, numerics):
        query, own = original(self, index, x, positions, numerics)
        return query * query.shape[-1] ** 0.5, own

    patch.setattr(attention.Attention, "project", project)


def unrotated_keys(patch, golden):
    original = attention.Attention.project

    def project(self, index, x, positions, numerics):
        query, _ = original(self, index, x, positions, numerics)
        return query, KeysValues(*original(self, index, x, jnp.zeros_like(positions), numerics)[1])

    patch.setattr(attention.Attention, "project", project)


MEASURED = {
    "reverse prompt tokens": reverse_prompt,
    "ignore prompt padding mask": ignore_padding,
    "ignore image mask": ignore_missing_camera,
    "swap two cameras": swap_cameras,
    "time + 0.01 (x_t too)": late,
    "gate 1+g instead of g": gate_plus_one,
    "interleaved rope": interleaved_rope,
    "erf gelu instead of tanh gelu": erf_gelu,
    "positions = arange instead of cumsum(mask)-1": plain_positions,
}
"""By the names of ``report.json``."""
IN_PICTURES = ("swap two cameras", "erf gelu instead of tanh gelu")
"""Those that the tower has a part in."""
OURS = (
    embeddings_without_root,
    keys_for_values,
    shift_for_scale,
    interleaved_heads,
    norm_without_one,
    cosine_first,
    unscaled_queries,
    unrotated_keys,
)


def test_every_mistake_that_openpi_was_measured_with_is_made(golden):
    assert set(MEASURED) == set(golden.report["sensitivity_rel_change_of_v_t"])


@pytest.mark.parametrize("name", MEASURED)
def test_a_mistake_moves_the_velocity_as_far_as_it_moves_openpis(golden, monkeypatch, name):
    MEASURED[name](monkeypatch, golden)
    change = relative(velocity(golden, monkeypatch, tower=name in IN_PICTURES), golden.outputs["v_t"])
    theirs = golden.report["sensitivity_rel_change_of_v_t"][name]
    assert change > NOTICED
    assert theirs / ALIKE < change < theirs * ALIKE


@pytest.mark.parametrize("mistake", OURS, ids=lambda mistake: mistake.__name__)
def test_a_mistake_moves_the_velocity_off_openpis(golden, monkeypatch, mistake):
    mistake(monkeypatch, golden)
    assert relative(velocity(golden, monkeypatch), golden.outputs["v_t"]) > NOTICED


def test_without_a_mistake_it_is_openpis(golden, monkeypatch):
    assert relative(velocity(golden, monkeypatch), golden.outputs["v_t"]) < FLOAT32
