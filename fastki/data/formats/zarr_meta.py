"""What the metadata of a Zarr array, version 2 or 3, say: shape, type, grid of chunks and how those are packed.

Checked before anything is allocated or unpacked. Arrays of Python objects, whose filters run code, are among those
that are not read.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastki.data.formats.zarr_codecs import Config, why_not
from fastki.errors import DataError

MAX_CHUNK = 2**30
"""A chunk of more bytes than this (1 GiB) is refused."""
_MAX_DIMS = 8
_MAX_SIZE = 2**40
_WHOLE = tuple(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))
_NUMBERS = frozenset(("bool", *_WHOLE, "float16", "float32", "float64"))
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, eq=False)
class ArrayMeta:
    """One array that can be read.

    Attributes:
        name: its place in the hierarchy, such as ``data/action``.
        shape: of the whole; chunks: of one chunk, as many dimensions, none of them 0.
        dtype: as stored, big or little endian.
        fill: the value of chunks that are absent; None where those have none.
        axes: the array's dimensions in the order in which a chunk stores them.
        codecs: (name, configuration) of each, in the order in which they are undone.
        prefix, separator: how the keys of chunks are made of their place in the grid.
    """

    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any
    axes: tuple[int, ...]
    codecs: tuple[tuple[str, Config], ...]
    prefix: str
    separator: str

    def key(self, place: Sequence[int]) -> str:
        """The file of the chunk at ``place`` in the grid."""
        parts = [part for part in (self.prefix, *map(str, place)) if part]
        return f"{self.name}/{self.separator.join(parts) or '0'}"

    @property
    def grid(self) -> tuple[int, ...]:
        """How many chunks there are along each dimension."""
        return tuple(-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))


@dataclass(frozen=True)
class Unread:
    """One array that cannot be read: its shape, its type as the metadata call it, and why."""

    shape: tuple[int, ...]
    dtype: str
    reason: str


class _RefusalError(Exception):
    """Why an array whose metadata are sound is not read."""


def parse_array(text: bytes, version: int, *, name: str, where: str) -> ArrayMeta | Unread | None:
    """The array ``name`` whose ``.zarray`` (version 2) or ``zarr.json`` (3) holds ``text``; None for a group.

    Raises:
        DataError: damaged metadata, or chunks of more than 1 GiB.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is damaged, not valid JSON ({error}): fetch it again") from error
    if not isinstance(document, dict):
        raise DataError(f"{where} is damaged: a JSON object is expected")
    if document.get("node_type") == "group":
        return None
    shape = _sizes(document.get("shape"), where)
    kind = str(document.get("dtype" if version == 2 else "data_type"))
    try:
        return (_parse_v2 if version == 2 else _parse_v3)(document, shape, name, where)
    except _RefusalError as refusal:
        return Unread(shape, kind, str(refusal))


def _parse_v2(document: Mapping[str, Any], shape: tuple[int, ...], name: str, where: str) -> ArrayMeta:
    dtype = _dtype(document.get("dtype"), where)
    filters = document.get("filters") or []
    compressor = document.get("compressor")
    packing = [*(filters if isinstance(filters, list) else [filters]), *([compressor] if compressor else [])]
    order, separator = document.get("order", "C"), document.get("dimension_separator", ".")
    if order not in ("C", "F") or separator not in (".", "/"):
        raise DataError(f"{where} is damaged: order {order!r}, dimension_separator {separator!r}")
    dims = tuple(range(len(shape)))
    return ArrayMeta(
        name=name,
        shape=shape,
        chunks=_chunks(document.get("chunks"), shape, dtype, where),
        dtype=dtype,
        fill=_fill(document.get("fill_value"), dtype, where),
        axes=dims if order == "C" else dims[::-1],
        codecs=tuple(_codec(item, "id", where) for item in reversed(packing)),
        prefix="",
        separator=separator,
    )


