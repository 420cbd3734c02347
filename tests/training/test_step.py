"""One step of training: what it changes, what it measures, what it refuses to do."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_model import quiet_loss, toy_batch, toy_loss, toy_params

from fastki.errors import UsageError
from fastki.model.parts import PARTS, is_lora, part_of
from fastki.model.trees import flatten, merge
from fastki.training.mesh import MeshOptions, make_mesh, place_batch, tree_shardings
from fastki.training.recipe import Recipe
from fastki.training.schedule import Schedule
from fastki.training.selection import Selection
from fastki.training.state import TrainState, create_state, inference_params
from fastki.training.step import Step, compile_step, make_step

RECIPE = Recipe(schedule=Schedule("constant", peak_lr=1e-2, warmup_steps=0))
OPTIONS = MeshOptions()


@pytest.fixture(scope="module", autouse=True)
def quick_compiler() -> Iterator[None]:
    """What is compiled here runs a few times only."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def compiled(recipe: Recipe, loss: Any = toy_loss, *, lora: bool = False) -> tuple[TrainState, Step]:
    """A fresh state and the compiled step."""
    return create_state(recipe, toy_params(lora=lora), jax.random.key(3)), step_of(recipe, loss, lora)


@functools.cache
def step_of(recipe: Recipe, loss: Any, lora: bool) -> Step:
    """Compiled once for all tests."""
    mesh = make_mesh(OPTIONS, jax.devices()[:1])
    state = create_state(recipe, toy_params(lora=lora), jax.random.key(3))
    step = compile_step(make_step(loss, recipe, mesh, OPTIONS), tree_shardings(state, mesh, OPTIONS), mesh)
    return lambda before, batch: step(before, place_batch(batch, mesh))


def bits(tree: Any) -> list[bytes]:
    """Every bit of a tree, taken before the step takes its memory."""
    leaves = jax.tree.leaves(tree)
    words = [jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf for leaf in leaves]
    return [np.array(leaf).tobytes() for leaf in words]


def test_losses_fall():
    state, step = compiled(RECIPE, quiet_loss)
    losses = []
    for _ in range(60):
        state, metrics = step(state, toy_batch(0))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0]
    assert int(state.step) == 60


def test_metrics_are_float32_scalars_with_the_models_own_among_them():
    state, step = compiled(RECIPE)
    _, metrics = step(state, toy_batch(0))
    assert {"flow", "nats", "loss", "grad_norm", "param_norm", "learning_rate", "finite"} < set(metrics)
    assert all(value.dtype == jnp.float32 and value.shape == () for value in metrics.values())
    np.testing.assert_allclose(metrics["loss"], metrics["flow"] + 0.1 * metrics["nats"], rtol=1e-6)
    assert float(metrics["learning_rate"]) == np.float32(1e-2)
    assert float(metrics["finite"]) == 1


def test_norms_of_parts_make_up_the_whole():
    state, step = compiled(RECIPE, quiet_loss)
    gradients = jax.grad(lambda tree: quiet_loss(tree, toy_batch(0), jax.random.key(0))[0])(toy_params())
    _, metrics = step(state, toy_batch(0))
    by_part = [float(metrics[f"grad_norm/{part}"]) for part in PARTS]
    np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(gradients), rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"], np.linalg.norm(by_part), rtol=1e-6)
    tower = [leaf for path, leaf in flatten(gradients).items() if part_of(path) == "tower"]
    np.testing.assert_allclose(metrics["grad_norm/tower"], optax.tree.norm(tower), rtol=1e-6)


def test_randomness_hangs_on_the_number_of_the_step_alone():
    state, step = compiled(RECIPE)
    elsewhere = dataclasses.replace(jax.tree.map(jnp.copy, state), step=jnp.asarray(5, jnp.int32))
    again = jax.tree.map(jnp.copy, state)
    first, second, third = (float(step(each, toy_batch(0))[1]["loss"]) for each in (state, again, elsewhere))
    assert first == second != third


