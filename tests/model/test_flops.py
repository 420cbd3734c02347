"""What ``sequence/sizes.py`` says a sequence costs, against the model's own products and XLA's count."""

from __future__ import annotations

import functools

import pytest

pytest.importorskip("flax")

import jax
from jaxprs import product_flops
from model_batches import random_batch, random_draw

from fastki.model.config import MODES, ModelConfig
from fastki.model.losses import compute_losses
from fastki.model.params import abstract_model
from fastki.sequence.sizes import SIZES, training_cost

TEXT = 33
ELEMENTWISE = {"dummy": 0.06, "tiny": 0.04}
"""Norms, softmax, rotations and projections of actions, which the formula leaves out: less, the larger the model."""
WITHOUT_GRADIENT = 0.015
"""Pictures, noise, and the backbone's keys and values where the expert reads them."""


def parts(name):
    """Its definition, shapes of parameters (nothing is allocated), and a batch of one example with one camera.

    Attention is dense: it fills up no block.
    """
    size = SIZES[name]
    config = ModelConfig(size, size.vocab or 2048, max_token_len=TEXT, dtype="float32", remat="none", attention="xla")
    batch = random_batch(config, [(5, 6)])
    return *abstract_model(config), batch, random_draw(batch)


def forward(definition, batch, draw):
    def run(params):
        out = definition.merge(params).joint(batch.observation, draw.noise, draw.time, insulated=True)
        return out.prefix, out.velocity

    return run


def formula(config, logits=0):
    """Of a training step: three forward passes."""
    horizon = config.action_horizon
    return training_cost(config.size, images=1, text=TEXT, horizon=horizon, logits=logits, vocab=config.vocab).total


def left_out(config):
    """Products of actions, of time and of the adaptive norms, which the formula leaves out."""
    expert, dim = config.size.expert, config.action_dim
    actions = 2 * (2 * config.action_horizon * dim * expert.width)
    time = 2 * (2 * expert.width**2)
    norms = (2 * expert.depth + 1) * 2 * expert.width * 3 * expert.width
    return actions + time + norms


@pytest.mark.parametrize("name", SIZES)
def test_a_forward_pass_makes_just_the_products_of_the_formula(name):
    definition, shapes, batch, draw = parts(name)
    config = definition.config
    jaxpr = jax.make_jaxpr(forward(definition, batch, draw))(shapes)
    assert 3 * (product_flops(jaxpr.jaxpr) - left_out(config)) == formula(config)
    assert left_out(config) < 0.02 * formula(config)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_xla_counts_the_same_within_a_few_per_cent(name, monkeypatch):
    """With the layers written out: of a loop it counts one turn."""
    definition, shapes, batch, draw = parts(name)
    monkeypatch.setattr(jax.lax, "scan", functools.partial(jax.lax.scan, unroll=True))
    counted = jax.jit(forward(definition, batch, draw)).lower(shapes).cost_analysis()["flops"]
    expected = formula(definition.config) / 3
    assert expected < counted < expected * (1 + ELEMENTWISE[name])


def test_a_training_step_is_three_forward_passes():
    definition, shapes, batch, draw = parts("tiny")
    config = definition.config

    def loss(params):
        return compute_losses(definition.merge(params), batch, draw, MODES["ki"]).total

    made = product_flops(jax.make_jaxpr(jax.grad(loss))(shapes).jaxpr)
    again = 2 * (TEXT - 1) * config.size.backbone.width * config.vocab  # The backward pass makes the logits once more.
    expected = formula(config, logits=TEXT - 1) + 3 * left_out(config) + again
    assert expected * (1 - WITHOUT_GRADIENT) < made < expected
