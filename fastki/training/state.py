"""All that training carries from one step to the next."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fastki.model.trees import Tree, flatten, map_paths, merge, split
from fastki.training.optimizer import build_optimizer
from fastki.training.recipe import Recipe


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("step", "params", "frozen", "opt_state", "ema_params", "key"),
    meta_fields=(),
)
@dataclass(frozen=True)
class TrainState:
    """A pytree. Together with the data's position it decides every later step, bit for bit on one kind of machine.

    Attributes:
        step: int32 scalar, updates applied so far.
        params: the trainable parameters, float32, nested dicts by openpi's names.
        frozen: the others, in the recipe's ``frozen_dtype``; no leaf is in both.
        opt_state: of the optimiser, over ``params``.
        ema_params: moving average of ``params``, float32, or None.
        key: typed PRNG key of JAX's default kind, the same for the whole run: a step folds its number in.
    """

    step: jax.Array
    params: Tree
    frozen: Tree
    opt_state: Any
    ema_params: Tree | None
    key: jax.Array


def create_state(recipe: Recipe, params: Tree, key: jax.Array) -> TrainState:
    """The state before the first step. Pure, so that it may be jitted and its output sharded.

    Args:
        recipe: decides what is trainable.
        params: all of the model's, float32.
        key: ``jax.random.key(seed)`` of the run.

    Raises:
        UsageError: a name in the recipe's selection fits no parameter, or nothing is trainable.
    """
    trainable, frozen = split(params, recipe.select.trainable(flatten(params)))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=trainable,
        frozen=map_paths(lambda _, leaf: leaf.astype(recipe.frozen_dtype), frozen),
        opt_state=build_optimizer(recipe.optimizer, recipe.schedule, recipe.rates).init(trainable),
        # A copy, as both are given up to the step, which may not be given one buffer twice.
        ema_params=None if recipe.ema_decay is None else jax.tree.map(jnp.copy, trainable),
        key=key,
    )


def inference_params(state: TrainState) -> Tree:
    """All parameters for inference: the frozen, and the average of the others where one is kept."""
    return merge(state.frozen, state.params if state.ema_params is None else state.ema_params)
