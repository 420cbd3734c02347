"""Step by step through batches: the one loop of everything that learns here, runs and probes alike.

A step's numbers are fetched when the next step has been handed to the device, so that the device never waits for the
host to write them down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import jax

from fastki.training.gradients import Metrics
from fastki.training.state import TrainState

B = TypeVar("B")
"""Whatever a step takes for a batch."""


class Stepping(Generic[B]):
    """A state on its way.

    Args:
        step: the compiled step; it gives up the state that it is given.
        state: to begin with.
        note: told the number of a step, its metrics and its batch, once in the order of steps, when the metrics are
            here; the metric ``finite`` tells a step that was not taken because of them.
        done: steps taken before.

    Attributes:
        state: after the last step.
        done: the number of that step.
    """

    def __init__(
        self,
        step: Callable[[TrainState, B], tuple[TrainState, Metrics]],
        state: TrainState,
        note: Callable[[int, dict[str, float], B], None],
        *,
        done: int = 0,
    ) -> None:
        self.state, self.done = state, done
        self._step, self._note = step, note
        self._pending: tuple[Metrics, B] | None = None

    def through(self, batches: Iterable[B], last: int) -> Iterator[B]:
        """Take steps up to number ``last``; each batch comes back when its step is under way."""
        if self.done >= last:
            return
        for batch in batches:
            self.state, metrics = self._step(self.state, batch)
            self.flush()
            self.done, self._pending = self.done + 1, (metrics, batch)
            yield batch
            if self.done >= last:
                return

    def flush(self) -> None:
        """Wait for the last step's numbers, and note them."""
        if self._pending is None:
            return
        metrics, batch = self._pending
        self._pending = None
        fetched: dict[str, Any] = jax.device_get(metrics)
        self._note(self.done, {name: float(value) for name, value in fetched.items()}, batch)
