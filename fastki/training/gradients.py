"""Losses and gradients of a batch, in one go or in micro-batches, and the gradients' norms by part.

Axis letters: B rows of a batch, M micro-batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fastki.model.parts import PARTS, part_of
from fastki.model.trees import Tree, flatten, merge

Batch = Any
"""A pytree of arrays, each with the leading axis B."""
Metrics = dict[str, jax.Array]
"""float32 scalars by name."""
LossFunction = Callable[[Tree, Batch, jax.Array], tuple[jax.Array, Metrics]]
"""(all parameters, batch, typed PRNG key) → (loss, float32 scalar, a mean over the rows; metrics)."""
Constraint = Callable[[Any], Any]
"""Where a tree's arrays lie on the mesh: the tree itself, to the compiler with a note."""


def gradients_of(
    loss_function: LossFunction, params: Tree, frozen: Tree, batch: Batch, key: jax.Array
) -> tuple[jax.Array, Metrics, Tree]:
    """The loss, its metrics, and its gradient with respect to ``params`` alone.

    Nothing is differentiated with respect to ``frozen``: no such gradient is computed, let alone kept.
    """

    def loss_of(trainable: Tree) -> tuple[jax.Array, Metrics]:
        return loss_function(merge(trainable, frozen), batch, key)

    (loss, metrics), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
    return loss, metrics, gradients


def accumulated_gradients(
    loss_function: LossFunction,
    params: Tree,
    frozen: Tree,
    micro_batches: Batch,
    keys: jax.Array,
    constrain: Constraint,
) -> tuple[jax.Array, Metrics, Tree]:
    """The mean over micro-batches of loss, metrics and gradients, one micro-batch in memory at a time.

    **How exact.** Where the loss is a mean over rows, all of equal weight, the mean over equal micro-batches is the
    whole batch's loss, and so is the gradient: equal but for the order in which float32 numbers are added up (some
    1e-7 of their size). Whatever the loss draws from its key is drawn anew for each micro-batch, from keys of its own,
    so that a loss with noise gives other draws of the same distribution than the whole batch would. Metrics that are
    no means over rows (a maximum, say) become the mean of the micro-batches' values.

    Args:
        loss_function: a mean over rows.
        params: trainable.
        frozen: the rest.
        micro_batches: as of :func:`cut`: leaves ``[M, B / M, …]``.
        keys: one a micro-batch, ``[M]``.
        constrain: keeps the sum of gradients where the parameters lie.
    """

    def add(total: Tree, each: tuple[Batch, jax.Array]) -> tuple[Tree, tuple[jax.Array, Metrics]]:
        loss, metrics, gradients = gradients_of(loss_function, params, frozen, *each)
        return constrain(jax.tree.map(jnp.add, total, gradients)), (loss, metrics)

    zero = constrain(jax.tree.map(jnp.zeros_like, params))
    total, (losses, metrics) = jax.lax.scan(add, zero, (micro_batches, keys))
    count = keys.shape[0]
    mean = jax.tree.map(lambda leaf: leaf / count, total)
    return jnp.mean(losses), jax.tree.map(lambda values: jnp.mean(values, axis=0), metrics), mean


def cut(batch: Batch, count: int) -> Batch:
    """Leaves ``[B, …]`` as ``[M, B / M, …]``: row r goes to micro-batch r mod M.

    So each device's contiguous rows fall to all micro-batches evenly, and none has to be moved.
    """

    def one(leaf: jax.Array) -> jax.Array:
        return jnp.swapaxes(leaf.reshape(-1, count, *leaf.shape[1:]), 0, 1)

    return jax.tree.map(one, batch)


def norms_by_part(tree: Tree) -> tuple[jax.Array, Metrics]:
    """The L2 norm of all leaves together, and that of each part of the model that has some, by its name."""
    squares: dict[str, jax.Array] = {}
    for path, leaf in flatten(tree).items():
        part = part_of(path)
        squares[part] = squares.get(part, jnp.zeros(())) + jnp.sum(jnp.square(leaf))
    whole = jnp.sqrt(sum(squares.values(), start=jnp.zeros(())))
    return whole, {part: jnp.sqrt(squares[part]) for part in PARTS if part in squares}
