"""Training steps that are compared: both losses in one pass, the same in two passes, and the flow's alone.

Each is the losses, their gradient and SGD in one compiled function that may overwrite its parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.model_cells import Cell
from fastki.model.config import MODES, Mode
from fastki.model.inputs import on_device
from fastki.model.losses import FlowDraw, compute_losses
from fastki.model.params import Definition, Params, flatten, init_model
from fastki.sequence.batch import Batch, Observation
from fastki.sequence.sizes import inference_cost, training_cost

INSULATED_FLOW = Mode("flow", flow=True, fast=False, insulate=True)
"""The flow's half of knowledge insulation."""
RATE = 1e-4
FEWER = "ki, cameras that are there"
_NUDGE = 0.02  # A new model's gates are shut, so that half of its gradient is zero; this opens them.

Loss = Callable[[Params], jax.Array]
Step = Callable[[Params, tuple[Any, ...]], tuple[Params, jax.Array]]


@dataclass(frozen=True)
class Race:
    """Compiled steps of one cell.

    Attributes:
        steps: name → compiled function of parameters and batches; gives new parameters and the loss.
        data: name → its batches, on the device.
        peak_mb: name → the memory that it takes, parameters and batches included.
        error: the largest difference between the gradients of one pass and two, over the largest gradient of the
            same parameter; and the same of the losses.
    """

    steps: dict[str, Step]
    data: dict[str, tuple[Any, ...]]
    peak_mb: dict[str, float]
    error: dict[str, float]


def one_pass(definition: Definition, mode: Mode) -> Callable[..., jax.Array]:
    """The loss of a mode as a function of parameters, batch and draw."""
    return lambda params, batch, draw: compute_losses(definition.merge(params), batch, draw, mode).total


def present_cameras(observation: Observation) -> Observation:
    """Without the slots that are empty in every example: nothing reads them, and the tower need not."""
    there = [slot for slot, mask in observation.image_masks.items() if np.asarray(mask).any()]
    images, masks = ({slot: arrays[slot] for slot in there} for arrays in (observation.images, observation.image_masks))
    return replace(observation, images=images, image_masks=masks)


def gradients(definition: Definition) -> dict[str, Callable[..., tuple[jax.Array, Params]]]:
    """Loss and gradient of each way, as functions of parameters and batches."""
    ki = jax.value_and_grad(one_pass(definition, MODES["ki"]))
    fast = jax.value_and_grad(one_pass(definition, MODES["fast"]))
    insulated = jax.value_and_grad(one_pass(definition, INSULATED_FLOW))

    def two_passes(params: Params, full: Batch, prompt: Batch, draw: FlowDraw) -> tuple[jax.Array, Params]:
        (first, one), (second, other) = fast(params, full, draw), insulated(params, prompt, draw)
        return first + second, jax.tree.map(jnp.add, one, other)

    return {"ki": ki, "two passes": two_passes, "flow": jax.value_and_grad(one_pass(definition, MODES["flow"]))}


def sgd_step(gradient: Callable[..., tuple[jax.Array, Params]]) -> Callable[..., tuple[Params, jax.Array]]:
    """A step down the gradient."""

    def step(params: Params, *data: Any) -> tuple[Params, jax.Array]:
        loss, slope = gradient(params, *data)
        return jax.tree.map(lambda value, by: value - RATE * by.astype(value.dtype), params, slope), loss

    return step


def prepare(cell: Cell) -> tuple[Race, Definition, Params]:
    """Compile the three steps of a cell, and compare the gradients of one pass with those of two."""
    definition, params = nudged_model(cell)
    full, prompt, draw = on_device((cell.full, cell.prompt, cell.draw))
    data = {"ki": (full, draw), "two passes": (full, prompt, draw), "flow": (prompt, draw)}
    ways = gradients(definition)
    seen = present_cameras(full.observation)
    if len(seen.images) < len(full.observation.images):
        ways[FEWER], data[FEWER] = ways["ki"], (replace(full, observation=seen), draw)
    error = _difference(*(jax.jit(ways[name])(params, *data[name]) for name in ("ki", "two passes")))
    steps = {
        name: jax.jit(sgd_step(way), donate_argnums=0).lower(params, *data[name]).compile()
        for name, way in ways.items()
    }
    peak = {name: peak_mb(step) for name, step in steps.items()}
    return Race(steps, data, peak, error), definition, params


def ratios_by_operations(cell: Cell) -> dict[str, float]:
    """What the ratios would be if a step took the time of its products, as :mod:`fastki.sequence.sizes` counts them.

    Of the second pass the backbone has no gradient: it is insulated.
    """
    size, lengths, horizon = cell.config.size, cell.lengths, cell.config.action_horizon
    cameras = len(cell.full.observation.images)
    with_fast = {"images": cameras, "text": lengths["full"], "logits": cell.learnt, "vocab": cell.config.vocab}
    both = training_cost(size, **with_fast, horizon=horizon).total
    second = inference_cost(size, images=cameras, text=lengths["prompt"], horizon=horizon, steps=3).total
    flow = training_cost(size, images=cameras, text=lengths["prompt"], horizon=horizon, logits=0, vocab=0).total
    return {"two passes": both / (training_cost(size, **with_fast, horizon=0).total + second), "flow": both / flow}


def nudged_model(cell: Cell) -> tuple[Definition, Params]:
    """A new model with every parameter a little off its first value."""
    definition, params = init_model(cell.config)

    @jax.jit
    def nudge(params: Params) -> Params:
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        moved = (leaf + _NUDGE * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True))
        return jax.tree.unflatten(tree, list(moved))

    return definition, nudge(params)


def runner(race: Race, name: str, params: Params) -> Callable[[], jax.Array]:
    """Each call takes one step on from where the last one came."""
    held = [jax.tree.map(jnp.copy, params)]

    def run() -> jax.Array:
        held[0], loss = race.steps[name](held[0], *race.data[name])
        return jax.block_until_ready(loss)

    return run


def peak_mb(compiled: Any) -> float:
    """Megabytes of arguments, results and everything in between, as XLA has laid them out."""
    sizes = compiled.memory_analysis()
    held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return (held + sizes.temp_size_in_bytes) / 1e6


def _difference(one: tuple[jax.Array, Params], two: tuple[jax.Array, Params]) -> dict[str, float]:
    mine, theirs = (flatten(gradient) for _, gradient in (one, two))
    worst = max(_relative(np.asarray(mine[name]), np.asarray(theirs[name])) for name in mine)
    return {"loss": _relative(np.asarray(one[0]), np.asarray(two[0])), "gradient": worst}


def _relative(one: np.ndarray, other: np.ndarray) -> float:
    scale = float(np.abs(other).max())
    return float(np.abs(one - other).max()) / scale if scale else float(np.abs(one).max())
