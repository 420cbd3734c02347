"""Where loaded arrays go: this machine's memory, or devices as a sharding says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding
from numpy.typing import NDArray

from fastki.errors import UsageError
from fastki.model.checkpoint_store import StoredArray, as_dtype

Index = tuple[slice, ...]


@dataclass(frozen=True)
class Placing:
    """Sharding and dtype of what is loaded.

    Attributes:
        sharding: for all, or by name; None for NumPy arrays.
        dtype: of all; None for what the model has.
    """

    sharding: Sharding | Mapping[str, Sharding] | None
    dtype: np.dtype[Any] | None

    def dtype_of(self, leaf: Any) -> np.dtype[Any]:
        """Of the array that takes the place of ``leaf``."""
        return np.dtype(leaf.dtype) if self.dtype is None else self.dtype

    def sharding_of(self, name: str) -> Sharding | None:
        """UsageError where only others have one."""
        if not isinstance(self.sharding, Mapping):
            return self.sharding
        if name not in self.sharding:
            raise UsageError(f"there is no sharding for {name}: give one for each parameter, or one for all")
        return self.sharding[name]

    def put(self, name: str, value: Any) -> Any:
        """An array that is here already."""
        sharding, dtype = self.sharding_of(name), self.dtype_of(value)
        return np.asarray(value, dtype) if sharding is None else jax.device_put(value.astype(dtype), sharding)


def start_reading(array: StoredArray, dtype: np.dtype[Any], sharding: Sharding | None) -> Any:
    """Begins to read; ``result()`` of what it gives is the array. Of a sharded one, this process reads its slices."""
    store = as_dtype(array, dtype)
    if sharding is None:
        return store.read()
    slices = sharding.addressable_devices_indices_map(array.shape).values()
    parts = {_key(index): index for index in slices if index is not None}
    return _Slices(array.shape, sharding, {key: store[index].read() for key, index in parts.items()})


def resize_positions(positions: NDArray[Any], tokens: int) -> NDArray[Any]:
    """Learnt positions on a square grid, ``[1, T, W]`` → ``[1, tokens, W]``, bilinearly."""
    old, new, width = isqrt(positions.shape[1]), isqrt(tokens), positions.shape[2]
    grid = np.asarray(positions, np.float32).reshape(old, old, width)
    resized = jax.image.resize(grid, (new, new, width), "bilinear")
    return np.asarray(resized).reshape(1, tokens, width).astype(positions.dtype)


@dataclass(frozen=True, eq=False)
class _Slices:
    """Slices of an array that are being read, each once however many devices have it."""

    shape: tuple[int, ...]
    sharding: Sharding
    pending: Mapping[Any, Any]

    def result(self) -> jax.Array:
        return jax.make_array_from_callback(
            self.shape, self.sharding, lambda index: self.pending[_key(index or ())].result()
        )


def _key(index: Index) -> tuple[tuple[int | None, int | None], ...]:
    return tuple((part.start, part.stop) for part in index)
