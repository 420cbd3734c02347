"""How far the work is, where no bar can be shown: a line now and then, for the log of a job."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

EVERY = 30.0
"""Seconds between two lines."""


@dataclass
class ProgressLines:
    """Says the share that is done of a stage, and how long the rest will take.

    Attributes:
        say: takes a line.
        names: of stages; another is called as it is.
        clock: seconds.
    """

    say: Callable[[str], object]
    names: dict[str, str]
    clock: Callable[[], float] = time.monotonic
    _begun: dict[str, tuple[float, int]] = field(default_factory=dict, init=False)
    _latest: dict[str, int] = field(default_factory=dict, init=False)
    _said: float = field(init=False)

    def __post_init__(self) -> None:
        self._said = self.clock()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Of ``total``, ``done`` are done."""
        now = self.clock()
        if done < self._latest.get(stage, done + 1):  # New, or begun again.
            self._begun[stage] = (now, done)
        self._latest[stage] = done
        start, before = self._begun[stage]
        if now - self._said < EVERY or done >= total:
            return
        self._said = now
        # What an earlier run did took no time of this one.
        left = f", {duration((now - start) * (total - done) / (done - before))} left" if done > before else ""
        self.say(f"{self.names.get(stage, stage)}: {done / total:.0%}{left}")


def duration(seconds: float) -> str:
    """In words, such as ``3 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
