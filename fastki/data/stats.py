"""Statistics of values that stream by. Axes: K values, A dims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_VALUES = 2**24


@dataclass(frozen=True, eq=False)
class Summary:
    """Statistics by dimension, each ``[A]`` float64: ``std`` is the population's, q01 and q99 quantiles."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    q01: NDArray[np.float64]
    q99: NDArray[np.float64]


class RunningStats:
    """Takes rows ``[K, A]`` as they come, in memory that has a limit.

    Mean, std, min and max are exact. So are the quantiles as long as all values fit (16 million of them); of
    more, each second, fourth … row counts, always the same ones.
    """

    def __init__(self, *, max_values: int = _MAX_VALUES) -> None:
        self._max_values = max_values
        self._kept: list[NDArray[Any]] = []
        self._kept_values = 0
        self._step = 1
        self._skip = 0
        self._count = 0
        self._mean: NDArray[np.float64] = np.zeros(0)
        self._squares: NDArray[np.float64] = np.zeros(0)
        self._min: NDArray[np.float64] = np.zeros(0)
        self._max: NDArray[np.float64] = np.zeros(0)

    def update(self, values: NDArray[Any]) -> None:
        """Take ``values`` ``[K, A]``."""
        if not len(values):
            return
        rows = np.asarray(values, dtype=np.float64)
        mean, squares = rows.mean(axis=0), rows.var(axis=0) * len(rows)
        if self._count == 0:
            self._mean, self._squares = mean, squares
            self._min, self._max = rows.min(axis=0), rows.max(axis=0)
        else:
            total = self._count + len(rows)
            gap = mean - self._mean
            self._mean = self._mean + gap * len(rows) / total
            self._squares = self._squares + squares + gap**2 * self._count * len(rows) / total
            self._min = np.minimum(self._min, rows.min(axis=0))
            self._max = np.maximum(self._max, rows.max(axis=0))
        self._count += len(rows)
        self._keep(values)

    def _keep(self, values: NDArray[Any]) -> None:
        kept = values[self._skip :: self._step].copy()
        self._skip = (self._skip - len(values)) % self._step
        self._kept.append(kept)
        self._kept_values += kept.size
        while self._kept_values > self._max_values:
            rows = np.concatenate(self._kept)
            self._skip += self._step * (len(rows) % 2)
            self._kept = [rows[::2].copy()]
            self._kept_values = self._kept[0].size
            self._step *= 2

    @property
    def count(self) -> int:
        """K so far."""
        return self._count

    def summary(self) -> Summary:
        """The statistics so far, of one row or more."""
        q01, q99 = np.quantile(np.concatenate(self._kept).astype(np.float64), [0.01, 0.99], axis=0)
        std = np.sqrt(self._squares / self._count)
        return Summary(self._mean, std, self._min, self._max, q01, q99)