def _parse_v3(document: Mapping[str, Any], shape: tuple[int, ...], name: str, where: str) -> ArrayMeta:
    grid, grid_config = _named(document.get("chunk_grid"), where)
    keys, keys_config = _named(document.get("chunk_key_encoding"), where)
    if grid != "regular" or keys not in ("default", "v2") or document.get("storage_transformers"):
        raise _RefusalError("its chunks are laid out in a way that is not read")
    separator = keys_config.get("separator", "/" if keys == "default" else ".")
    codecs = document.get("codecs")
    if separator not in (".", "/") or not isinstance(codecs, list):
        raise DataError(f"{where} is damaged: chunk key separator {separator!r}, codecs {codecs!r}")
    axes: tuple[int, ...] = tuple(range(len(shape)))
    endian, packing = None, []
    for item in codecs:
        codec, config = _named(item, where)
        if endian is None and codec == "transpose":
            axes = _transposed(axes, config.get("order"), where)
        elif endian is None and codec == "bytes":
            endian = config.get("endian", sys.byteorder)
        elif endian is None:
            raise _RefusalError(f"codec {codec!r} is not read")
        else:
            packing.append(_codec(item, "name", where))
    dtype = _dtype(document.get("data_type"), where)
    if endian not in ("little", "big"):
        raise DataError(f"{where} is damaged: no codec 'bytes' among its codecs, or one of no known order")
    return ArrayMeta(
        name=name,
        shape=shape,
        chunks=_chunks(grid_config.get("chunk_shape"), shape, dtype, where),
        dtype=dtype.newbyteorder("<" if endian == "little" else ">"),
        fill=_fill(document.get("fill_value"), dtype, where),
        axes=axes,
        codecs=tuple(reversed(packing)),
        prefix="c" if keys == "default" else "",
        separator=separator,
    )


def _dtype(value: object, where: str) -> np.dtype[Any]:
    """The type by a name of NumPy's array interface, such as ``<f4``, or one of version 3, such as ``float32``."""
    if not isinstance(value, str):
        raise _RefusalError(f"its values are of type {value!r}, not numbers")
    plain = value in _NUMBERS or (len(value) in (2, 3) and value[-2:-1] in "biuf" and value[:-2] in ("", "<", ">", "|"))
    try:
        dtype = np.dtype(value) if plain else None
    except TypeError as error:
        raise DataError(f"{where} is damaged: unknown type {value!r}") from error
    if dtype is None or dtype.name not in _NUMBERS:
        raise _RefusalError(f"its values are of type {value!r}, not numbers")
    return dtype


def _sizes(value: object, where: str) -> tuple[int, ...]:
    sizes = tuple(value) if isinstance(value, list) else (-1,)
    if len(sizes) > _MAX_DIMS or not all(type(size) is int and 0 <= size < _MAX_SIZE for size in sizes):
        raise DataError(f"{where} is damaged: {str(value)[:80]} is no shape")
    return sizes


def _chunks(value: object, shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> tuple[int, ...]:
    chunks = _sizes(value, where)
    if len(chunks) != len(shape) or any(chunk == 0 < size for chunk, size in zip(chunks, shape, strict=True)):
        raise DataError(f"{where} is damaged: chunks of {chunks} for an array of {shape}")
    chunks = tuple(chunk or 1 for chunk in chunks)
    if math.prod(chunks) * dtype.itemsize > MAX_CHUNK:
        raise DataError(f"{where}: chunks of {chunks} are refused as larger than 1 GiB: store it in smaller ones")
    return chunks


def _fill(value: object, dtype: np.dtype[Any], where: str) -> Any:
    """The value of absent chunks, None where they have none."""
    if value is None:
        return None
    try:
        if isinstance(value, str) and value.startswith("0x") and dtype.kind == "f":
            return np.frombuffer(int(value, 16).to_bytes(dtype.itemsize, "little"), dtype.newbyteorder("<"))[0]
        number = _WORDS[value] if isinstance(value, str) else value
        if not isinstance(number, bool | int | float):
            raise TypeError
        if dtype.kind in "fb":
            with np.errstate(over="ignore"):
                return np.array(float(number)).astype(dtype)
        return np.array(int(number), dtype)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where} is damaged: fill_value {str(value)[:80]!r} for values of type {dtype}") from error


def _named(value: object, where: str) -> tuple[str, Config]:
    """Name and configuration of one of version 3's extension points: an object, or the name alone."""
    if isinstance(value, str):
        return value, {}
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        config = value.get("configuration") or {}
        if isinstance(config, dict):
            return value["name"], config
    raise DataError(f"{where} is damaged: {str(value)[:80]} has no name")


def _codec(item: object, field: str, where: str) -> tuple[str, Config]:
    if field == "name":
        name, config = _named(item, where)
    elif isinstance(item, dict) and isinstance(item.get(field), str):
        name, config = item[field], item
    else:
        raise DataError(f"{where} is damaged: {str(item)[:80]} is no codec")
    name = name.removeprefix("numcodecs.")
    if reason := why_not(name, config):
        raise _RefusalError(reason)
    return name, config


def _transposed(axes: tuple[int, ...], order: object, where: str) -> tuple[int, ...]:
    if order in ("C", "F"):
        return axes if order == "C" else axes[::-1]
    if isinstance(order, list) and all(type(axis) is int for axis in order) and sorted(order) == list(range(len(axes))):
        return tuple(axes[axis] for axis in order)
    raise DataError(f"{where} is damaged: {str(order)[:80]} is no order of {len(axes)} dimensions")
