"""TFRecord files: records one after another, each with a checksum of its length and one of its data.

A record is the data's length (8 bytes, little endian), the masked CRC-32C of these 8 bytes, the data, and the
data's masked CRC-32C.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from fastki.data.paths import AnyPath, is_local
from fastki.errors import DataError

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_SKIM_BYTES = 2**16  # A remote file is fetched in blocks of this size where only a little of each record is read.


@dataclass(frozen=True)
class Place:
    """Where a record lies in its file.

    Attributes:
        number: from 0.
        offset: the byte at which it begins, header and all.
        length: of its data, bytes.
    """

    number: int
    offset: int
    length: int

    @property
    def start(self) -> int:
        """The first byte of its data."""
        return self.offset + _HEADER.size

    @property
    def stop(self) -> int:
        """The byte after its data."""
        return self.start + self.length

    def within(self, path: AnyPath) -> str:
        """Which record of which file, for messages."""
        return f"{path}, record {self.number} (byte {self.offset})"


def masked_checksum(data: bytes) -> int:
    """TFRecord's checksum: the CRC-32C turned right by 15 bits, plus a constant."""
    import google_crc32c

    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@contextlib.contextmanager
def open_shard(path: AnyPath, *, skim: bool = False) -> Iterator[IO[bytes]]:
    """The file at ``path``; with ``skim`` a remote one is fetched in small blocks.

    Raises:
        DataError: it is missing or cannot be read.
    """
    try:
        with _open(path, skim=skim) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the dataset is incomplete; fetch it again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _open(path: AnyPath, *, skim: bool) -> IO[bytes]:
    if not skim or is_local(path):
        return path.open("rb")
    remote: Any = path
    file: IO[bytes] = remote.open("rb", block_size=_SKIM_BYTES)
    return file


def walk(file: IO[bytes], path: AnyPath) -> Iterator[Place]:
    """The places of all records in ``file``; lengths are checked, data are neither read nor checked.

    Raises:
        DataError: the checksum of a length is wrong, or the file ends within a record.
    """
    size = file.seek(0, 2)
    offset = number = 0
    while offset < size:
        file.seek(offset)
        header = file.read(_HEADER.size)
        place = Place(number, offset, 0)
        if len(header) < _HEADER.size:
            raise _truncated(path, place)
        length, checksum = _HEADER.unpack(header)
        if masked_checksum(header[:8]) != checksum:
            raise DataError(
                f"{place.within(path)} is damaged, the checksum of its length does not fit: fetch the file again"
            )
        place = Place(number, offset, length)
        if place.stop + _CHECKSUM.size > size:
            raise _truncated(path, place)
        yield place
        offset, number = place.stop + _CHECKSUM.size, number + 1


def count_records(path: AnyPath) -> int:
    """How many records the file at ``path`` holds; DataError as of :func:`walk`."""
    with open_shard(path, skim=True) as file:
        return sum(1 for _ in walk(file, path))


def read_record(path: AnyPath, place: Place) -> bytes:
    """The data of the record at ``place``.

    Raises:
        DataError: they do not fit their checksum, or the file is missing, unreadable or ends before.
    """
    with open_shard(path) as file:
        file.seek(place.start)
        data, checksum = file.read(place.length), file.read(_CHECKSUM.size)
    if len(data) < place.length or len(checksum) < _CHECKSUM.size:
        raise _truncated(path, place)
    if masked_checksum(data) != _CHECKSUM.unpack(checksum)[0]:
        raise DataError(f"{place.within(path)} is damaged, its checksum does not fit: fetch the file again")
    return data


def _truncated(path: AnyPath, place: Place) -> DataError:
    return DataError(f"{place.within(path)}: the file ends within it, so it is half downloaded: fetch it again")
