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
HELDOUT = "heldout/"
"""What the names of numbers begin with that were measured on held-out episodes, in lines of their own."""
_BEST_OF = ("flow_loss", "nats_per_value")


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


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """A run's log with one row a step, what was measured after it included; empty where there is none.

    Raises:
        DataError: a line within is damaged.
    """
    merged: dict[int, dict[str, Any]] = {}
    for row in read_rows(path) if path.is_file() else []:
        merged.setdefault(row.get("step", 0), {}).update(row)
    return list(merged.values())


def learnt_from(row: Row) -> dict[str, Any]:
    """The numbers of a row that are of training."""
    return {name: value for name, value in row.items() if name != "step" and not name.startswith(HELDOUT)}


def heldout_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The steps after which held-out episodes were measured, the numbers by their plain names.

    >>> heldout_rows([{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0, "heldout/loss": 2.5}])
    [{'step': 2, 'loss': 2.5}]
    """
    found = [{name.removeprefix(HELDOUT): row[name] for name in row if name.startswith(HELDOUT)} for row in rows]
    return [{"step": row["step"], **numbers} for row, numbers in zip(rows, found, strict=True) if numbers]


def best_and_last(measured: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Of the flow's loss and of nats per action value: the lowest, the last, and the steps that they are of.

    >>> best_and_last([{"step": 5, "flow_loss": 0.5}, {"step": 10, "flow_loss": 0.75}])
    {'flow_loss': {'best': 0.5, 'best_step': 5, 'last': 0.75, 'last_step': 10}}
    """
    found = {}
    for name in _BEST_OF:
        rows = [row for row in measured if name in row]
        if rows:
            best, last = min(rows, key=lambda row: row[name]), rows[-1]
            found[name] = {"best": best[name], "best_step": best["step"], "last": last[name], "last_step": last["step"]}
    return found


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
