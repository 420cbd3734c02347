"""Values of any length in HDF5 files (texts, mostly), read without libhdf5.

Such a value lies in a global heap, and what refers to it gives its length and place. Damage in either makes libhdf5
(2.0 and before) loop for ever, set gigabytes aside or crash; h5py has no way to look before it does. So this reads the
few structures on the way there itself, as the format's specification (III.E, IV.A) lays them out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

_LARGEST = 2**26  # Bytes of a header or a heap.
_MOST_BLOCKS = 64  # A header's continuations.
_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10
_REFERENCE = struct.Struct("<IQI")  # Length, the heap's address, index in it.
_HEAP = struct.Struct("<4sB3xQ")  # Signature, version, size of the whole.
_OBJECT = struct.Struct("<HH4xQ")  # Index (0 for free space), references, size.


class VariableValues:
    """Values of any length in ``file`` of ``size`` bytes, whose addresses count from ``base``; raises OSError."""

    def __init__(self, file: IO[bytes], size: int, base: int) -> None:
        self._file, self._size, self._base = file, size, base

    def attribute(self, address: int, name: str) -> bytes:
        """The (first) value of attribute ``name`` of the object whose header lies at ``address``."""
        encoded = name.encode()
        for kind, message in self._messages(address):
            if kind == _ATTRIBUTE:
                version, name_size, *sizes = struct.unpack_from("<BxHHH", message)
                start = 9 if version == 3 else 8
                if message[start : start + name_size].rstrip(b"\0") == encoded:
                    unit = 8 if version == 1 else 1
                    before = sum(-(-part // unit) * unit for part in (name_size, *sizes))
                    return self._value(message[start + before :])
        raise OSError(f"attribute {name} is stored in a way that is not read")

    def element(self, offset: int) -> bytes:
        """The value of a dataset's element that lies at ``offset`` from the file's beginning."""
        return self._value(self._bytes(offset - self._base, _REFERENCE.size))

    def _value(self, reference: bytes) -> bytes:
        length, address, index = _REFERENCE.unpack_from(reference)
        if length == 0:
            return b""
        signature, version, size = _HEAP.unpack(self._bytes(address, _HEAP.size))
        if signature != b"GCOL" or version != 1:
            raise OSError("a text is not where it should be")
        heap, at = self._bytes(address, size), _HEAP.size
        while at + _OBJECT.size <= size:
            number, _, stored = _OBJECT.unpack_from(heap, at)
            if number == index:
                return heap[at + _OBJECT.size :][: min(length, stored)]
            at += max(_OBJECT.size, stored if number == 0 else _OBJECT.size + -(-stored // 8) * 8)
        raise OSError("a text is not where it should be")

    def _messages(self, address: int) -> Iterator[tuple[int, bytes]]:
        """The messages in the object header at ``address``: type and content."""
        start = self._bytes(address, 16)
        if start.startswith(b"OHDR"):
            flags = start[5]
            at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            block = self._bytes(address + at + width, int.from_bytes(self._bytes(address + at, width), "little"))
            entry = struct.Struct("<BHB2x" if flags & 4 else "<BHB")
            frame = 4  # Bytes of signature before a continuation, and of checksum after it.
        else:
            block = self._bytes(address + 16, int.from_bytes(start[8:12], "little"))
            entry, frame = struct.Struct("<HHB3x"), 0
        blocks, done = [block], 0
        while blocks and done < _MOST_BLOCKS:
            block, at = blocks.pop(0), 0
            done += 1
            while at + entry.size <= len(block):
                kind, size, flags = entry.unpack_from(block, at)
                at += entry.size + size
                message = block[at - size : at]
                if kind == _CONTINUATION:
                    offset, length = struct.unpack_from("<QQ", message)
                    blocks.append(self._bytes(offset + frame, length - 2 * frame))
                elif not flags & 2:  # Shared messages lie elsewhere; no attribute's text is one.
                    yield kind, message

    def _bytes(self, address: int, length: int) -> bytes:
        if not 0 <= length <= min(_LARGEST, self._size - self._base - address) or address < 0:
            raise OSError("a part lies outside of the file")
        self._file.seek(self._base + address)
        data = self._file.read(length)
        if len(data) < length:
            raise OSError("the file is truncated")
        return data
