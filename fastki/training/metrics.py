"""Numbers of a run on disk as they come, and back again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from fastki.errors import DataError
from fastki.files import write_text

Row = Mapping[str, Any]


class MetricsLog:
    """Appends a JSON object a line, on disk before the next step; those after ``step`` go when a run is resumed.

    Args:
        path: the file; it may be there already.
        step: lines of later steps are cut off, as the run does them again. None keeps all.
    """

    def __init__(self, path: Path, *, step: int | None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if step is not None and path.exists():
            kept = [row for row in read_rows(path) if row.get("step", 0) <= step]
            write_text(path, "".join(_line(row) for row in kept))
        self._file = path.open("a", encoding="utf-8")

    def add(self, row: Row) -> None:
        """Write a line."""
        self._file.write(_line(row))
        self._file.flush()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that a killed run left unfinished at the end is left out.

    Raises:
        DataError: a line within is damaged.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number >= len(lines):  # No line end: the last one, cut off.
                break
            raise DataError(f"{path} is damaged at line {number}: remove that line") from error
    return rows


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Every name that any of the rows has, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def smoothed(values: Sequence[float], window: int) -> Iterator[float]:
    """The mean of the last ``window`` values at each place.

    >>> list(smoothed([1.0, 3.0, 5.0], 2))
    [1.0, 2.0, 4.0]
    """
    total = 0.0
    for place, value in enumerate(values):
        total += value
        if place >= window:
            total -= values[place - window]
        yield total / min(place + 1, window)


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
