"""What is in a checkpoint, without reading its arrays. Nothing here needs JAX."""

from __future__ import annotations

import os
from dataclasses import dataclass

from fastki.model.checkpoint_folder import CheckpointFolder, find_checkpoint
from fastki.model.checkpoint_store import StoredArray, open_tree
from fastki.model.checkpoint_traits import OTHER, PARTS, Traits, part_of, read_traits


@dataclass(frozen=True, eq=False)
class Part:
    """Arrays of one part of a model.

    Attributes:
        name: among :data:`fastki.model.checkpoint_traits.PARTS`, or ``other``.
        arrays: how many.
        parameters: numbers in them.
        nbytes: of the numbers.
        dtypes: theirs, each once.
    """

    name: str
    arrays: int
    parameters: int
    nbytes: int
    dtypes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Contents:
    """Of a checkpoint.

    Attributes:
        source: as it was named.
        folder: where its parts lie.
        arrays: open, not read, by name.
        trailing_value: whether its leaves have a trailing ``value`` on disk.
        traits: the model that they are of.
    """

    source: str
    folder: CheckpointFolder
    arrays: dict[str, StoredArray]
    trailing_value: bool
    traits: Traits

    @property
    def total(self) -> Part:
        """All arrays."""
        return _part("total", list(self.arrays.values()))

    @property
    def parts(self) -> list[Part]:
        """Those parts that it has, the picture's way through the model."""
        grouped: dict[str, list[StoredArray]] = {name: [] for name in ORDER}
        for name, array in self.arrays.items():
            grouped[part_of(name)].append(array)
        return [_part(name, arrays) for name, arrays in grouped.items() if arrays]


ORDER = ("tower", "embedder", "backbone", "expert", "actions", "state_token", "lora", OTHER)
assert set(ORDER) == {*PARTS, OTHER}


def describe(path: str | os.PathLike[str]) -> Contents:
    """The contents of a checkpoint on this machine.

    Raises:
        DataError: there is none, or a damaged one.
    """
    folder = find_checkpoint(path)
    tree = open_tree(folder.params)
    traits = read_traits({name: array.shape for name, array in tree.arrays.items()})
    return Contents(os.fspath(path), folder, tree.arrays, tree.trailing_value, traits)


def _part(name: str, arrays: list[StoredArray]) -> Part:
    dtypes = tuple(dict.fromkeys(array.dtype for array in arrays))
    sizes, nbytes = (sum(getattr(array, field) for array in arrays) for field in ("size", "nbytes"))
    return Part(name, len(arrays), sizes, nbytes, dtypes)
