"""How sure a mean over frames is, when whole episodes are drawn anew (Efron's percentile method).

Frames of one episode are alike: to draw frames would make an interval far too narrow.

Axis letters: N frames, K values of a frame, E episodes, R draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
"""Bootstrap resamples."""
_INNER = (2.5, 97.5)


def resampled_means(
    values: NDArray[Any], episode: NDArray[np.integer[Any]], *, seed: int, draws: int = DRAWS
) -> NDArray[np.float64]:
    """Means over all frames, float64 ``[R, K]``, of ``values`` ``[N, K]`` with their episodes drawn with replacement.

    Args:
        values: of each frame.
        episode: of each frame, ``[N]``.
        seed: of the draws.
        draws: R.
    """
    names, place = np.unique(episode, return_inverse=True)
    place = place.reshape(-1)
    count = len(names)
    sums = np.stack([np.bincount(place, weights=column, minlength=count) for column in values.T], axis=1)
    picked = np.random.default_rng(seed).integers(count, size=(draws, count))
    times = np.zeros((draws, count))
    np.add.at(times, (np.arange(draws)[:, None], picked), 1.0)
    means: NDArray[np.float64] = (times @ sums) / (times @ np.bincount(place))[:, None]
    return means


def bootstrap_interval(
    values: NDArray[Any], episode: NDArray[np.integer[Any]], *, seed: int, draws: int = DRAWS, least: int = 2
) -> tuple[float | None, float | None]:
    """95 % interval of the mean of ``values`` ``[N]``; None twice where there are fewer episodes than ``least``."""
    if len(np.unique(episode)) < least:
        return None, None
    low, high = inner(resampled_means(values[:, None], episode, seed=seed, draws=draws))[0].tolist()
    return low, high


def inner(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """The middle 95 % of each column of ``[R, K]``, as ``[K, 2]``."""
    found: NDArray[np.float64] = np.percentile(draws, _INNER, axis=0).T
    return found
