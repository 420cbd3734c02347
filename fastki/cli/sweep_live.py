"""The rows of a sweep as they come: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from fastki.cli.progress_lines import duration
from fastki.cli.terminal import counting_bar

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fastki.cli.terminal import Terminal
    from fastki.study.grid import SweepCell
    from fastki.study.rows import SweepRow

_MARGIN = 6  # Lines of the screen that the table leaves to its header, the bar, and what stands above.

OnRow = Callable[[int, "SweepRow", bool], object]


@contextlib.contextmanager
def following(terminal: Terminal, cells: Sequence[SweepCell]) -> Iterator[OnRow]:
    """What to tell of each row, while the block runs."""
    if terminal.quiet:
        yield lambda *_: None
    elif terminal.looked_at:
        with _live(terminal, cells) as tell:
            yield tell
    else:
        yield _lines(terminal, len(cells))


def _lines(terminal: Terminal, total: int) -> OnRow:
    from fastki.report.sweep_tables import sweep_line

    start, computed, came = time.monotonic(), 0, 0

    def tell(index: int, row: SweepRow, stored: bool) -> None:
        nonlocal computed, came
        came += 1
        computed += not stored
        left = (time.monotonic() - start) / max(1, computed) * (total - came)
        when = "stored" if stored else f"about {duration(left)} left" if came < total else "done"
        terminal.line(f"[{came}/{total}, {when}] {sweep_line(index, row)}")

    return tell


@contextlib.contextmanager
def _live(terminal: Terminal, cells: Sequence[SweepCell]) -> Iterator[OnRow]:
    from rich.console import Group
    from rich.live import Live

    from fastki.report.narrow import Stacked
    from fastki.report.sweep_tables import sweep_table

    rows: list[SweepRow | None] = [None] * len(cells)
    order: list[int] = []
    bar = counting_bar(terminal.errors)
    task = bar.add_task("sweep", total=len(cells))

    def screen() -> RenderableType:
        """The rows that came last, as many as there is room for, in the table's order."""
        shown = set(order[-max(1, terminal.errors.height - _MARGIN) :])
        known = [row if index in shown else None for index, row in enumerate(rows)]
        return Group(Stacked(sweep_table(known, width=terminal.errors.width), most=1), bar)

    with Live(screen(), console=terminal.errors, transient=True, refresh_per_second=4) as live:

        def tell(index: int, row: SweepRow, stored: bool) -> None:
            rows[index] = row
            order.append(index)
            bar.update(task, advance=1)
            live.update(screen())

        yield tell
