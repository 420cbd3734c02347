"""A server as it goes: who comes and leaves a line each, and on a terminal how it goes at the bottom."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastki.cli.terminal import Terminal
    from fastki.serving.tally import Tally

_EVERY = 0.5  # Seconds between two looks at how it goes.
_MOST_REFUSALS = 3  # Of one client that are told; a robot repeats itself many times a second.


class Following:
    """Tells on standard error what happens.

    Args:
        terminal: where.
        ready: to be called when clients can connect.
    """

    def __init__(self, terminal: Terminal, ready: Callable[[], None]) -> None:
        self.terminal, self._ready = terminal, ready
        self._refusals: dict[str, int] = {}

    def ready(self) -> None:
        self._ready()

    def connected(self, client: str) -> None:
        self._refusals[client] = 0
        self.terminal.line(f"{client} connected")

    def refused(self, client: str, why: str) -> None:
        self._refusals[client] += 1
        if self._refusals[client] <= _MOST_REFUSALS:
            self.terminal.line(f"{client} was refused: {why}")
        elif self._refusals[client] == _MOST_REFUSALS + 1:
            self.terminal.line(f"{client} goes on being refused: not told any more")

    def left(self, client: str) -> None:
        del self._refusals[client]
        self.terminal.line(f"{client} left")


@contextlib.contextmanager
def status(terminal: Terminal, tally: Tally) -> Iterator[None]:
    """How it goes in the last line of a terminal, gone when done; nothing elsewhere."""
    if terminal.quiet or not terminal.looked_at:
        yield
        return
    from rich.live import Live
    from rich.text import Text

    from fastki.report.serve_tables import tally_line

    shown, looked = "", float("-inf")

    def look() -> Text:
        nonlocal shown, looked
        if time.monotonic() - looked >= _EVERY:  # Quantiles of all requests are not looked for at each redraw.
            shown, looked = tally_line(tally), time.monotonic()
        return Text(shown, no_wrap=True, overflow="ellipsis")

    with Live(get_renderable=look, console=terminal.errors, refresh_per_second=2, transient=True):
        yield
