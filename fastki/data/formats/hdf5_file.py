"""HDF5 files: opened for one task, looked into by path, read within bounds. Axes: T rows, D dimensions.

An HDF5 file can point into other files, by external links, virtual datasets and external raw storage. None of
that is followed: a dataset reads nothing but its own files.
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.extras import need
from fastki.data.formats.hdf5_chunks import check_chunks
from fastki.data.formats.hdf5_values import VariableValues
from fastki.data.paths import AnyPath, is_local
from fastki.errors import DataError

MAX_BYTES = 2**30
"""No episode's numbers, picture or chunk is larger; headers that promise more are taken for damage."""
_RATIO = 1100  # Deflate makes at most 1,032 bytes of one.
_SMALL = 2**24  # Bytes that a file may promise whatever its own size: rows never written take no space in it.
_MAX_ATTRIBUTE = 2**20
_MAX_DEPTH, _MAX_OBJECTS, _MAX_HOPS = 8, 4096, 8

# What h5py makes of the errors of libhdf5, and what a damaged file makes of h5py.
_DAMAGE = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    EOFError,
    struct.error,
)


@contextlib.contextmanager
def reading(where: str) -> Iterator[None]:
    """Whatever h5py raises inside becomes a DataError about ``where``."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{where} is missing: the dataset is incomplete; fetch it again") from None
    except PermissionError as error:
        raise DataError(f"{where} may not be read: change its permissions") from error
    except _DAMAGE as error:
        text = str(error).strip("'\"").splitlines()
        reason = text[0] if text else type(error).__name__
        raise DataError(f"{where} cannot be read ({reason}): damaged, incomplete or no HDF5; fetch it again") from error


@contextlib.contextmanager
def opened(path: AnyPath) -> Iterator[Hdf5File]:
    """The file ``path``, open for reading as long as the context lasts.

    Raises:
        DataError: h5py is not installed, or it cannot read the file, also inside the context.
    """
    h5py = need("h5py", extra="hdf5", what="HDF5 files")
    with reading(str(path)), contextlib.ExitStack() as stack:
        if is_local(path):
            handle = stack.enter_context(h5py.File(path, "r"))
        else:
            handle = stack.enter_context(h5py.File(stack.enter_context(path.open("rb")), "r"))
        yield Hdf5File(path, h5py, handle, handle.id.get_filesize(), stack)


def join(*parts: str) -> str:
    """The path inside a file of ``parts``, of which some may be empty.

    >>> join("", "action", "joint_velocity")
    'action/joint_velocity'
    """
    return "/".join(part for part in parts if part)


def natural(name: str) -> list[str | int]:
    """A sort key by which ``demo_2`` comes before ``demo_10``."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d{1,18})", name))]


