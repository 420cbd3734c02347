"""AdamW, clipping and the rates of parts."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_model import quiet_loss, toy_batch, toy_params

from fastki.errors import UsageError
from fastki.model.parts import part_of
from fastki.model.trees import flatten
from fastki.training.optimizer import AdamW, Rates, build_optimizer
from fastki.training.schedule import Schedule

SCHEDULE = Schedule("constant", peak_lr=1e-2, warmup_steps=0)


def first_updates(optimizer: optax.GradientTransformation, steps: int = 3) -> dict[str, np.ndarray]:
    """The parameters' moves after a few steps on one batch."""
    params = toy_params()
    state = optimizer.init(params)
    gradient = jax.grad(lambda tree: quiet_loss(tree, toy_batch(0), jax.random.key(0))[0])
    moved = params
    for _ in range(steps):
        updates, state = optimizer.update(gradient(moved), state, moved)
        moved = optax.apply_updates(moved, updates)
    return flatten(jax.tree.map(lambda new, old: np.asarray(new - old), moved, params))


def test_with_rates_of_one_it_is_openpis_chain_bit_for_bit():
    theirs = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(1e-2, b1=0.9, b2=0.95, eps=1e-8, weight_decay=1e-10)
    )
    ours, reference = first_updates(build_optimizer(AdamW(), SCHEDULE, Rates())), first_updates(theirs)
    for path, move in ours.items():
        np.testing.assert_array_equal(move, reference[path], err_msg=path)


def test_rates_scale_the_moves_of_their_part_alone():
    plain = first_updates(build_optimizer(AdamW(), SCHEDULE, Rates()), steps=1)
    scaled = first_updates(build_optimizer(AdamW(), SCHEDULE, Rates(tower=0.5, embedder=0.25)), steps=1)
    factors = {"tower": 0.5, "embedder": 0.25}
    for path, move in scaled.items():
        # To the rounding of a parameter of about 1, from which the move was taken.
        np.testing.assert_allclose(move, plain[path] * factors.get(part_of(path), 1), atol=2e-7, err_msg=path)


def test_the_states_tree_does_not_hang_on_the_numbers():
    params = toy_params()
    trees = [
        jax.tree.structure(build_optimizer(adamw, SCHEDULE, rates).init(params))
        for adamw in (AdamW(), AdamW(clip_gradient_norm=None, weight_decay=0.0))
        for rates in (Rates(), Rates(tower=0.1))
    ]
    assert all(tree == trees[0] for tree in trees)


def test_clipping_bounds_the_gradients_that_adam_sees():
    huge = jax.tree.map(lambda leaf: jnp.full_like(leaf, 1e3), toy_params())
    for clip, bounded in ((1.0, True), (None, False)):
        optimizer = build_optimizer(AdamW(clip_gradient_norm=clip), SCHEDULE, Rates())
        _, state = optimizer.update(huge, optimizer.init(huge), huge)
        mean = optax.tree.norm(state[1].mu) / (1 - 0.9)
        assert (float(mean) < 1.001) == bounded


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("b1", 1.0, "b1 must be from 0 to below 1"),
        ("b2", -0.1, "b2 must be from 0 to below 1"),
        ("eps", 0.0, "eps must be above 0"),
        ("weight_decay", -1.0, "weight_decay must be 0 or more"),
        ("clip_gradient_norm", 0.0, "clip_gradient_norm must be above 0"),
        ("clip_gradient_norm", float("nan"), "clip_gradient_norm must be above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(field, value, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(AdamW(), **{field: value})


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf")])
def test_a_part_is_frozen_rather_than_given_no_rate(rate):
    with pytest.raises(UsageError, match="freeze tower to stop it"):
        Rates(tower=rate)
