"""Statistics as LeRobot keeps them: of every column of numbers and of every camera.

Axis letters: T frames, D dimensions, C colour channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_LEVELS = 256

Stats = dict[str, Any]
"""``min``, ``max``, ``mean``, ``std``, ``count`` and quantiles, as lists that JSON and parquet hold."""


def column_stats(values: NDArray[Any]) -> Stats:
    """Of a column ``[T]`` or ``[T, D]``: lists of D numbers, of one for ``[T]``; ``count`` is ``[T]``.

    >>> column_stats(np.array([1.0, 3.0]))["mean"]
    [2.0]
    """
    matrix = values.reshape(len(values), -1).astype(np.float64)
    whole: dict[str, NDArray[Any]] = {
        "min": matrix.min(axis=0),
        "max": matrix.max(axis=0),
        "mean": matrix.mean(axis=0),
        "std": matrix.std(axis=0),
        "count": np.array([len(matrix)]),
        **{name: np.quantile(matrix, share, axis=0) for name, share in QUANTILES.items()},
    }
    return {name: value.tolist() for name, value in whole.items()}


def histogram(pictures: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each channel of ``pictures [T, h, w, C]`` has each value: int64 ``[C, 256]``."""
    channels = pictures.reshape(-1, pictures.shape[-1]).T
    return np.stack([np.bincount(channel, minlength=_LEVELS) for channel in channels]).astype(np.int64)


def picture_stats(counts: NDArray[np.int64], frames: int) -> Stats:
    """Of pictures with histogram ``counts [C, 256]``: values 0 to 1, each ``[C, 1, 1]`` as LeRobot has them."""
    values = np.arange(_LEVELS) / (_LEVELS - 1)
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    there = counts > 0
    whole: dict[str, Sequence[float]] = {
        "min": [values[row.argmax()] for row in there],
        "max": [values[_LEVELS - 1 - row[::-1].argmax()] for row in there],
        "mean": mean,
        "std": np.sqrt(np.maximum(share @ values**2 - mean**2, 0)),
    }
    for name, part in QUANTILES.items():
        whole[name] = [values[np.searchsorted(np.cumsum(row), part)] for row in share]
    stats: Stats = {name: [[[float(value)]] for value in row] for name, row in whole.items()}
    return stats | {"count": [frames]}