@dataclass(frozen=True, eq=False)
class Hdf5File:
    """An open file; names are paths from its root. What h5py raises is for :func:`reading` to translate.

    Attributes:
        path: where it lies.
        library: h5py.
        handle: h5py's file.
        size: bytes.
        stack: what closes the file.
        groups: those found so far, None for what is none.
    """

    path: AnyPath
    library: Any
    handle: Any
    size: int
    stack: contextlib.ExitStack
    groups: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def _values(self) -> VariableValues:
        """What reads values of any length."""
        plist = self.handle.id.get_create_plist()
        if plist.get_sizes() != (8, 8):
            raise DataError(f"{self.path}: its addresses are not of 8 bytes, which is not read: write it anew")
        return VariableValues(self.stack.enter_context(self.path.open("rb")), self.size, plist.get_userblock())

    def find(self, name: str, hops: int = _MAX_HOPS) -> Any | None:
        """The group or dataset ``name``, through at most ``hops`` soft links; None if there is none.

        Raises:
            DataError: it lies in another file.
        """
        *before, last = ["", *(step for step in name.split("/") if step not in ("", "."))]
        if not before:
            return self.handle
        parent, encoded = join(*before), last.encode("utf-8", "surrogateescape")
        if parent not in self.groups:
            self.groups[parent] = self.find(parent, hops)
        here, kinds = self.groups[parent], self.library.h5l
        if not isinstance(here, self.library.Group) or not here.id.links.exists(encoded):
            return None
        kind = here.id.links.get_info(encoded).type
        if kind == kinds.TYPE_HARD:
            return here[last]
        if kind != kinds.TYPE_SOFT or not hops:
            raise DataError(f"{self.path}: {join(parent, last)} links out of the file, which is refused: copy it in")
        target = here.id.links.get_val(encoded).decode("utf-8", "surrogateescape")
        return self.find(target if target.startswith("/") else join(parent, target), hops - 1)

    def dataset(self, name: str) -> Any | None:
        """The dataset ``name``, None if there is none, or a group.

        Raises:
            DataError: it keeps its data in another file.
        """
        found = self.find(name)
        if not isinstance(found, self.library.Dataset):
            return None
        if found.is_virtual or found.external:
            raise DataError(f"{self.path}: {name} keeps its data in other files, which is refused: copy them in")
        return found

    def needed(self, name: str) -> Any:
        """The dataset ``name``, which has rows; DataError if there is none."""
        found = self.dataset(name)
        if found is None or not found.shape:
            raise DataError(f"{self.path}: it has no {name}: the recording is incomplete; leave it out")
        return found

    def children(self, group: str) -> list[str]:
        """The names in group ``group``, ``demo_2`` before ``demo_10``; none where there is no such group."""
        found = self.find(group)
        if not isinstance(found, self.library.Group):
            return []
        return sorted((name for name in found if name.isprintable()), key=natural)

    def datasets(self, group: str) -> Iterator[tuple[str, Any]]:
        """Each dataset with rows anywhere in ``group``, and its path from there; none that lies in another file."""
        waiting, looked_at = list(reversed(self.children(group))), 0
        while waiting and looked_at < _MAX_OBJECTS:  # Groups can hold each other.
            name = waiting.pop()
            looked_at += 1
            try:
                found = self.dataset(join(group, name))
                below = [] if found is not None else self.children(join(group, name))
            except DataError:
                continue
            if found is not None and found.shape:
                yield name, found
            elif name.count("/") < _MAX_DEPTH:
                waiting += [join(name, child) for child in reversed(below)]

    def rows(self, name: str, width: int) -> int:
        """T, the rows of the numbers ``name``, each of ``width``.

        Raises:
            DataError: it is not there, holds something else, or is larger than can be.
        """
        found = self.needed(name)
        if found.dtype.kind not in "fiub" or not 1 <= found.ndim <= 2 or math.prod(found.shape[1:]) != width:
            raise DataError(
                f"{self.path}: {name} has shape {found.shape} and type {found.dtype}, not {width} numbers a frame "
                "as elsewhere in the dataset: leave the file out"
            )
        self._check_size(name, found, found.shape)
        return int(found.shape[0])

    def numbers(self, name: str, *, rows: int) -> NDArray[Any]:
        """All of dataset ``name`` as ``[T, D]``, which must have ``rows`` rows."""
        found = self.needed(name)
        self._check_size(name, found, found.shape)
        self._check_rows(name, found, rows)
        check_chunks(found, range(rows), where=f"{self.path}: {name}")
        values: NDArray[Any] = found[()]
        return values[:, None] if values.ndim == 1 else values

    def row(self, name: str, index: int, *, rows: int) -> Any:
        """Row ``index`` of dataset ``name``, which must have ``rows``: an array, a single value, or bytes."""
        found = self.needed(name)
        self._check_size(name, found, found.shape[1:])
        self._check_rows(name, found, rows)
        if found.dtype.kind == "O":
            return self._elements(name, found, [index])[0]
        check_chunks(found, range(index, index + 1), where=f"{self.path}: {name}")
        return found[index]

    def text(self, name: str, attribute: str, notes: list[str]) -> str:
        """The text of an attribute of ``name`` ("" for the file's own), "" where there is none.

        One that cannot be read is none, but for a word in ``notes``.
        """
        try:
            with reading(f"attribute {attribute} of {self.path}"):
                return as_text(self._attribute(name, attribute))
        except DataError as error:
            notes.append(str(error))
            return ""

    def flag(self, attribute: str) -> bool:
        """Whether an attribute of the file itself is there and true."""
        value = self._attribute("", attribute)
        return getattr(value, "size", 1) == 1 and bool(value)

    def texts(self, name: str) -> list[str]:
        """The texts in dataset ``name``, ``[N]`` or a single one; none where there is no such dataset."""
        found = self.dataset(name)
        if found is None or found.shape is None or not self.is_text(found):
            return []
        self._check_size(name, found, found.shape)
        if found.dtype.kind == "O":
            return [as_text(value) for value in self._elements(name, found, range(math.prod(found.shape)))]
        check_chunks(found, range(found.shape[0] if found.ndim else 0), where=f"{self.path}: {name}")
        return [as_text(value) for value in np.ravel(found[()])]

    def is_text(self, holder: Any) -> bool:
        """Whether a dataset or an attribute holds texts."""
        return self.library.check_string_dtype(holder.dtype) is not None

    def _attribute(self, name: str, attribute: str) -> Any:
        holder = self.find(name)
        if holder is None or attribute not in holder.attrs:
            return None
        about = holder.attrs.get_id(attribute)
        if about.shape is None or math.prod(about.shape) * about.dtype.itemsize > _MAX_ATTRIBUTE:
            return None
        if about.dtype.kind in "fiubS":
            return holder.attrs[attribute]
        if not self.is_text(about):
            return None
        return self._values.attribute(self.library.h5o.get_info(holder.id).addr, attribute)

    def _elements(self, name: str, found: Any, indices: Iterable[int]) -> list[bytes]:
        """Elements of a dataset of values of any length."""
        start = found.id.get_offset()
        if start is None and found.chunks and not found.id.get_create_plist().get_nfilters():
            start = found.id.get_chunk_info(0).byte_offset if found.id.get_num_chunks() == 1 else None
        if start is None:
            raise DataError(f"{self.path}: {name} holds texts in several chunks, which is not read: write it anew")
        return [self._values.element(start + index * 16) for index in indices]

    def _check_rows(self, name: str, found: Any, rows: int) -> None:
        if found.shape[0] != rows:
            raise DataError(f"{self.path}: {name} has {found.shape[0]} frames, but the actions have {rows}")

    def _check_size(self, name: str, found: Any, shape: tuple[int, ...]) -> None:
        """Refuse what is no honest size, before libhdf5 and NumPy set memory aside for it."""
        limit = min(MAX_BYTES, max(_SMALL, _RATIO * self.size))
        for size in (shape, found.chunks or ()):
            if math.prod(size) * found.dtype.itemsize > limit:
                raise DataError(
                    f"{self.path}: {name} claims {size} values of type {found.dtype}, too many for a file of "
                    f"{self.size:,} bytes: it is damaged; fetch it again"
                )


def as_text(value: Any) -> str:
    """h5py's many forms of a text as ``str``; "" for what is none. Of several texts the first counts."""
    if hasattr(value, "ravel") and not isinstance(value, bytes | str):
        value = value.ravel()[0] if value.size else ""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    return value.decode("utf-8", "replace").strip("\0") if isinstance(value, bytes) else ""
