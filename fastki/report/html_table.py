"""What reports' pages have in common: a numbered table of results, a field a column, and pictures of drawn figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from fastki.report.drawn import Drawn
from fastki.report.html import Cell, Column, Picture, Row, Table

R = TypeVar("R")


@dataclass(frozen=True)
class Field(Generic[R]):
    """A column, and what a result has in it.

    Attributes:
        head, meaning: of the column.
        value: of a result; a number is what it is sorted by, and None leaves the cell empty.
        form, unit: how the number is written: a format and what follows it.
        number: writes it where no format will do.
        text: words, in place of a number.
        wraps: whether those are sentences.
    """

    head: str
    meaning: str
    value: Callable[[R], Any]
    form: str = ""
    unit: str = ""
    number: Callable[[Any], str] | None = None
    text: Callable[[R], str] | None = None
    wraps: bool = False

    @property
    def column(self) -> Column:
        """Its head."""
        return Column(self.head, self.meaning, words=self.text is not None, wraps=self.wraps)

    def cell(self, result: R) -> Cell:
        """Of one result."""
        value = self.value(result)
        if value is None:
            return Cell("")
        if self.text is not None:
            return Cell(self.text(result))
        return Cell(f"{value:{self.form}}{self.unit}" if self.number is None else self.number(value), value)


@dataclass(frozen=True)
class Entry(Generic[R]):
    """A result with what is said of it beside its figures.

    Attributes:
        result: that the fields read.
        mark: before its number.
        best: whether it stands out.
        reason: why it has no figures.
    """

    result: R
    mark: str = ""
    best: bool = False
    reason: str | None = None


def numbered_table(
    caption: str, fields: Sequence[Field[R]], entries: Sequence[Entry[R]], *, named: int, hint: str
) -> Table:
    """Results by number, as they come; a field that none of them has is left out.

    Args:
        caption: of the table.
        fields: its columns.
        entries: its rows.
        named: how many of the fields say which result it is: all that one with a ``reason`` has.
        hint: what the number means.
    """
    names, figures = list(fields[:named]), list(fields[named:])
    known = [field for field in figures if any(field.value(entry.result) is not None for entry in entries)]
    shown = [*names, *(known or figures[:1])]  # A reason needs a place.
    heads = (Column("#", hint), *(field.column for field in shown))
    rows = []
    for index, entry in enumerate(entries):
        first = Cell(f"{entry.mark} {index}".strip(), index)
        cells = (field.cell(entry.result) for field in (names if entry.reason is not None else shown))
        rows.append(Row((first, *cells), best=entry.best, reason=entry.reason))
    return Table(caption, heads, tuple(rows))


def pictures(drawn: Sequence[Drawn], folder: Path, prefix: str = "") -> tuple[Picture, ...]:
    """Figures that were written into ``folder``; ``prefix`` is that of the ids in them."""
    return tuple(
        Picture(one.title, one.caption, folder / f"{one.stem}.svg", folder / f"{one.stem}.png", prefix) for one in drawn
    )
