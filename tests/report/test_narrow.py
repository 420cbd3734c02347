"""Tables where there is little room."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.table import Table

from fastki.report.narrow import Stacked


def table() -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column("name")
    for head in ("first", "second", "third"):
        made.add_column(head, justify="right")
    made.add_row("a name of several words, too long for one line", "1.2345", "2.3456", "3.4567", style="bold")
    made.add_row("b", "10", "20", "30")
    return made


def lines(shown, width: int) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(shown)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_with_room_it_is_the_table_itself():
    assert lines(Stacked(table()), 100) == lines(table(), 100)


def test_what_does_not_fit_stands_below_with_the_names_again():
    shown = lines(Stacked(table()), 42)
    assert [line.split() for line in shown if line.startswith(("name", "b"))] == [
        ["name", "first", "second"],
        ["b", "10", "20"],
        ["name", "third"],
        ["b", "30"],
    ]
    assert shown.count("") == 1


@pytest.mark.parametrize("width", [8, 20, 30, 40, 50])
def test_no_figure_is_cut_and_no_line_too_long(width):
    shown = lines(Stacked(table()), width)
    if width > 12:
        assert {"1.2345", "2.3456", "3.4567"} <= {word for line in shown for word in line.split()}
    assert max(map(len, shown)) <= width


def test_the_first_part_alone():
    assert not [line for line in lines(Stacked(table(), most=1), 42) if "third" in line]
