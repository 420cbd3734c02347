"""How long requests took, in memory that does not grow with their number; other threads may look on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

KEPT = 100_000
"""Requests, the latest, that the quantiles are of."""


@dataclass(frozen=True)
class Quantiles:
    """Seconds; None where nothing was timed."""

    p50: float | None
    p95: float | None

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Quantiles:
        """Of so many times."""
        times = np.fromiter(seconds, np.float64)
        if not len(times):
            return cls(None, None)
        p50, p95 = np.percentile(times, [50, 95]).tolist()
        return cls(p50, p95)


class Tally:
    """What a server did so far.

    Attributes:
        answered, refused: requests with actions, and with an error.
        clients: that are connected; connected: that ever were.
    """

    def __init__(self) -> None:
        self.answered = self.refused = self.clients = self.connected = 0
        self._whole: deque[float] = deque(maxlen=KEPT)
        self._policy: deque[float] = deque(maxlen=KEPT)

    def timed(self, whole: float, policy: float) -> None:
        """One request more with actions: seconds from message to answer, and of them the policy's."""
        self._whole.append(whole)
        self._policy.append(policy)
        self.answered += 1  # Last: a thread that looks on and sees it finds the times too.

    @property
    def whole(self) -> Quantiles:
        """From a message that is there to its answer that is sent."""
        return Quantiles.of(self._whole.copy())

    @property
    def policy(self) -> Quantiles:
        """The policy's share."""
        return Quantiles.of(self._policy.copy())
