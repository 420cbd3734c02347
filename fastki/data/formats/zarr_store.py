"""The files of a Zarr hierarchy: in a folder, here or remote, or in a zip archive that is read in place."""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import Protocol

from fastki.data.paths import AnyPath, relative_name
from fastki.errors import DataError

# What the zip library raises on damaged directories of archives.
_DAMAGE = (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, OverflowError, struct.error)
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 1


class Store(Protocol):
    """Files by their POSIX names relative to the hierarchy's root."""

    def read(self, name: str, *, limit: int) -> bytes | None:
        """The bytes of file ``name``, None where there is none; DataError beyond ``limit`` bytes or if unreadable."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is a file ``name``."""
        ...

    def children(self, folder: str) -> list[str]:
        """The names of what lies directly in ``folder``, sorted; none where there is no such folder."""
        ...

    def below(self, folder: str) -> frozenset[str]:
        """All files, and perhaps folders, anywhere below ``folder``."""
        ...

    def where(self, name: str) -> str:
        """``name`` for messages."""
        ...


def open_store(path: AnyPath) -> Store:
    """The hierarchy in folder or archive ``path``; a damaged archive is a DataError."""
    return Archive(path) if path.suffix == ".zip" else Folder(path)


class Folder:
    """A folder, local or remote."""

    def __init__(self, root: AnyPath) -> None:
        self._root = root

    def read(self, name: str, *, limit: int) -> bytes | None:
        try:
            with (self._root / name).open("rb") as file:
                data = bytes(file.read(limit + 1))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise DataError(f"{self.where(name)} cannot be read: {error}") from error
        return _bounded(data, limit, self.where(name))

    def has(self, name: str) -> bool:
        return (self._root / name).is_file()

    def children(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in (self._root / folder).iterdir())
        except OSError:
            return []

    def below(self, folder: str) -> frozenset[str]:
        try:
            return frozenset(relative_name(path, self._root) for path in (self._root / folder).glob("**/*"))
        except OSError:
            return frozenset()

    def where(self, name: str) -> str:
        return str(self._root / name)


class Archive:
    """A zip archive. Its directory is read once; the file is open only while something is read from it."""

    def __init__(self, path: AnyPath) -> None:
        self._path = path
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                self._entries = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        except _DAMAGE as error:
            raise DataError(f"{path} is damaged or no zip archive ({error}): fetch it again") from error

    def read(self, name: str, *, limit: int) -> bytes | None:
        info = self._entries.get(name)
        if info is None:
            return None
        if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{self.where(name)} is encrypted, or packed in a way that is not read: pack it anew")
        try:
            data = _bounded(self._packed(info, limit), limit, self.where(name))
            if info.compress_type == zipfile.ZIP_DEFLATED:
                unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, limit + 1)
                data = _bounded(unpacked, limit, self.where(name))
        except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
            raise DataError(f"{self.where(name)} is damaged ({error}): fetch the archive again") from error
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise DataError(f"{self.where(name)} is damaged (its check sum is another): fetch the archive again")
        return data

    def _packed(self, info: zipfile.ZipInfo, limit: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(info.header_offset)
            magic, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            if magic != b"PK\x03\x04":
                raise EOFError("its entry is not where the directory says")
            file.seek(info.header_offset + _LOCAL_HEADER.size + name_length + extra_length)
            return bytes(file.read(min(info.compress_size, limit + 1)))

    def has(self, name: str) -> bool:
        return name in self._entries

    def children(self, folder: str) -> list[str]:
        prefix = folder + "/"
        inside = (name.removeprefix(prefix) for name in self._entries if name.startswith(prefix))
        return sorted({name.partition("/")[0] for name in inside})

    def below(self, folder: str) -> frozenset[str]:
        return frozenset(name for name in self._entries if name.startswith(folder + "/"))

    def where(self, name: str) -> str:
        return f"{self._path}, {name}"

    def check_sum(self, name: str) -> tuple[int, int]:
        """Size and CRC of file ``name``, as the archive's directory has them."""
        info = self._entries[name]
        return info.file_size, info.CRC


def _bounded(data: bytes, limit: int, where: str) -> bytes:
    if len(data) > limit:
        raise DataError(f"{where} is larger than the {limit:,} bytes that it can hold: fetch the dataset again")
    return data
