"""Where commands print: results to standard output, progress and notes to standard error."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress

STAGES = {
    "listing": "listing episodes",
    "frames": "looking at frames",
    "chunks": "reading chunks",
    "statistics": "statistics",
    "precision": "searching the precision",
    "alphabet": "choosing the alphabet",
    "streams": "quantising",
    "merges": "training merges",
    "measure": "measuring",
    "round trip": "encoding and decoding",
    "corruption": "damaging tokens",
    "passing bins": "searching bins that pass",
    "layouts": "comparing layouts",
    "lengths": "measuring text",
    "open loop": "acting on recorded frames",
    "losses": "losses",
    "latency": "timing single frames",
    "weights": "reading weights",
    "renaming": "renaming weights",
    "checking": "reading it again",
}


UNBOUNDED_WIDTH = 160
"""Columns where no terminal sets a limit: in pipes and files."""


class Terminal:
    """Output of one command: either people's (tables, hints) or one JSON object, never both on stdout."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        from fastki.report.console import SafeConsole

        self.as_json = as_json
        self.quiet = quiet
        if quiet:
            os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # Read once the hub's library is loaded, for a download.
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else UNBOUNDED_WIDTH
        self.console = SafeConsole(highlight=False, width=width)
        self.errors = SafeConsole(stderr=True, highlight=False)
        self.looked_at = sys.stderr.isatty() and self.errors.is_terminal and not self.errors.is_dumb_terminal
        """Whether what moves, such as a progress bar, can be shown: a terminal reads standard error."""

    def show(self, *renderables: RenderableType) -> None:
        """Something for people to read on standard output: tables that fit, sentences that a terminal wraps."""
        if not (self.as_json or self.quiet):
            for renderable in renderables:
                self._print(renderable, soft_wrap=not self.console.is_terminal)

    def _print(self, renderable: RenderableType, *, soft_wrap: bool) -> None:
        from rich.table import Table

        from fastki.report.narrow import Stacked

        if isinstance(renderable, Table):
            self.console.print(Stacked(renderable))
        else:
            self.console.print(renderable, soft_wrap=soft_wrap and isinstance(renderable, str))

    def note(self, text: str) -> None:
        """A remark that a user should not miss, on standard error."""
        if not self.quiet:
            self.errors.print(text, style="yellow", markup=False, soft_wrap=not self.looked_at)

    def line(self, text: str) -> None:
        """How far the work is, on standard error."""
        if not self.quiet:
            self.errors.print(text, markup=False, soft_wrap=True)

    def files(self, paths: list[Path]) -> None:
        """Where results were written."""
        from rich.markup import escape

        self._copied("", *(f"[dim]wrote[/dim] {escape(str(path))}" for path in paths))

    def next_command(self, *words: str) -> None:
        """The one command that a user would want next."""
        from rich.markup import escape

        self._copied(f"[dim]next:[/dim] [bold]{escape(shlex.join(words))}[/bold]")

    def code(self, *texts: str) -> None:
        """What people copy, such as lines of a program: as it stands, however narrow the terminal."""
        from rich.markup import escape

        self._copied(*(escape(line) for text in texts for line in text.split("\n")))

    def _copied(self, *lines: str) -> None:
        """Lines that people copy: a line each, however narrow the terminal."""
        if not (self.as_json or self.quiet):
            for line in lines:
                self._print(line, soft_wrap=True)

    def payload(self, payload: dict[str, Any]) -> None:
        """The machine-readable result, where it was asked for: one line of ASCII, whatever names hold."""
        if self.as_json:
            sys.stdout.write(json.dumps(payload, allow_nan=False) + "\n")

    @contextlib.contextmanager
    def progress(self) -> Iterator[Callable[[str, int, int], None]]:
        """A bar a stage on standard error, gone when done; a line now and then where no terminal looks."""
        if self.quiet:
            yield lambda *_: None
            return
        if not self.looked_at:
            from fastki.cli.progress_lines import ProgressLines

            yield ProgressLines(self.line, STAGES)
            return
        from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

        tasks: dict[str, TaskID] = {}
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.errors, transient=True) as bars:

            def report(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bars.add_task(STAGES.get(stage, stage), total=total)
                bars.update(tasks[stage], completed=done, total=total)

            yield report


def announce_compilation(terminal: Terminal) -> None:
    """Say why the first run on a machine takes longer."""
    from fastki.tokenizer.kernels import kernels_are_compiled

    if not kernels_are_compiled():
        terminal.note("compiling the codec for this machine: once, about half a minute …")


def keep_stdout_ours() -> None:
    """What libraries in C write to standard output goes to standard error from now on; Python's own stays."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(kept, "w", encoding=sys.stdout.encoding)


def counting_bar(console: Console) -> Progress:
    """A bar with how many are done and when the rest will be, for a live view to draw."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console,
    )
