"""Messages of openpi's protocol: msgpack, in which arrays are maps of their bytes, type and shape.

``{b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [2, 3]}`` is an array,
``{b"__npgeneric__": True, b"data": 3, b"dtype": "<i8"}`` a NumPy number. What is read comes from the network: it is
bounded before memory is taken, and no type but numbers is made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastki.errors import DataError

_NUMBERS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_DIMS, _LONGEST = 8, 1 << 31
_ITEMS, _CONTAINERS = 4096, 1024
"""Entries of one list or map, and how many of those a message holds: each takes far more memory than its bytes."""
_TEXT = 1 << 16


def pack(value: Any) -> bytes:
    """The message of plain values, arrays and NumPy numbers.

    Raises:
        DataError: something else.
    """
    import msgpack

    try:
        packed = msgpack.packb(value, default=_plain)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"this can't be sent: {error}") from error
    assert isinstance(packed, bytes), "a packer without a buffer gives bytes"
    return packed


def unpack(message: bytes) -> Any:
    """What a message says; arrays are read-only and share its memory where they can.

    Raises:
        DataError: it is cut off, no msgpack, too deep or wide, or an array in it is not what it says.
    """
    import msgpack

    count = _Count()
    try:
        return msgpack.unpackb(
            message,
            object_hook=lambda found: _array(count.one(found)),
            list_hook=count.one,
            max_str_len=_TEXT,
            max_array_len=_ITEMS,
            max_map_len=_ITEMS,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise DataError(
            f"the message is not msgpack as openpi-client sends it, or is out of bounds: {_reason(error)}"
        ) from error


class _Count:
    """How many lists and maps there were."""

    def __init__(self) -> None:
        self.seen = 0

    def one(self, found: Any) -> Any:
        self.seen += 1
        if self.seen > _CONTAINERS:
            raise DataError(f"the message holds more than {_CONTAINERS} lists and maps: send numbers as arrays")
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray) and _NUMBERS.fullmatch(value.dtype.str):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic) and _NUMBERS.fullmatch(value.dtype.str):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"{type(value).__name__} is no plain value and no array of numbers")


def _array(found: dict[Any, Any]) -> Any:
    """A map, or the array or number that it stands for."""
    if b"__ndarray__" in found:
        dtype, data, shape = _dtype(found), found.get(b"data"), _shape(found)
        wanted = math.prod(shape) * dtype.itemsize
        if not isinstance(data, bytes) or len(data) != wanted:
            has = f"{len(data)} bytes" if isinstance(data, bytes) else "no bytes"
            raise DataError(f"an array says {dtype.str} {list(shape)}, which is {wanted} bytes, and has {has}")
        return np.frombuffer(data, dtype).reshape(shape)
    if b"__npgeneric__" in found:
        dtype, number = _dtype(found), found.get(b"data")
        if not isinstance(number, (bool, int, float)):
            raise DataError(f"a number of type {dtype.str} has no number in it")
        try:
            with np.errstate(over="ignore"):  # It becomes infinite, which whoever looks at it refuses.
                return dtype.type(number)
        except (OverflowError, ValueError) as error:
            raise DataError(f"a number of type {dtype.str} has {number} in it") from error
    return found


def _dtype(found: Mapping[Any, Any]) -> np.dtype[Any]:
    name = found.get(b"dtype")
    if not isinstance(name, str) or not _NUMBERS.fullmatch(name):
        raise DataError(f"an array is of type {name!r:.40}: send booleans, integers or floats")
    return np.dtype(name)


def _shape(found: Mapping[Any, Any]) -> tuple[int, ...]:
    shape = found.get(b"shape")
    good = isinstance(shape, list) and len(shape) <= _DIMS and all(type(n) is int and 0 <= n < _LONGEST for n in shape)
    if not good:
        raise DataError(f"an array has the shape {shape!r:.60}: send at most {_DIMS} numbers, 0 or more")
    assert isinstance(shape, list), "it is good"
    return tuple(shape)


def _reason(error: Exception) -> str:
    """In one line, and not all of what was sent."""
    return f"{' '.join(str(error).split()) or type(error).__name__:.200}"
