"""One step of training: a pure function, compiled once for a mesh."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fastki.model.trees import Tree
from fastki.training.ema import update_average
from fastki.training.gradients import (
    Batch,
    LossFunction,
    Metrics,
    accumulated_gradients,
    cut,
    gradients_of,
    norms_by_part,
)
from fastki.training.mesh import DATA, FSDP, MeshOptions, batch_sharding, replicated, tree_shardings
from fastki.training.optimizer import build_optimizer
from fastki.training.recipe import Recipe
from fastki.training.state import TrainState

Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
Moving = tuple[jax.Array, Tree, Any, Tree | None]
"""What a step changes: its number, the trainable parameters, the optimiser's state, the moving average."""

T = TypeVar("T")


def make_step(loss_function: LossFunction, recipe: Recipe, mesh: Mesh, options: MeshOptions) -> Step:
    """The step as a pure function ``(state, batch) → (state, metrics)``, of a state that the same recipe made.

    Its randomness is ``jax.random.fold_in(state.key, state.step)``: it hangs on the number of the step alone.

    **Nothing bad is kept.** Where the loss or the gradient's norm is infinite or no number, the new state is the old
    one, unchanged to the last bit and in ``step`` too, and the metric ``finite`` is 0. The caller stops there.

    Metrics, all float32 scalars: the loss function's own, which ours of the same name replace; ``loss``;
    ``grad_norm`` before clipping, and ``grad_norm/PART`` of each part that learns; ``param_norm`` of the trainable
    parameters before the update; ``learning_rate`` of this update before any part's multiplier; ``finite``, 1 or 0.
    """
    optimizer = build_optimizer(recipe.optimizer, recipe.schedule, recipe.rates)
    rate = recipe.schedule.rate()
    gradients_in = _differentiate(loss_function, recipe.accumulate, mesh, options)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        loss, metrics, gradients = gradients_in(state, batch, key)
        norm, by_part = norms_by_part(gradients)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        metrics |= {f"grad_norm/{part}": value for part, value in by_part.items()}
        metrics |= {
            "loss": loss,
            "grad_norm": norm,
            "param_norm": norms_by_part(state.params)[0],
            "learning_rate": rate(state.step),
            "finite": finite.astype(jnp.float32),
        }
        return _update_if(finite, state, gradients, optimizer, recipe.ema_decay), metrics

    return step


def compile_step(step: Step, shardings: TrainState | NamedSharding, mesh: Mesh) -> Step:
    """The step jitted for the mesh. The state that it is given is given up: its memory becomes the new state's.

    Args:
        step: of :func:`make_step`.
        shardings: of :func:`fastki.training.mesh.tree_shardings` for the state, or one for all of it.
        mesh: whose devices share the batch.
    """
    return jax.jit(
        step,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )


def _differentiate(
    loss_function: LossFunction, accumulate: int, mesh: Mesh, options: MeshOptions
) -> Callable[[TrainState, Batch, jax.Array], tuple[jax.Array, Metrics, Tree]]:
    """Loss, metrics and gradients by state, batch and key, in as many micro-batches."""

    def like_params(tree: T) -> T:
        return jax.lax.with_sharding_constraint(tree, tree_shardings(tree, mesh, options))  # type: ignore[no-any-return]

    def whole(state: TrainState, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics, Tree]:
        loss, metrics, gradients = gradients_of(loss_function, state.params, state.frozen, batch, key)
        return loss, dict(metrics), like_params(gradients)

    def in_pieces(state: TrainState, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics, Tree]:
        pieces = jax.lax.with_sharding_constraint(
            cut(batch, accumulate), NamedSharding(mesh, PartitionSpec(None, (DATA, FSDP)))
        )
        keys = jax.random.split(key, accumulate)
        return accumulated_gradients(loss_function, state.params, state.frozen, pieces, keys, like_params)

    return whole if accumulate == 1 else in_pieces


def _update_if(
    finite: jax.Array,
    state: TrainState,
    gradients: Tree,
    optimizer: optax.GradientTransformation,
    ema_decay: float | None,
) -> TrainState:
    """The state after the update where ``finite``, else ``state`` itself.

    A branch rather than a choice between two results: both of which, each as large as the model, would have to be kept.
    """

    def update(moving: Moving) -> Moving:
        step, params, opt_state, ema = moving
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
        if ema is not None and ema_decay is not None:
            ema = update_average(ema, params, ema_decay)
        return step + 1, params, opt_state, ema

    moving = state.step, state.params, state.opt_state, state.ema_params
    step, params, opt_state, ema = jax.lax.cond(finite, update, lambda same: same, moving)
    return dataclasses.replace(state, step=step, params=params, opt_state=opt_state, ema_params=ema)
