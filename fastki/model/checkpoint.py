"""Weights in and out, in openpi's checkpoints.

loaded = load_openpi("checkpoints/pi05_droid/3000", definition)     # or …/3000/params, or gs://…/pi05_base
model = definition.merge(loaded.params)
save_openpi("out/checkpoint", loaded.params)                        # out/checkpoint/params, which openpi reads
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import Sharding
from numpy.typing import DTypeLike

from fastki.errors import UsageError
from fastki.model.checkpoint_folder import CheckpointFolder, find_checkpoint
from fastki.model.checkpoint_match import STRICT, LoadRules, Plan, capped, plan
from fastki.model.checkpoint_place import Placing, resize_positions, start_reading
from fastki.model.checkpoint_remote import local_checkpoint
from fastki.model.checkpoint_store import StoredArray, StoredTree, open_tree, read_all
from fastki.model.checkpoint_traits import Shapes
from fastki.model.params import Definition, Params, abstract_model, flatten, initial_values, nest

Expected: TypeAlias = Definition | Mapping[str, Any]
"""A model's definition, or nested parameters: arrays, or ``jax.ShapeDtypeStruct`` where all are loaded."""


@dataclass(frozen=True)
class LoadReport:
    """Where a model's parameters come from, by name.

    Attributes:
        source: the checkpoint.
        loaded: read from it.
        initial: at the values of a new model.
        unused: in the checkpoint only.
        resized: those of ``loaded`` that were interpolated.
    """

    source: str
    loaded: tuple[str, ...]
    initial: tuple[str, ...]
    unused: tuple[str, ...]
    resized: tuple[str, ...]

    def __str__(self) -> str:
        """One line."""
        parts = [f"{len(self.loaded):,} parameters from {self.source}"]
        for title, names in (
            ("at their initial values", self.initial),
            ("of the checkpoint unused", self.unused),
            ("interpolated", self.resized),
        ):
            parts += [f"{len(names):,} {title} ({capped(names)})"] if names else []
        return "; ".join(parts)


@dataclass(frozen=True, eq=False)
class Loaded:
    """What a checkpoint gave.

    Attributes:
        params: nested; NumPy arrays, or JAX's where a sharding was given.
        report: where each comes from.
        folder: the checkpoint on this machine; None for a file.
    """

    params: Params
    report: LoadReport
    folder: CheckpointFolder | None

    @property
    def assets(self) -> dict[str, Path]:
        """Id → the folder with its ``norm_stats.json``, for :func:`fastki.data.norm_stats.load_norm_stats`."""
        return {} if self.folder is None else self.folder.assets


def load_openpi(
    path: str | os.PathLike[str],
    expected: Expected,
    *,
    rules: LoadRules = STRICT,
    dtype: DTypeLike | None = None,
    sharding: Sharding | Mapping[str, Sharding] | None = None,
    seed: int = 0,
) -> Loaded:
    """The weights of a checkpoint, which has to fit: names and shapes are compared before any array is read.

    Args:
        path: of a training step, a released checkpoint, or the ``params`` folder in one; a URL's files are fetched into
            a cache first.
        expected: what the parameters are for.
        rules: which differences are meant.
        dtype: of all; by default those of ``expected``, float32 of a definition.
        sharding: for every parameter, or for each by its name; None for NumPy arrays.
        seed: of initial values; the same as :func:`fastki.model.params.init_model` draws.

    Raises:
        DataError: no checkpoint there, or a damaged one.
        UsageError: one that does not fit; or initial values are needed and ``expected`` has shapes only.
    """
    placing = Placing(sharding, None if dtype is None else np.dtype(dtype))
    folder = find_checkpoint(local_checkpoint(path))
    tree = open_tree(folder.params)
    wanted = expected_leaves(expected)
    todo = plan(shapes_of(tree), {name: leaf.shape for name, leaf in wanted.items()}, rules, source=os.fspath(path))
    _require_floats(tree, todo)
    flat = dict(zip(todo.loaded, _read(tree, todo, wanted, placing), strict=True))
    return finish(flat, todo, expected, placing, seed=seed, origin=(os.fspath(path), folder))


def expected_leaves(expected: Expected) -> dict[str, Any]:
    """Name → an array or its ``jax.ShapeDtypeStruct``; nothing is allocated."""
    if isinstance(expected, Definition):
        return flatten(abstract_model(expected.config, layout=expected.layout)[1])
    return flatten(expected)


def shapes_of(tree: StoredTree) -> Shapes:
    """By name."""
    return {name: array.shape for name, array in tree.arrays.items()}


def finish(
    flat: Mapping[str, Any],
    todo: Plan,
    expected: Expected,
    placing: Placing,
    *,
    seed: int,
    origin: tuple[str, CheckpointFolder | None],
) -> Loaded:
    """What was read together with initial values."""
    initial = {name: placing.put(name, value) for name, value in _initial(expected, todo.initial, seed).items()}
    names = expected_leaves(expected)
    params = nest({name: flat[name] if name in flat else initial[name] for name in names})
    report = LoadReport(origin[0], todo.loaded, todo.initial, todo.unused, todo.resized)
    return Loaded(params, report, origin[1])


def _initial(expected: Expected, names: tuple[str, ...], seed: int) -> Mapping[str, Any]:
    if isinstance(expected, Definition):
        return initial_values(expected, names, seed=seed)
    given = {name: leaf for name, leaf in flatten(expected).items() if name in names}
    empty = [name for name, leaf in given.items() if isinstance(leaf, jax.ShapeDtypeStruct)]
    if empty:
        raise UsageError(f"there are no initial values for {capped(empty)}: give the model's definition, not shapes")
    return given


def _read(tree: StoredTree, todo: Plan, wanted: Mapping[str, Any], placing: Placing) -> Iterator[Any]:
    def start(array: StoredArray) -> Any:
        sharded = placing.sharding_of(array.name) if array.name not in todo.resized else None
        return start_reading(array, placing.dtype_of(wanted[array.name]), sharded)

    arrays = [tree.arrays[name] for name in todo.loaded]
    for name, value in zip(todo.loaded, read_all(arrays, start, tree.folder), strict=True):
        if name in todo.resized:
            yield placing.put(name, resize_positions(value, wanted[name].shape[1]))
        else:
            yield value


def _require_floats(tree: StoredTree, todo: Plan) -> None:
    words = [f"{name} {tree.arrays[name].dtype}" for name in todo.loaded if not tree.arrays[name].is_float]
    if words:
        raise UsageError(
            f"{tree.folder} holds no weights of a model: {capped(words)} instead of floating-point numbers"
        )
