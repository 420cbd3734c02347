"""Statistics of values that stream by. Axes: K values, A dims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.sketch import QuantileSketch

_EXACT_VALUES = 2**22


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

    Mean, std, min and max are exact. So are the quantiles as long as all values fit (4 million of them);
    beyond that they come from a histogram and are off by at most 1/4,095 of the dimension's range.
    """

    def __init__(self, *, exact_values: int = _EXACT_VALUES) -> None:
        self._exact_values = exact_values
        self._kept: list[NDArray[Any]] = []
        self._kept_values = 0
        self._sketch: QuantileSketch | None = None
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
        mean = rows.mean(axis=0)
        self._add_moments(len(rows), mean, ((rows - mean) ** 2).sum(axis=0), rows.min(axis=0), rows.max(axis=0))
        if self._sketch is None:
            self._keep(values)
        else:
            self._sketch.update(rows)

    def merge(self, other: RunningStats) -> None:
        """Take what ``other``, of as many dimensions, has taken: parts of a dataset may be read apart."""
        if not other._count:
            return
        self._add_moments(other._count, other._mean, other._squares, other._min, other._max)
        for values in other._kept:
            if self._sketch is None:
                self._keep(values)
            else:
                self._sketch.update(values)
        if other._sketch is not None:
            self._to_sketch(len(other._mean)).merge(other._sketch)

    def _add_moments(
        self,
        count: int,
        mean: NDArray[np.float64],
        squares: NDArray[np.float64],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
    ) -> None:
        """Pairwise update of mean and squared deviations (Chan, Golub and LeVeque 1979, eq. 2.1)."""
        if self._count == 0:
            self._count, self._mean, self._squares, self._min, self._max = count, mean, squares, low, high
            return
        total = self._count + count
        gap = mean - self._mean
        self._mean = self._mean + gap * count / total
        self._squares = self._squares + squares + gap**2 * self._count * count / total
        self._min, self._max = np.minimum(self._min, low), np.maximum(self._max, high)
        self._count = total

    def _keep(self, values: NDArray[Any]) -> None:
        self._kept.append(np.array(values))
        self._kept_values += values.size
        if self._kept_values > self._exact_values:
            self._to_sketch(values.shape[1])

    def _to_sketch(self, dims: int) -> QuantileSketch:
        """The histogram, made of the values kept so far if there was none."""
        if self._sketch is None:
            self._sketch = QuantileSketch(dims)
            for values in self._kept:
                self._sketch.update(values)
            self._kept, self._kept_values = [], 0
        return self._sketch

    @property
    def count(self) -> int:
        """K so far."""
        return self._count

    def summary(self) -> Summary:
        """The statistics so far, of one row or more."""
        if self._sketch is None:
            kept = np.concatenate(self._kept).astype(np.float64)
            q01, q99 = np.quantile(kept, [0.01, 0.99], axis=0)
        else:
            q01, q99 = self._sketch.quantiles((0.01, 0.99))
        std = np.sqrt(self._squares / self._count)
        return Summary(self._mean.copy(), std, self._min.copy(), self._max.copy(), q01, q99)
