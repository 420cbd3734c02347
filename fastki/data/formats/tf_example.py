"""``tf.train.Example``, a protobuf message that maps names to lists of bytes, floats or whole numbers.

Its wire format is walked with seeks, so that what is not asked for is not read. The messages are

    Example {Features features = 1}          Features {map<string, Feature> feature = 1}
    Feature {BytesList = 1 | FloatList = 2 | Int64List = 3}, each of which is {repeated value = 1}

with numbers packed into one field or, which is legal too, in a field each.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastki.errors import DataError

Values: TypeAlias = list[memoryview] | NDArray[np.float32] | NDArray[np.int64]
"""What a feature holds, one after the other; an empty list also where it holds nothing of any type."""

_VARINT, _EIGHT_BYTES, _SPAN, _FOUR_BYTES = 0, 1, 2, 5  # How a field is stored.
_BYTES, _FLOATS, _INTS = 1, 2, 3  # The lists that a feature may hold.
_LONGEST_VARINT = 10
_LONGEST_NAME = 2**12


def find_features(file: IO[bytes], start: int, stop: int, *, where: str) -> Iterator[tuple[str, int, int]]:
    """Name, first byte and byte after the last of each feature in the Example in bytes ``start`` to ``stop``.

    Raises:
        DataError: what lies there is no Example.
    """
    for number, kind, first, last in _fields(file, start, stop, where):
        if (number, kind) != (1, _SPAN):
            continue
        for inner, inner_kind, entry, end in _fields(file, first, last, where):
            if (inner, inner_kind) == (1, _SPAN):
                yield _entry(file, entry, end, where)


def _entry(file: IO[bytes], start: int, stop: int, where: str) -> tuple[str, int, int]:
    name, first, last = b"", start, start
    for number, kind, begin, end in _fields(file, start, stop, where):
        if (number, kind) == (1, _SPAN):
            if end - begin > _LONGEST_NAME:
                raise _damaged(where)
            file.seek(begin)
            name = file.read(end - begin)
        elif (number, kind) == (2, _SPAN):
            first, last = begin, end
    return name.decode("utf-8", errors="replace"), first, last


def count_values(file: IO[bytes], start: int, stop: int, *, where: str) -> int:
    """How many values the feature in bytes ``start`` to ``stop`` holds; of these only packed integers are read.

    Raises:
        DataError: what lies there is no feature.
    """
    count = 0
    for found, kind, begin, end in _values(file, start, stop, where):
        if found == _BYTES or kind != _SPAN:
            count += 1
        elif found == _FLOATS:
            count += (end - begin) // 4
        else:
            file.seek(begin)
            count += int(np.count_nonzero(np.frombuffer(file.read(end - begin), np.uint8) < 0x80))
    return count


class Example:
    """The features of one record, found at once and decoded when they are asked for.

    Args:
        record: the serialised message.
        where: which record it is, for messages.

    Raises:
        DataError: it is no Example.
    """

    def __init__(self, record: bytes, *, where: str) -> None:
        self.where = where
        self._view, self._file = memoryview(record), io.BytesIO(record)
        found = find_features(self._file, 0, len(record), where=where)
        self._spans = {name: (start, stop) for name, start, stop in found}

    def __contains__(self, name: str) -> bool:
        return name in self._spans

    def values(self, name: str) -> Values:
        """The values of feature ``name``: slices of the record for bytes, float32 or int64 for numbers.

        Raises:
            DataError: it is not there, or damaged.
        """
        if name not in self._spans:
            raise DataError(f"{self.where} has no feature {name!r}, which features.json names: fetch both again")
        found, parts = 0, []
        for list_kind, kind, begin, end in _values(self._file, *self._spans[name], self.where):
            found = list_kind
            parts.append(self._view[begin:end])
            if found == _FLOATS and kind == _SPAN and (end - begin) % 4:
                raise _damaged(self.where)
        if found == _FLOATS:
            return np.frombuffer(b"".join(parts), dtype="<f4")
        if found == _INTS:
            return _read_varints(b"".join(parts), self.where)
        return parts


def _values(file: IO[bytes], start: int, stop: int, where: str) -> Iterator[tuple[int, int, int, int]]:
    """List type, way of storing, first byte and byte after the last of each field of a feature's list."""
    lists = [
        (number, begin, end)
        for number, kind, begin, end in _fields(file, start, stop, where)
        if kind == _SPAN and number in (_BYTES, _FLOATS, _INTS)
    ]
    single = {_BYTES: _SPAN, _FLOATS: _FOUR_BYTES, _INTS: _VARINT}
    for found, begin, end in lists:
        if found != lists[-1][0]:
            continue  # A feature holds one list; of several types the last counts.
        for number, kind, first, last in _fields(file, begin, end, where):
            if number == 1 and kind in (_SPAN, single[found]):
                yield found, kind, first, last


def _fields(file: IO[bytes], start: int, stop: int, where: str) -> Iterator[tuple[int, int, int, int]]:
    """Number, way of storing, first byte and byte after the last of each field of a message."""
    position = start
    while position < stop:
        file.seek(position)
        head = file.read(min(2 * _LONGEST_VARINT, stop - position))
        tag, used = _varint(head, 0, where)
        kind, size = tag & 7, 0
        if kind == _SPAN:
            size, used = _varint(head, used, where)
        elif kind == _VARINT:
            size = _varint(head, used, where)[1] - used
        elif kind in (_FOUR_BYTES, _EIGHT_BYTES):
            size = 4 if kind == _FOUR_BYTES else 8
        else:
            raise _damaged(where)
        position += used
        if size > stop - position:
            raise _damaged(where)
        yield tag >> 3, kind, position, position + size
        position += size


def _varint(data: bytes, at: int, where: str) -> tuple[int, int]:
    """The number that begins at byte ``at``, 7 bits a byte from the lowest on, and the byte after it."""
    value = 0
    for i, byte in enumerate(data[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise _damaged(where)


def _read_varints(data: bytes, where: str) -> NDArray[np.int64]:
    """All numbers in ``data``; negative ones take ten bytes, the two's complement of 64 bits."""
    raw = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if not len(raw):
        return np.empty(0, dtype=np.int64)
    if not len(ends) or ends[-1] != len(raw) - 1:
        raise _damaged(where)
    starts = np.concatenate([[0], ends[:-1] + 1])
    sizes = ends - starts + 1
    if sizes.max() > _LONGEST_VARINT:
        raise _damaged(where)
    if len(ends) == len(raw):
        return raw.astype(np.int64)
    places = np.arange(len(raw)) - np.repeat(starts, sizes)
    parts = (raw & 0x7F).astype(np.uint64) << (7 * places).astype(np.uint64)
    return np.bitwise_or.reduceat(parts, starts).view(np.int64)


def _damaged(where: str) -> DataError:
    return DataError(f"{where} is damaged, not a tf.train.Example: fetch the file again")
