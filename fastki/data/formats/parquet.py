"""Columns of parquet files as NumPy arrays. Axes: F rows of the file, D values in each row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.paths import AnyPath, is_local
from fastki.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

# A footer may claim any number of rows. Columns that never change shrink to next to nothing, so a real file may
# hold far more than its size; but not this much.
_BOMB_BYTES = 2**28
_BOMB_RATIO = 1000
_TEXT_ROWS, _MOST_TEXT = 256, 2**29


def numeric_columns(path: AnyPath) -> dict[str, int]:
    """The columns that hold a number or a flat list of numbers in each row, with the list's length.

    A number counts 1; a list of no fixed length counts as in the first row, 0 in an empty file.
    """
    with open_parquet(path) as file:
        schema = file.schema_arrow
        widths = {field.name: _fixed_width(field.type) for field in schema}
        flexible = [name for name, width in widths.items() if width == 0]
        if flexible:
            footer = file.metadata
            _refuse_bombs(path, footer.num_rows, _values_in(footer, range(footer.num_row_groups), flexible))
            batch = next(file.iter_batches(batch_size=1, columns=flexible), None)
            for name in flexible:
                value = batch.column(name)[0].as_py() if batch is not None and len(batch) else None
                widths[name] = len(value or ())
    return {name: width for name, width in widths.items() if width is not None}


def read_footer(path: AnyPath) -> pq.FileMetaData:
    """What a file says of its row groups and columns.

    Raises:
        DataError: an unreadable file.
    """
    with open_parquet(path) as file:
        return file.metadata


def read_columns(
    path: AnyPath,
    names: Sequence[str],
    *,
    groups: Sequence[int] | None = None,
    footer: pq.FileMetaData | None = None,
) -> dict[str, NDArray[Any]]:
    """The columns ``names`` of a file: numbers as ``[F]``, lists of numbers as ``[F, D]``.

    Args:
        groups: the row groups to read, by default all.
        footer: the file's, if it was read before.

    Raises:
        DataError: an unreadable file, an absent column, one that is no numbers, rows of unequal length, or
            empty rows.
    """
    with open_parquet(path, footer=footer) as file:
        table = _select(file, path, names, groups=groups)
        return {name: _to_numpy(table.column(name), f"{path}, column {name}") for name in names}


def read_values(path: AnyPath, names: Sequence[str], *, optional: Sequence[str] = ()) -> dict[str, list[Any]]:
    """The columns ``names``, and those of ``optional`` that are there, as lists of Python values.

    Raises:
        DataError: an unreadable file, or an absent column.
    """
    with open_parquet(path) as file:
        values: dict[str, list[Any]] = _select(file, path, names, optional, batched=True).to_pydict()
        return values


@contextlib.contextmanager
def open_parquet(
    path: AnyPath, *, footer: pq.FileMetaData | None = None, buffer_size: int = 0
) -> Iterator[pq.ParquetFile]:
    """The file open, ``footer`` being its own if that was read before; what goes wrong inside is a DataError.

    ``buffer_size`` bytes are read at a time where it is not 0, else whole columns of a row group.
    """
    import pyarrow.parquet as pq

    with damage_named(path), contextlib.ExitStack() as stack:
        # Columns of a remote file are fetched when they are read, not all at once.
        local = is_local(path)
        source = str(path) if local else stack.enter_context(path.open("rb"))
        ahead = not local and not buffer_size
        yield stack.enter_context(pq.ParquetFile(source, metadata=footer, buffer_size=buffer_size, pre_buffer=ahead))


@contextlib.contextmanager
def damage_named(path: AnyPath) -> Iterator[None]:
    """What pyarrow raises about the file ``path`` comes out as a DataError."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the dataset is incomplete; fetch it again") from None
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is damaged or no parquet file ({reason}): fetch it again") from error


def group_starts(footer: pq.FileMetaData) -> NDArray[np.int64]:
    """``[G + 1]``: the first row of each of the file's G row groups, and the number of all rows."""
    rows = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    return np.cumsum([0, *rows], dtype=np.int64)


