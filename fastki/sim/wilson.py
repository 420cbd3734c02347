"""The interval of a success rate."""

from __future__ import annotations

import math

_Z = 1.959963984540054  # Of 95 %, two-sided.


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Wilson's 95 % score interval of a rate: never beyond 0 and 1, and sound with few trials.

    An effective number of trials need not be whole.

    >>> [round(end, 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]
    >>> wilson(0, 0)
    (0.0, 1.0)
    """
    if trials == 0:
        return 0.0, 1.0
    rate, square = successes / trials, _Z**2
    middle = rate + square / (2 * trials)
    half = _Z * math.sqrt(rate * (1 - rate) / trials + square / (4 * trials**2))
    scale = 1 + square / trials
    # Rounding may leave an end on the wrong side of a rate of 0 or 1.
    return max(0.0, min(rate, (middle - half) / scale)), min(1.0, max(rate, (middle + half) / scale))