def test_the_state_is_given_up_to_the_step():
    state, step = compiled(RECIPE)
    leaf = state.params["action_in_proj"]["kernel"]
    step(state, toy_batch(0))
    assert leaf.is_deleted()


def test_the_average_follows_each_update():
    state, step = compiled(dataclasses.replace(RECIPE, ema_decay=0.9))
    average = flatten(jax.tree.map(np.array, state.params))
    for number in range(4):
        state, _ = step(state, toy_batch(number))
        average = {path: 0.9 * average[path] + 0.1 * np.array(leaf) for path, leaf in flatten(state.params).items()}
    for path, leaf in flatten(state.ema_params).items():
        np.testing.assert_allclose(leaf, average[path], atol=1e-6, err_msg=path)
    assert flatten(inference_params(state)).keys() == flatten(toy_params()).keys()


def test_without_an_average_none_is_kept():
    state, step = compiled(dataclasses.replace(RECIPE, ema_decay=None))
    state, _ = step(state, toy_batch(0))
    assert state.ema_params is None
    assert inference_params(state) == merge(state.params, state.frozen)


def test_frozen_parts_keep_every_bit_and_have_no_optimiser_state():
    recipe = dataclasses.replace(RECIPE, select=Selection(freeze=("tower", "backbone")))
    state, step = compiled(recipe)
    before = {path: np.array(leaf) for path, leaf in flatten(toy_params()).items()}
    for number in range(3):
        state, metrics = step(state, toy_batch(number))
    for path, leaf in flatten(state.frozen).items():
        np.testing.assert_array_equal(leaf, before[path], err_msg=path)
    assert {part_of(path) for path in flatten(state.frozen)} == {"tower", "backbone"}
    assert {part_of(path) for path in flatten(state.params)} == {"embedder", "expert"}
    moments = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim)
    assert moments == 2 * sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert "grad_norm/tower" not in metrics
    moved = flatten(state.params)["action_in_proj/kernel"]
    assert not np.array_equal(moved, before["action_in_proj/kernel"])


@pytest.mark.parametrize("accumulate", [1, 4])
def test_nothing_is_differentiated_with_respect_to_what_is_frozen(accumulate):
    @jax.custom_vjp
    def never_differentiated(leaf):
        return leaf

    def backward(_, cotangent):
        raise AssertionError("the gradient of a frozen leaf is computed")

    never_differentiated.defvjp(lambda leaf: (leaf, None), backward)

    def loss(params, batch, key):
        tower = jax.tree.map(never_differentiated, params["PaliGemma"]["img"])
        return quiet_loss({**params, "PaliGemma": {**params["PaliGemma"], "img": tower}}, batch, key)

    frozen = dataclasses.replace(RECIPE, select=Selection(freeze=("tower",)), accumulate=accumulate)
    state, step = compiled(frozen, loss)
    step(state, toy_batch(0))
    state, step = compiled(dataclasses.replace(RECIPE, accumulate=accumulate), loss)
    with pytest.raises(AssertionError, match="frozen leaf"):
        step(state, toy_batch(0))


def test_frozen_parameters_may_be_kept_in_bfloat16():
    recipe = dataclasses.replace(RECIPE, select=Selection(freeze=("tower",)), frozen_dtype="bfloat16")
    state, step = compiled(recipe)
    state, metrics = step(state, toy_batch(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.frozen)} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.float32)}
    assert np.isfinite(float(metrics["loss"]))


def test_adapters_may_learn_alone():
    recipe = dataclasses.replace(RECIPE, select=Selection(train=("lora",)))
    state, step = compiled(recipe, quiet_loss, lora=True)
    assert all(is_lora(path) for path in flatten(state.params))
    assert not any(is_lora(path) for path in flatten(state.frozen))
    state, first = step(state, toy_batch(0))
    for _ in range(20):
        state, last = step(state, toy_batch(0))
    assert float(last["loss"]) < float(first["loss"])
    assert {name for name in last if name.startswith("grad_norm/")} == {"grad_norm/backbone"}