def _select(
    file: pq.ParquetFile,
    path: AnyPath,
    names: Sequence[str],
    optional: Sequence[str] = (),
    *,
    groups: Sequence[int] | None = None,
    batched: bool = False,
) -> pa.Table:
    """The columns, all at once; or in batches that are counted, as a text that is stored once may stand in each row."""
    schema = file.schema_arrow
    absent = [name for name in names if name not in schema.names]
    if absent:
        raise DataError(f"{path} has no column {absent[0]!r}; it has {', '.join(schema.names) or 'none'}")
    wanted = [*names, *(name for name in optional if name in schema.names)]
    chosen = range(file.metadata.num_row_groups) if groups is None else groups
    rows = sum(file.metadata.row_group(group).num_rows for group in chosen)
    widths = {name: _fixed_width(schema.field(name).type) for name in wanted}
    _refuse_bombs(path, rows, rows * sum(width or 1 for width in widths.values()))
    flexible = [name for name, width in widths.items() if width == 0]
    if flexible:
        _refuse_bombs(path, rows, _values_in(file.metadata, chosen, flexible))
    if batched:
        return _in_batches(file, path, list(chosen), wanted)
    return file.read_row_groups(list(chosen), columns=wanted, use_threads=False).select(wanted)


def _values_in(footer: pq.FileMetaData, groups: Sequence[int], names: Sequence[str]) -> int:
    """How many values the footer claims for columns of lists of any length."""
    if not footer.num_row_groups:
        return 0
    first = footer.row_group(0)
    columns = range(first.num_columns)
    mine = [place for place in columns if first.column(place).path_in_schema.startswith(tuple(f"{n}." for n in names))]
    return sum(footer.row_group(group).column(place).num_values for group in groups for place in mine)


def _in_batches(file: pq.ParquetFile, path: AnyPath, groups: list[int], names: list[str]) -> pa.Table:
    import pyarrow as pa

    batches, size = [], 0
    for batch in file.iter_batches(batch_size=_TEXT_ROWS, row_groups=groups, columns=names, use_threads=False):
        batches.append(batch)
        size += batch.nbytes
        if size > _MOST_TEXT:
            raise DataError(f"{path} is damaged: its texts take more than {_MOST_TEXT >> 20} MiB: fetch it again")
    schema = pa.schema([file.schema_arrow.field(name) for name in names])
    return pa.Table.from_batches(batches, None if batches else schema).select(names)


def _refuse_bombs(path: AnyPath, rows: int, values: int) -> None:
    """DataError where ``rows`` with so many values are more than a file of that size holds: memory is at stake."""
    need = values * 8
    if rows < 0 or (need > _BOMB_BYTES and need > _BOMB_RATIO * path.stat().st_size):
        raise DataError(f"{path} is damaged: it claims {rows} rows, more than its size can hold: fetch it again")


def _fixed_width(kind: pa.DataType) -> int | None:
    """1 for a number, D for a list of D numbers, 0 for a list of any length, None for anything else."""
    import pyarrow.types as types

    def is_number(kind: pa.DataType) -> bool:
        return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))

    if is_number(kind):
        return 1
    if types.is_fixed_size_list(kind) and is_number(kind.value_type):
        return int(kind.list_size) or None
    if (types.is_list(kind) or types.is_large_list(kind)) and is_number(kind.value_type):
        return 0
    return None


def _to_numpy(column: pa.ChunkedArray, where: str) -> NDArray[Any]:
    width = _fixed_width(column.type)
    if width is None:
        raise DataError(f"{where} holds {column.type}, not numbers: choose others by --action-key KEY")
    if column.null_count:
        raise DataError(f"{where}: {column.null_count} of {len(column)} rows are empty: repair the recording")
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return _chunk_to_numpy(array, width, where)


def _chunk_to_numpy(chunk: pa.Array, width: int, where: str) -> NDArray[Any]:
    import pyarrow.types as types

    if not types.is_nested(chunk.type):
        return _numbers(chunk)
    if width == 0 and len(chunk):
        counts = np.diff(_numbers(chunk.offsets))
        if (counts != counts[0]).any():
            row = int(np.flatnonzero(counts != counts[0])[0])
            raise DataError(f"{where}: its rows have unequal lengths ({counts[0]} values, {counts[row]} in row {row})")
        width = int(counts[0])
    return _numbers(chunk.flatten()).reshape(len(chunk), width)


def _numbers(array: pa.Array) -> NDArray[Any]:
    """``[F]``, NaN where a value is absent, else without a copy (``to_numpy`` would import pandas)."""
    import pyarrow as pa
    import pyarrow.types as types

    if array.null_count:
        array = array.cast(pa.float64()).fill_null(float("nan"))
    if types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    if not len(array):
        return np.empty(0, dtype=np.float32)
    return np.from_dlpack(array)
