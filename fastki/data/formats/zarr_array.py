"""Rows of a Zarr array out of its chunks. Axes: T rows, the first dimension; ``...`` what a row holds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastki.data.formats.zarr_codecs import limit_of, unpack
from fastki.data.formats.zarr_meta import ArrayMeta
from fastki.data.formats.zarr_store import Store
from fastki.errors import DataError

MAX_READ = 2**31
"""Bytes of rows read at once; metadata that ask for more (2 GiB) are taken for damage."""
MAX_CHUNKS = 2**20
"""Chunks of one array that are looked for at once."""
_ABSENT = 1000  # An array of which only one chunk in so many is there was not stored so.


class ZarrArray:
    """Reads only the chunks that hold the rows asked for; the last one stays unpacked, since rows share chunks."""

    def __init__(self, store: Store, meta: ArrayMeta) -> None:
        self._store, self.meta = store, meta
        self._cached: tuple[str, NDArray[np.generic] | None] = ("", None)

    def __len__(self) -> int:
        """T."""
        return self.meta.shape[0]

    def rows(self, start: int, stop: int) -> NDArray[np.generic]:
        """Rows ``start`` to ``stop`` (0 ≤ start ≤ stop ≤ T), ``[stop - start, ...]``, in the machine's byte order.

        Raises:
            DataError: a damaged chunk, an absent one whose values are not defined, or more than 2 GiB.
        """
        meta = self.meta
        low, high = (start, *([0] * (len(meta.shape) - 1))), (stop, *meta.shape[1:])
        places = [range(a // size, -(-b // size)) for a, b, size in zip(low, high, meta.chunks, strict=True)]
        count = math.prod(max(b - a, 1) for a, b in zip(low, high, strict=True))
        if count * meta.dtype.itemsize > MAX_READ or math.prod(map(len, places)) > MAX_CHUNKS:
            raise DataError(f"{self._store.where(meta.name)}: {stop - start} rows of it are refused as too large")
        result = np.empty((stop - start, *meta.shape[1:]), meta.dtype.newbyteorder("="))
        for place in itertools.product(*places):
            chunk = self._chunk(meta.key(place))
            first = [max(i * size, a) for i, size, a in zip(place, meta.chunks, low, strict=True)]
            last = [min(i * size + size, b) for i, size, b in zip(place, meta.chunks, high, strict=True)]
            target = _between(first, last, low)
            origin = [i * size for i, size in zip(place, meta.chunks, strict=True)]
            result[target] = meta.fill if chunk is None else chunk[_between(first, last, origin)]
        return result

    def _chunk(self, key: str) -> NDArray[np.generic] | None:
        """A chunk in the array's own order of dimensions, None where it is absent and the fill value stands for it."""
        if self._cached[0] == key:
            return self._cached[1]
        meta, where = self.meta, self._store.where(key)
        size = math.prod(meta.chunks) * meta.dtype.itemsize
        packed = self._store.read(key, limit=limit_of(size))
        chunk = None
        if packed is not None:
            stored = [meta.chunks[axis] for axis in meta.axes]
            values = np.frombuffer(unpack(packed, meta.codecs, size, where=where), meta.dtype).reshape(stored)
            chunk = values.transpose(np.argsort(meta.axes).tolist())
        elif meta.fill is None:
            raise DataError(f"{where} is missing: the dataset is incomplete; fetch it again")
        self._cached = (key, chunk)
        return chunk

    def files(self) -> list[str]:
        """The chunks that are there; DataError where none is, or hardly any of those that the shape promises."""
        meta, total = self.meta, math.prod(self.meta.grid)
        where = self._store.where(meta.name)
        if total > MAX_CHUNKS:
            raise DataError(f"{where} has {total:,} chunks, too many: store it in larger ones")
        listed = self._store.below(meta.name)
        present = [key for place in itertools.product(*map(range, meta.grid)) if (key := meta.key(place)) in listed]
        if total > _ABSENT * len(present):
            absent = total - len(present)
            raise DataError(f"{where}: {absent} of its {total} chunks are absent: fetch the dataset again")
        return present

    def has_ends(self) -> bool:
        """Whether its first or its last chunk is there: a quick look whether it was stored, or fetched, at all."""
        if 0 in self.meta.shape:
            return False
        ends = {self.meta.key([0] * len(self.meta.grid)), self.meta.key([count - 1 for count in self.meta.grid])}
        return any(self._store.has(key) for key in ends)


def _between(first: Sequence[int], last: Sequence[int], origin: Sequence[int]) -> tuple[slice, ...]:
    """The block from ``first`` to ``last``, counted from ``origin``."""
    return tuple(slice(a - o, b - o) for a, b, o in zip(first, last, origin, strict=True))