def test_a_selection_that_fits_nothing_makes_no_state():
    recipe = dataclasses.replace(RECIPE, select=Selection(train=("lora",)))
    with pytest.raises(UsageError, match="give it adapters first"):
        create_state(recipe, toy_params(), jax.random.key(0))


@pytest.mark.parametrize("pieces", [4, 16])
def test_micro_batches_give_the_whole_batchs_gradient(pieces):
    whole_state, whole_step = compiled(RECIPE, quiet_loss)
    cut_state, cut_step = compiled(dataclasses.replace(RECIPE, accumulate=pieces), quiet_loss)
    _, whole = whole_step(whole_state, toy_batch(0))
    cut_state, cut = cut_step(cut_state, toy_batch(0))
    assert whole.keys() == cut.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(cut[name], value, rtol=2e-6, err_msg=name)
    # Adam's first mean is (1 − b1) of the clipped gradient itself, of every leaf.
    gradients = jax.grad(lambda tree: quiet_loss(tree, toy_batch(0), jax.random.key(0))[0])(toy_params())
    scale = 0.1 / max(1.0, float(optax.tree.norm(gradients)))
    for path, mean in flatten(cut_state.opt_state[1].mu).items():
        np.testing.assert_allclose(mean, flatten(gradients)[path] * scale, atol=2e-7, err_msg=path)


def test_micro_batches_draw_each_their_own_noise():
    same_rows = {name: np.repeat(array[:1], 16, axis=0) for name, array in toy_batch(0).items()}

    def spread(params, batch, key):
        loss, metrics = toy_loss(params, batch, key)
        return loss, metrics | {"square": jnp.square(loss)}

    state, step = compiled(dataclasses.replace(RECIPE, accumulate=4), spread)
    _, metrics = step(state, same_rows)
    assert float(metrics["square"]) > float(metrics["loss"]) ** 2 * (1 + 1e-4)  # So they differ: E x² > (E x)².


def test_every_row_falls_into_one_micro_batch():
    def average(params, batch, key):
        loss, _ = quiet_loss(params, batch, key)
        return loss, {"mean": jnp.mean(batch["actions"])}

    state, step = compiled(dataclasses.replace(RECIPE, accumulate=4), average)
    _, metrics = step(state, toy_batch(1))
    np.testing.assert_allclose(metrics["mean"], toy_batch(1)["actions"].mean(), rtol=1e-5)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("bad", ["nan", "inf", "huge"])
def test_a_step_that_is_not_finite_changes_no_bit_of_the_state(accumulate, bad):
    state, step = compiled(dataclasses.replace(RECIPE, accumulate=accumulate), quiet_loss)
    state, metrics = step(state, toy_batch(0))
    before = bits(state)
    batch = toy_batch(1)
    batch["actions"][3] = {"nan": np.nan, "inf": np.inf, "huge": 1e18}[bad]
    state, metrics = step(state, batch)
    assert float(metrics["finite"]) == 0
    assert bits(state) == before
    state, metrics = step(state, toy_batch(1))
    assert float(metrics["finite"]) == 1
    assert bits(state) != before


def test_a_finite_loss_with_a_gradient_that_is_none_is_not_applied_either():
    def root(params, batch, key):
        loss, metrics = quiet_loss(params, batch, key)
        return loss + jnp.sqrt(jnp.sum(params["time_mlp_in"]["bias"]) * 0), metrics

    state, step = compiled(RECIPE, root)
    before = bits(state)
    state, metrics = step(state, toy_batch(0))
    assert np.isfinite(float(metrics["loss"]))
    assert float(metrics["finite"]) == 0
    assert bits(state) == before
