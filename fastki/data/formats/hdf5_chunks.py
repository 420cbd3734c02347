"""Chunks of an HDF5 dataset that would unpack to more than they declare: libhdf5 unpacks first and looks then."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator
from typing import Any

from fastki.errors import DataError

_DEFLATE, _SHUFFLE, _CHECKSUM = 1, 2, 3  # Numbers of libhdf5's filters.
_HARMLESS = 2**16
"""Stored bytes that deflate, at 1,032 for one, makes 64 MiB of at the most."""


def check_chunks(dataset: Any, rows: range, *, where: str) -> None:
    """Refuse deflated chunks that unpack to more than a chunk of ``dataset`` holds.

    Small ones pass unseen, since they cannot do harm. Each other is unpacked here first, no further than is right.

    Args:
        dataset: of h5py.
        rows: those that are about to be read.
        where: the dataset, for the message.

    Raises:
        DataError: there is such a chunk among those of ``rows``.
    """
    if not dataset.chunks or _DEFLATE not in (filters := _filters(dataset)):
        return
    declared = math.prod(dataset.chunks) * dataset.dtype.itemsize
    for offset in _offsets(dataset, rows):
        about = dataset.id.get_chunk_info_by_coord(offset)
        if about.byte_offset is None or about.size <= _HARMLESS:
            continue
        if any(kind not in (_DEFLATE, _SHUFFLE, _CHECKSUM) for kind in filters):
            raise DataError(f"{where} is packed twice over, which is not read: write it anew with one compression")
        mask, stored = dataset.id.read_direct_chunk(offset)
        unpacked = zlib.decompressobj()
        if mask == 0 and len(unpacked.decompress(stored, declared + 1)) > declared:
            raise DataError(f"{where}: a chunk unpacks to more than the {declared:,} bytes that it declares: damaged")


def _filters(dataset: Any) -> list[int]:
    created = dataset.id.get_create_plist()
    return [created.get_filter(place)[0] for place in range(created.get_nfilters())]


def _offsets(dataset: Any, rows: range) -> Iterator[tuple[int, ...]]:
    """Where the chunks begin that hold some of ``rows``."""
    deep, *sizes = dataset.chunks
    first = range(rows.start // deep * deep, rows.stop, deep)
    others = (range(0, extent, size) for extent, size in zip(dataset.shape[1:], sizes, strict=True))
    return itertools.product(first, *others)
