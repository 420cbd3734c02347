"""PaliGemma's own weights, big_vision's ``pt_224.npz``, as the state in which a policy's training starts.

The file's names are ``params/img/…`` and ``params/llm/…``; below ``PaliGemma/`` they are openpi's. It has no action
expert and no projections, which keep their initial values. bfloat16 arrays are there as two bytes without a name.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from numpy.typing import DTypeLike, NDArray

from fastki.errors import DataError
from fastki.model.checkpoint import Expected, Loaded, expected_leaves, finish
from fastki.model.checkpoint_match import LoadRules, plan
from fastki.model.checkpoint_place import Placing, resize_positions
from fastki.model.checkpoint_remote import local_file

_PREFIX, _OURS, _SUFFIX = "params/", "PaliGemma/", ".npy"
_BFLOAT16: np.dtype[Any] = np.dtype(jnp.bfloat16)
_HEADER = 4096
"""Bytes in which the header of any array of weights fits."""
BACKBONE_ONLY = LoadRules(missing=("lora", "expert", "actions", "state_token"))
"""What PaliGemma lacks of a policy."""
# What NumPy and the archive raise on damaged files, of which headers are Python literals.
_DAMAGE = (
    ValueError, OSError, EOFError, KeyError, TypeError, SyntaxError, NotImplementedError, RuntimeError, OverflowError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def load_paligemma(
    path: str | os.PathLike[str],
    expected: Expected,
    *,
    rules: LoadRules = BACKBONE_ONLY,
    dtype: DTypeLike | None = None,
    sharding: Sharding | Mapping[str, Sharding] | None = None,
    seed: int = 0,
) -> Loaded:
    """Image tower, embeddings and backbone out of an ``.npz`` file; everything else at its initial values.

    The arguments and errors are those of :func:`fastki.model.checkpoint.load_openpi`, with a file for a folder. Sizes
    in the archive are compared with those of the model before anything is unpacked; Python objects are never loaded.
    """
    placing = Placing(sharding, None if dtype is None else np.dtype(dtype))
    file = local_file(path)
    if not file.is_file():
        raise DataError(f"{file} is no file: give PaliGemma's weights, an .npz file such as pt_224.npz")
    wanted = expected_leaves(expected)
    shapes = {name: leaf.shape for name, leaf in wanted.items()}
    with _damage(file), zipfile.ZipFile(file) as archive:
        entries = {entry.name: entry for entry in _entries(archive, file)}
        found = {name: entry.shape for name, entry in entries.items()}
        todo = plan(found, shapes, rules, source=os.fspath(path))
        flat = {}
        for name in todo.loaded:
            array = _read(archive, entries[name])
            if name in todo.resized:
                array = resize_positions(array, shapes[name][1])
            flat[name] = placing.put(name, array.astype(placing.dtype_of(wanted[name]), copy=False))
    return finish(flat, todo, expected, placing, seed=seed, origin=(os.fspath(path), None))


@dataclass(frozen=True)
class _Entry:
    """An array in the archive: its name in the model, shape, dtype and place."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    place: zipfile.ZipInfo


def _entries(archive: zipfile.ZipFile, file: Path) -> Iterator[_Entry]:
    """All arrays, out of their headers; DataError where one is no array of weights or not as large as it says."""
    for place in archive.infolist():
        with archive.open(place) as stream:
            start = io.BytesIO(stream.read(_HEADER))
        first = np.lib.format.read_magic(start) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, stored = read(start)
        name, dtype = place.filename.removesuffix(_SUFFIX), _float_type(stored)
        if dtype is None:
            raise DataError(f"{file} holds no weights of a model: {name} is {stored}, not floating-point numbers")
        size = start.tell() + math.prod(shape) * dtype.itemsize
        if place.file_size != size:
            raise DataError(f"{file} is damaged: {name} has {place.file_size:,} bytes, not {size:,}; fetch it again")
        yield _Entry(_OURS + name.removeprefix(_PREFIX), shape, dtype, place)


def _float_type(stored: np.dtype[Any]) -> np.dtype[Any] | None:
    if stored.kind == "V" and stored.itemsize == 2 and stored.names is None:
        return _BFLOAT16
    return stored if stored.kind == "f" else None


def _read(archive: zipfile.ZipFile, entry: _Entry) -> NDArray[Any]:
    with archive.open(entry.place) as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array.view(entry.dtype) if array.dtype.kind == "V" else array


@contextlib.contextmanager
def _damage(file: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        reason = " ".join((str(error) or type(error).__name__).split())
        raise DataError(f"{file} is damaged, or no .npz file ({reason}): fetch it again") from error
