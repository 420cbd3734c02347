"""Pictures inside LeRobot's data files: a column of encoded ones, or of the names of their files."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.files import stay_inside
from fastki.data.formats.parquet import damage_named, group_starts, open_parquet
from fastki.data.kept import Kept
from fastki.data.paths import AnyPath
from fastki.data.pictures import LazyFrames, decode_picture
from fastki.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 16  # Pictures that are in memory, encoded, at a time.
_BUFFER_BYTES = 2**20


def picture_columns(path: AnyPath) -> frozenset[str]:
    """The columns of a data file whose type may hold pictures.

    Raises:
        DataError: an unreadable file.
    """
    with open_parquet(path) as file:
        return frozenset(field.name for field in file.schema_arrow if _may_hold_pictures(field.type))


def embedded_frames(
    root: AnyPath, name: str, column: str, *, first: int, length: int, kept: Kept[tuple[str, str], PictureColumn]
) -> LazyFrames:
    """The ``length`` frames from row ``first`` on in ``column`` of the data file ``name`` in folder ``root``."""
    return LazyFrames(length, partial(_picture, root, name, column, first, kept))


def _picture(
    root: AnyPath, name: str, column: str, first: int, kept: Kept[tuple[str, str], PictureColumn], frame: int
) -> NDArray[np.uint8]:
    where = f"{root / name}, column {column}, row {first + frame}"
    cell = kept.get((name, column), partial(PictureColumn, root / name, column)).cell(first + frame)
    data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, Mapping) else (cell, None)
    if isinstance(data, str):
        data, path = None, data
    if data:
        return decode_picture(data, where=where)
    if not path:
        raise DataError(f"{where} is empty: repair the recording")
    file = root / stay_inside(path, where=where)
    try:
        return decode_picture(file.read_bytes(), where=str(file))
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): fetch the dataset again") from error


class PictureColumn:
    """The cells of one column, read on from where the last one was, else from the beginning of a row group."""

    def __init__(self, path: AnyPath, column: str) -> None:
        self._path, self._column = path, column
        self._lock = threading.Lock()
        self._cells: _Cells | None = None

    def cell(self, row: int) -> Any:
        """What row ``row`` holds, as a Python value.

        Raises:
            DataError: an unreadable file, or no such row.
        """
        with self._lock:
            try:
                if self._cells is None:
                    self._cells = _Cells(self._path, self._column)
                with damage_named(self._path):
                    return self._cells.cell(row)
            except DataError:
                self._drop()
                raise

    def close(self) -> None:
        """Give back the file and the cells; another one asked for opens it again."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._cells is not None:
            self._cells.close()
        self._cells = None


class _Cells:
    """An open column and the batch of cells that reading has come to."""

    def __init__(self, path: AnyPath, column: str) -> None:
        self._path, self._column = path, column
        with contextlib.ExitStack() as stack:
            self._file = stack.enter_context(open_parquet(path, buffer_size=_BUFFER_BYTES))
            if column not in self._file.schema_arrow.names:
                raise DataError(f"{path} has no column {column!r}: fetch the dataset again")
            self._starts = group_starts(self._file.metadata)
            self.close = weakref.finalize(self, stack.pop_all().close)
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._first = self._end = self._group_end = 0

    def cell(self, row: int) -> Any:
        if not 0 <= row < self._starts[-1]:
            raise DataError(f"{self._path} has no row {row}: it is damaged; fetch it again")
        if not self._first <= row < self._group_end:
            group = int(np.searchsorted(self._starts, row, side="right")) - 1
            self._batches = self._file.iter_batches(
                batch_size=_ROWS, row_groups=[group], columns=[self._column], use_threads=False
            )
            self._first = self._end = int(self._starts[group])
            self._group_end = int(self._starts[group + 1])
        while row >= self._end:
            batch = next(self._batches, None)
            if batch is None or not len(batch):
                raise DataError(f"{self._path} has no row {row}: it is damaged; fetch it again")
            self._values = batch.column(self._column)
            self._first, self._end = self._end, self._end + len(batch)
        return self._values[row - self._first].as_py()


def _may_hold_pictures(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(field.name in ("bytes", "path") for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_string(kind))
