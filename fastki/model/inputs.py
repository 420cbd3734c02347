"""Observations and batches as JAX sees them: trees of arrays.

Axis letters: B batch, P text tokens.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from fastki.sequence.batch import Batch, Observation


def _register(kind: type) -> None:
    jax.tree_util.register_dataclass(kind, [field.name for field in dataclasses.fields(kind)], [])


for _kind in (Observation, Batch):
    # Both live where JAX may not be imported, so they become trees here, before any model can be given one.
    _register(_kind)


def to_float(image: Any) -> Array:
    """uint8 in 0 … 255 → float32 in [−1, 1]; what is float already stays as it is."""
    wide = jnp.asarray(image, jnp.float32)
    return wide / 255.0 * 2.0 - 1.0 if image.dtype == jnp.uint8 else wide


def on_device(tree: Any) -> Any:
    """The same tree with its arrays on the default device."""
    return jax.tree.map(jnp.asarray, tree)
