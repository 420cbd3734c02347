"""How long a loop waits for its data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Waiting:
    """Seconds spent waiting for the next batch, out of all.

    >>> ticks = iter([0.0, 0.0, 1.0, 4.0, 6.0, 8.0])
    >>> waiting = Waiting(clock=lambda: next(ticks))
    >>> list(waiting.over("ab"))
    ['a', 'b']
    >>> waiting.seconds  # From 0 to 1, and from 4 to 6; the end of the data, from 8 on, is no batch.
    3.0

    Args:
        clock: seconds from any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Begin anew, such as after each line of a log."""
        self.seconds, self._since = 0.0, self._clock()

    def over(self, batches: Iterable[T]) -> Iterator[T]:
        """``batches``, the wait for each of them measured."""
        source = iter(batches)
        while True:
            start = self._clock()
            try:
                batch = next(source)
            except StopIteration:
                return
            self.seconds += self._clock() - start
            yield batch

    @property
    def share(self) -> float:
        """Of the time since the beginning, 0 to 1."""
        total = self._clock() - self._since
        return min(1.0, self.seconds / total) if total > 0 else 0.0
