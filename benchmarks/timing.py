"""How long calls take: medians of repetitions, and of single calls."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SLOW_S = 20.0
"""A call that takes longer is repeated :data:`SLOW_REPETITIONS` times at most."""
SLOW_REPETITIONS = 3
_ENOUGH_S = 1.0  # Calls far shorter than this are repeated more often than asked for.
_MOST_REPETITIONS = 25


@dataclass(frozen=True)
class Timing:
    """Median seconds of ``repetitions`` calls, and what the last one returned."""

    seconds: float
    repetitions: int
    result: Any


def measure(work: Callable[[], Any], *, repetitions: int) -> Timing:
    """Call ``work`` at least ``repetitions`` times, :data:`SLOW_REPETITIONS` where a call is slow."""
    taken: list[float] = []
    result = None
    while _wants_another(taken, repetitions):
        start = time.perf_counter()
        result = work()
        taken.append(time.perf_counter() - start)
    return Timing(statistics.median(taken), len(taken), result)


def latency_us(work: Callable[[Any], object], inputs: Sequence[Any], *, calls: int) -> dict[str, float]:
    """Microseconds of one call once warm: median and 99th percentile, ``inputs`` taken in turn."""
    for item in inputs[: min(len(inputs), 50)]:
        work(item)
    taken = np.empty(calls)
    for call in range(calls):
        item = inputs[call % len(inputs)]
        start = time.perf_counter_ns()
        work(item)
        taken[call] = time.perf_counter_ns() - start
    return {"median": float(np.median(taken)) / 1000, "p99": float(np.quantile(taken, 0.99)) / 1000}


def say(line: str) -> None:
    """A progress line on standard error."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def _wants_another(taken: Sequence[float], repetitions: int) -> bool:
    if not taken:
        return True
    if max(taken) > SLOW_S:
        return len(taken) < min(repetitions, SLOW_REPETITIONS)
    return len(taken) < repetitions or (sum(taken) < _ENOUGH_S and len(taken) < _MOST_REPETITIONS)
