"""Run a study: what is stored already is read, the rest computed, each row stored as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from fastki.study.cells import Row, Study, StudyError, Task, tasks_of
from fastki.study.store import RowStore


class Engine(Protocol):
    """Where cells are computed."""

    def run(self, study: Study, tasks: Sequence[Task]) -> Iterator[tuple[int, Row]]:
        """(index of the cell, its row) for every cell of every task, as they come."""
        ...


OnRow = Callable[[int, Row, bool], object]
"""Called with a cell's index, its row, and whether it was stored before this run."""


def run_study(study: Study, engine: Engine, *, store: RowStore | None = None, on_row: OnRow | None = None) -> list[Row]:
    """The rows of all cells, in their order.

    Interrupted or killed, at most the cells under way are lost: run it again with the same store. A row that says
    ``lost`` (its worker died each time) is not stored, so that another run tries it again.

    Raises:
        StudyError: the study's function raised.
        UsageError: the store can't be written to.
    """
    tell = on_row or (lambda *_: None)
    rows: dict[int, Row] = {}
    for index in range(len(study.cells)):
        stored = None if store is None else store.load(study, index)
        if stored is not None:
            rows[index] = stored
            tell(index, stored, True)
    tasks = tasks_of(study, [index for index in range(len(study.cells)) if index not in rows])
    if tasks:
        for index, row in engine.run(study, tasks):
            rows[index] = row
            if store is not None and not row.get("lost"):
                store.save(study, index, row)
            tell(index, row, False)
    missing = [index for index in range(len(study.cells)) if index not in rows]
    if missing:
        raise StudyError(f"the study {study.name!r} gave no row for cell {study.cells[missing[0]].parameters}")
    return [rows[index] for index in range(len(study.cells))]
