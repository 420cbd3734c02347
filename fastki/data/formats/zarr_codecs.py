"""Chunks of Zarr arrays unpacked, never to more bytes than the array's metadata admit.

Only codecs that turn bytes into bytes, none of which runs code from the data. All but Blosc come with Python and
pyarrow.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastki.data.extras import need
from fastki.errors import DataError

_DAMAGE = (ValueError, OSError, EOFError, RuntimeError, MemoryError, lzma.LZMAError, zlib.error, struct.error)
_SLACK = 2**16  # Check sums and headers, which chains of codecs put around the values.
_LZMA_MEMORY = 2**28
_BLOSC_HEADER = struct.Struct("<4I")
Config = Mapping[str, Any]


def limit_of(size: int) -> int:
    """The most bytes that ``size`` bytes of values can take, packed by any of the codecs at their worst."""
    return size + size // 8 + _SLACK


def unpack(data: bytes, codecs: tuple[tuple[str, Config], ...], size: int, *, where: str) -> bytes:
    """``data`` through ``codecs``, the last that packed first: exactly ``size`` bytes.

    Raises:
        DataError: damaged data, or more or fewer bytes than ``size``.
    """
    import pyarrow as pa

    limit = limit_of(size)
    try:
        for name, config in codecs:
            data = _CODECS[name](data, config, limit)
    except _DAMAGE as error:
        raise DataError(f"{where} is damaged ({_reason(error)}): fetch it again") from error
    except pa.ArrowException as error:
        raise DataError(f"{where} is damaged ({_reason(error)}): fetch it again") from error
    if len(data) != size:
        raise DataError(f"{where} is damaged ({len(data)} bytes, not {size}): fetch it again")
    return data


def why_not(name: str, config: Config) -> str:
    """Why a codec cannot be undone, "" where it can."""
    if name not in _CODECS:
        return f"codec {name!r} is not read"
    if name == "shuffle" and not (type(size := config.get("elementsize", 4)) is int and 1 <= size <= 64):
        return f"codec 'shuffle' with elements of {config.get('elementsize')!r} bytes is not read"
    if name == "lzma" and config.get("format", lzma.FORMAT_XZ) not in (lzma.FORMAT_XZ, lzma.FORMAT_ALONE):
        return "codec 'lzma' without headers is not read"
    return ""


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _blosc(data: bytes, _: Config, limit: int) -> bytes:
    _, size, _, packed = _BLOSC_HEADER.unpack_from(data)
    if size > limit or packed != len(data):
        raise ValueError("its header promises other sizes")
    return bytes(need("numcodecs.blosc", extra="zarr", what="Zarr buffers packed by Blosc").decompress(data))


def _zstd(data: bytes, _: Config, limit: int) -> bytes:
    import pyarrow as pa

    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        return bytes(stream.read(limit + 1))


def _lz4(data: bytes, _: Config, limit: int) -> bytes:
    import pyarrow as pa

    (size,) = struct.unpack_from("<I", data)
    if size > limit:
        raise ValueError("its header promises another size")
    return bytes(pa.decompress(data[4:], decompressed_size=size, codec="lz4_raw", asbytes=True))


def _whole(make: Callable[[], Any]) -> Callable[[bytes, Config, int], bytes]:
    """What undoes a codec of Python's own; ``make`` gives a fresh decompressor."""

    def undo(data: bytes, _: Config, limit: int) -> bytes:
        decompressor = make()
        result = bytes(decompressor.decompress(data, limit + 1))
        if not decompressor.eof:
            raise EOFError("it is cut short, or larger than it can be")
        return result

    return undo


def _shuffle(data: bytes, config: Config, _: int) -> bytes:
    """Bytes of like significance, which packing put side by side, back into their values."""
    size = config.get("elementsize", 4)
    whole = len(data) // size * size
    values = np.frombuffer(data, np.uint8, whole).reshape(size, -1).T
    return values.tobytes() + data[whole:]


def _crc32c(data: bytes, _: Config, __: int) -> bytes:
    import google_crc32c

    values, check_sum = data[:-4], data[-4:]
    if len(data) < 4 or google_crc32c.value(values) != int.from_bytes(check_sum, "little"):
        raise ValueError("its check sum is another")
    return values


_CODECS: dict[str, Callable[[bytes, Config, int], bytes]] = {
    "blosc": _blosc,
    "zstd": _zstd,
    "lz4": _lz4,
    "gzip": _whole(lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)),
    "zlib": _whole(zlib.decompressobj),
    "bz2": _whole(bz2.BZ2Decompressor),
    "lzma": _whole(lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)),
    "shuffle": _shuffle,
    "crc32c": _crc32c,
}
