"""A training run as it goes: a live panel on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fastki.cli.progress_lines import duration
from fastki.cli.terminal import counting_bar

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import TaskID

    from fastki.cli.terminal import Terminal
    from fastki.training.loop import Speed, Watcher
    from fastki.training.prepare import Setup
    from fastki.training.tracking import Tracker

_WINDOW = 20  # Steps that shown numbers are the mean of.
SHOWN = (
    ("flow_loss", "flow loss"),
    ("fast_loss", "CE per token"),
    ("nats_per_value", "nats per action value"),
    ("token_accuracy", "token accuracy"),
    ("grad_norm", "gradient norm"),
    ("learning_rate", "learning rate"),
)
NAMES = dict(SHOWN)


@contextlib.contextmanager
def following(terminal: Terminal, setup: Setup, trackers: Sequence[Tracker]) -> Iterator[Watcher]:
    """Who is told of the run while the block runs."""
    if terminal.quiet or not terminal.errors.is_terminal:
        yield Lines(terminal, setup, trackers)
        return
    from rich.live import Live

    live = Live(console=terminal.errors, refresh_per_second=4, transient=True)
    with live:
        yield Panel(terminal, setup, trackers, live)


class Lines:
    """Plain lines on standard error; none when quiet."""

    def __init__(self, terminal: Terminal, setup: Setup, trackers: Sequence[Tracker]) -> None:
        self.terminal, self.setup, self.trackers = terminal, setup, trackers
        self.recent: dict[str, deque[float]] = {}
        self.first = self.last = 0

    def begun(self, first: int, last: int) -> None:
        """The first step takes longest: it is compiled."""
        self.first, self.last = first, last
        if first:
            self.terminal.line(f"going on from step {first:,} of {last:,}")
        if first < last:
            self.terminal.line("compiling the step …")

    def stepped(self, step: int, metrics: dict[str, float]) -> None:
        """Keep it for the mean, and tell the trackers."""
        for name, value in metrics.items():
            self.recent.setdefault(name, deque(maxlen=_WINDOW)).append(value)
        for tracker in self.trackers:
            tracker.log(step, metrics)

    def timed(self, speed: Speed) -> None:
        """Tell the trackers, and show it."""
        numbers = {"examples_per_second": speed.examples_per_second, "waiting_for_data": speed.waiting}
        for tracker in self.trackers:
            tracker.log(speed.step, numbers)
        self.show_speed(speed)

    def show_speed(self, speed: Speed) -> None:
        """A line."""
        self.terminal.line(self.line(speed))

    def evaluated(self, step: int, measured: dict[str, float]) -> None:
        """A line, too."""
        for tracker in self.trackers:
            tracker.log(step, {f"heldout/{name}": value for name, value in measured.items()})
        words = ", ".join(f"{name} {measured[key]:.4g}" for key, name in SHOWN if key in measured)
        self.terminal.line(f"step {step:,}, held out: {words}")

    def saved(self, step: int) -> None:
        """Said at the end only."""

    def means(self) -> dict[str, float]:
        """Of the last steps, by the name that people are shown."""
        return {name: sum(self.recent[key]) / len(self.recent[key]) for key, name in SHOWN if self.recent.get(key)}

    def line(self, speed: Speed) -> str:
        """Where the run is, in one line."""
        words = [f"{name} {value:.4g}" for name, value in self.means().items() if name != "learning rate"]
        left = self.setup.config.loader.batch_size * (self.last - speed.step) / max(speed.examples_per_second, 1e-9)
        rate = f"{speed.examples_per_second:.4g} examples/s, {speed.waiting:.0%} waiting for data"
        return f"[{speed.step:,}/{self.last:,}, {duration(left)} left] {', '.join(words)}; {rate}"


class Panel(Lines):
    """A bar and the numbers below it, redrawn in place."""

    def __init__(self, terminal: Terminal, setup: Setup, trackers: Sequence[Tracker], live: Live) -> None:
        super().__init__(terminal, setup, trackers)
        self._live = live
        self._bar = counting_bar(terminal.errors)
        self._task: TaskID | None = None
        self._speed: Speed | None = None

    def begun(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self._task = self._bar.add_task("compiling", total=last, completed=first)
        self._draw()

    def stepped(self, step: int, metrics: dict[str, float]) -> None:
        super().stepped(step, metrics)
        assert self._task is not None, "a run begins before it steps"
        self._bar.update(self._task, completed=step, description="training")
        self._draw()

    def show_speed(self, speed: Speed) -> None:
        self._speed = speed
        self._draw()

    def evaluated(self, step: int, measured: dict[str, float]) -> None:
        super().evaluated(step, measured)
        self._draw()

    def _draw(self) -> None:
        from rich.console import Group
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for name, value in self.means().items():
            table.add_row(name, f"{value:.4g}")
        if self._speed is not None:
            table.add_row("examples/s", f"{self._speed.examples_per_second:.4g}")
            table.add_row("waiting for data", f"{self._speed.waiting:.0%}")
        self._live.update(Group(table, self._bar))
