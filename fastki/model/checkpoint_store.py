"""The arrays of a checkpoint on disk: names, shapes and dtypes first, values when they are asked for.

Orbax writes them (:func:`fastki.model.checkpoint_save.save_openpi`). They are read by TensorStore, the library below
it, which needs neither JAX nor the devices that the writer had, reads each machine's slices alone, and whose failures
are errors and nothing else. Two layouts are known: a plain tree of names, and one with a trailing ``value`` on every
leaf, which Flax's training state leaves behind and which is no part of a name here.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastki.data.extras import need
from fastki.data.files import read_json_object
from fastki.errors import DataError
from fastki.model.checkpoint_folder import MANIFEST, PARAMS, TREE

if TYPE_CHECKING:
    import numpy as np
    import tensorstore

VALUE = "value"
READING_BYTES = 2**31
"""Of arrays that are read at the same time, where one alone is not larger."""
_FLOATS = ("float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True, eq=False)
class StoredArray:
    """One array, not read yet.

    Attributes:
        name: such as ``PaliGemma/img/head/kernel``.
        shape: of it.
        dtype: its name, ``bfloat16`` included.
        store: the open array.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    store: tensorstore.TensorStore

    @property
    def size(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Of the numbers, unpacked."""
        return self.size * int(self.store.dtype.numpy_dtype.itemsize)

    @property
    def is_float(self) -> bool:
        """Whether it can be a parameter."""
        return self.dtype in _FLOATS


@dataclass(frozen=True, eq=False)
class StoredTree:
    """All arrays of a checkpoint.

    Attributes:
        folder: of the Orbax tree.
        arrays: by name.
        trailing_value: whether every leaf has a trailing ``value`` on disk.
    """

    folder: Path
    arrays: dict[str, StoredArray]
    trailing_value: bool


def open_tree(folder: Path) -> StoredTree:
    """The tree in ``folder``; of its files only those that describe it are read.

    Raises:
        DataError: it is damaged, or no tree of weights.
    """
    metadata = read_json_object(folder / TREE)
    keys = _leaves(metadata, folder)
    with _damage(folder):
        pending = {key: _open(folder, ".".join(key), metadata) for key in keys}
        stores = {key: future.result() for key, future in pending.items()}
    trailing = all(len(key) > 1 and key[-1] == VALUE for key in keys)
    arrays = {}
    for key, store in stores.items():
        name = "/".join(key[1:-1] if trailing else key[1:])
        arrays[name] = StoredArray(name, tuple(store.shape), store.dtype.name, store)
    return StoredTree(folder, arrays, trailing)


def read_all(arrays: Iterable[StoredArray], start: Callable[[StoredArray], Any], folder: Path) -> Iterator[Any]:
    """What ``start`` begins to read of each, in order, a bounded number of bytes at a time.

    Args:
        arrays: which.
        start: begins to read one; its answer has ``result()``.
        folder: for errors.

    Raises:
        DataError: an array is damaged, incomplete or packed in a way that would need far more memory than its size.
    """
    pending: deque[tuple[int, Any]] = deque()
    for array in arrays:
        _check_chunks(array, folder)
        while pending and sum(size for size, _ in pending) + array.nbytes > READING_BYTES:
            yield _finish(pending, folder)
        with _damage(folder):
            pending.append((array.nbytes, start(array)))
    while pending:
        yield _finish(pending, folder)


def as_dtype(array: StoredArray, dtype: np.dtype[Any]) -> tensorstore.TensorStore:
    """The open array, which becomes ``dtype`` while it is read: no second copy of it."""
    import tensorstore as ts

    return ts.cast(array.store, ts.dtype(dtype))


def _finish(pending: deque[tuple[int, Any]], folder: Path) -> Any:
    with _damage(folder):
        return pending.popleft()[1].result()


def _leaves(metadata: dict[str, Any], folder: Path) -> list[tuple[str, ...]]:
    """The path of every array in the tree, ``params`` first."""
    try:
        entries = list(metadata["tree_metadata"].values())
        there = [entry for entry in entries if not entry["value_metadata"].get("skip_deserialize", False)]
        keys = [tuple(str(step["key"]) for step in entry["key_metadata"]) for entry in there]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / TREE} is damaged: it does not describe a tree of arrays; fetch it again") from error
    keys = [key for key in keys if len(key) > 1 and key[0] == PARAMS]
    if not keys:
        raise DataError(f"{folder} holds no weights: its tree has no {PARAMS!r} at the top, as openpi's has")
    return keys


def _open(folder: Path, key: str, metadata: dict[str, Any]) -> Any:
    """The opening of one array."""
    ts = need("tensorstore", extra="train", what="checkpoints")
    place = f"{folder.absolute()}/"
    if (folder / MANIFEST).exists():
        store = {"driver": "ocdbt", "base": {"driver": "file", "path": place}, "path": f"{key}/"}
    else:
        store = {"driver": "file", "path": f"{place}{key}/"}
    spec: dict[str, Any] = {"driver": "zarr3" if metadata.get("use_zarr3") else "zarr", "kvstore": store}
    if metadata.get("store_array_data_equal_to_fill_value"):
        spec["fill_missing_data_reads"] = False  # All was written, so what is not there was lost.
    return ts.open(spec, open=True, read=True)


def _check_chunks(array: StoredArray, folder: Path) -> None:
    chunk = array.store.chunk_layout.read_chunk.shape or array.shape
    if any((part or 0) > max(1, whole) for part, whole in zip(chunk, array.shape, strict=True)):
        raise DataError(f"{folder} is damaged: {array.name} has chunks of {list(chunk)}, larger than itself")


@contextlib.contextmanager
def _damage(folder: Path) -> Iterator[None]:
    """Turns TensorStore's errors, ValueErrors with a status in front, into DataErrors."""
    try:
        yield
    except (ValueError, OSError) as error:
        text = str(error).partition(" [tensorstore_spec")[0].partition(" [source locations")[0]
        reason = " ".join(text.split())
        raise DataError(f"{folder} is damaged or incomplete ({reason}): copy the checkpoint again") from error
