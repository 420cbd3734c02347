"""Tables where there is little room: columns that don't fit stand in a further table below, each row named again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table

READABLE = 24
"""Columns of the screen that words get, if they want as many, before what follows goes below."""
_UNLIMITED = 10_000


@dataclass(frozen=True)
class Stacked:
    """A table that never squeezes its figures: what doesn't fit beside the first column is written below it.

    Where everything fits, it is the table itself. Words are wrapped, down to :data:`READABLE` columns of the screen;
    numbers, which are set to the right, never are.

    Attributes:
        table: without a frame.
        most: tables below one another at most; what would come after is left out.
    """

    table: Table
    most: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unlimited = options.update(max_width=_UNLIMITED)
        gap = self.table.padding[1] + self.table.padding[3]
        widths = [_width(column, console, unlimited) + gap for column in self.table.columns]
        for place, group in enumerate(list(_groups(widths, options.max_width + gap))[: self.most]):
            if place:
                yield ""
            yield _part(self.table, group)


def _width(column: Column, console: Console, options: ConsoleOptions) -> int:
    """Columns of the screen that a column needs: for all of its figures, or to read its words in."""
    texts = (column.header, *column.cells)
    widest = max(Measurement.get(console, options, text).maximum for text in texts)
    return widest if _is_rigid(column) else min(widest, READABLE)


def _is_rigid(column: Column) -> bool:
    return column.justify == "right" or (column.no_wrap and column.overflow == "fold")


def _groups(widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Indices of the columns that each table has; the first is in all of them.

    >>> list(_groups([8, 5, 5, 5], 20))
    [[0, 1, 2], [0, 3]]
    """
    group = [0]
    for place in range(1, len(widths)):
        if len(group) > 1 and sum(widths[one] for one in group) + widths[place] > room:
            yield group
            group = [0]
        group.append(place)
    yield group


def _part(table: Table, group: Sequence[int]) -> Table:
    """A table of some columns of another."""
    columns = [table.columns[place] for place in group]
    part = Table(
        *(replace(column, no_wrap=column.no_wrap or _is_rigid(column), _cells=[]) for column in columns),
        box=table.box,
        show_header=table.show_header,
        pad_edge=table.pad_edge,
        padding=table.padding,
        header_style=table.header_style,
    )
    for row, *cells in zip(table.rows, *(column.cells for column in columns), strict=True):
        part.add_row(*cells, style=row.style)
    return part
