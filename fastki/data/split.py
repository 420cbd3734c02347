"""The split by episode into fitted and held-out data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError


def split_episodes(count: int, *, holdout: float = 0.1, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the episodes to fit on and of those held out, both sorted; together 0 to ``count`` − 1.

    ``holdout`` is a fraction, 0 ≤ holdout < 1. Above 0, at least one episode of two or more is held out and
    at least one fitted; a single episode is always fitted.

    Raises:
        UsageError: ``count`` below 1, or ``holdout`` or ``seed`` out of range.
    """
    if count < 1:
        raise UsageError(f"cannot split {count} episodes: at least 1 is needed")
    if not 0 <= holdout < 1:
        raise UsageError(f"--holdout {holdout} is out of range: a fraction from 0 to below 1 is needed")
    if seed < 0:
        raise UsageError(f"--seed {seed} is negative: 0 or more is needed")
    held = 0 if holdout == 0 or count == 1 else min(max(round(count * holdout), 1), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])
