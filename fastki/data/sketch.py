"""Quantiles of values that stream by, in memory that has a limit. Axes: K values, A dims, B bins.

A histogram by dimension whose bins are ``2**e`` wide and lie on a grid through 0. As the values spread, e
grows and neighbouring bins fall together, so two sketches, whatever they have seen, merge on one grid.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 8192
_LEAST = -1022


class QuantileSketch:
    """Counts of rows ``[K, A]`` in at most 8,192 bins a dimension.

    The bins that hold values number more than half of that, so a bin is at most 1/4,095 of the range of the
    values wide, and a quantile at most so much off (but for dimensions whose range is near float64's
    resolution at their magnitude).
    """

    def __init__(self, dims: int) -> None:
        self._counts = np.zeros((dims, BINS), dtype=np.int64)
        self._first = np.zeros(dims, dtype=np.int64)
        self._exponent = np.full(dims, _LEAST, dtype=np.int64)
        self._low = np.full(dims, np.inf)
        self._high = np.full(dims, -np.inf)

    def update(self, values: NDArray[Any]) -> None:
        """Take finite ``values`` ``[K, A]``."""
        if not len(values):
            return
        rows = np.asarray(values, dtype=np.float64)
        self._fit_range(rows.min(axis=0), rows.max(axis=0), self._exponent)
        bins = np.floor(np.ldexp(rows, -self._exponent)).astype(np.int64) - self._first
        dims = np.arange(rows.shape[1]) * BINS
        self._counts += np.bincount((bins + dims).ravel(), minlength=self._counts.size).reshape(self._counts.shape)

    def merge(self, other: QuantileSketch) -> None:
        """Take what ``other``, of as many dimensions, has seen."""
        seen = np.flatnonzero(other._high >= other._low)
        if not len(seen):
            return
        self._fit_range(other._low, other._high, other._exponent)
        for dim in seen:
            shift = self._exponent[dim] - other._exponent[dim]
            bins = ((other._first[dim] + np.arange(BINS)) >> shift) - self._first[dim]
            filled = other._counts[dim] > 0
            np.add.at(self._counts[dim], bins[filled], other._counts[dim][filled])

    def quantiles(self, shares: tuple[float, ...]) -> NDArray[np.float64]:
        """``[len(shares), A]``, the same quantiles as ``np.quantile``'s (linear) but for the bins' width."""
        return np.array([[self._quantile(dim, share) for dim in range(len(self._first))] for share in shares])

    def _quantile(self, dim: int, share: float) -> float:
        ends = np.cumsum(self._counts[dim])
        rank = share * (ends[-1] - 1)
        below, above = self._ranked(dim, ends, math.floor(rank)), self._ranked(dim, ends, math.ceil(rank))
        return float(below + (above - below) * (rank - math.floor(rank)))

    def _ranked(self, dim: int, ends: NDArray[np.int64], rank: int) -> float:
        """About the value of this rank from 0: values are taken to lie evenly spread in their bin."""
        if rank in (0, ends[-1] - 1):
            return float(self._high[dim] if rank else self._low[dim])
        place = int(np.searchsorted(ends, rank, side="right"))
        count = int(self._counts[dim, place])
        inside = (rank - (int(ends[place]) - count) + 0.5) / count
        value = math.ldexp(float(self._first[dim]) + place + inside, int(self._exponent[dim]))
        return float(np.clip(value, self._low[dim], self._high[dim]))

    def _fit_range(self, low: NDArray[np.float64], high: NDArray[np.float64], exponent: NDArray[np.int64]) -> None:
        """Coarsen the bins to ``exponent [A]``, and until they reach from ``low`` to ``high`` ``[A]`` too."""
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        for dim in np.flatnonzero(np.isfinite(self._low)):
            self._fit_dimension(int(dim), int(exponent[dim]))

    def _fit_dimension(self, dim: int, least: int) -> None:
        low, high = float(self._low[dim]), float(self._high[dim])
        exponent = max(int(self._exponent[dim]), least, _finest(low, high))
        while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= BINS:
            exponent += 1
        first = math.floor(math.ldexp(low, -exponent))
        if (exponent, first) == (self._exponent[dim], self._first[dim]):
            return
        counts = np.zeros(BINS, dtype=np.int64)
        filled = np.flatnonzero(self._counts[dim])
        if len(filled):
            places = ((self._first[dim] + filled) >> (exponent - self._exponent[dim])) - first
            np.add.at(counts, places, self._counts[dim][filled])
        self._counts[dim], self._first[dim], self._exponent[dim] = counts, first, exponent


def _finest(low: float, high: float) -> int:
    """The least exponent of bins that float64 can tell apart, and about the one that ``BINS`` of them need."""
    largest = max(abs(low), abs(high))
    resolution = math.frexp(largest)[1] - 52 if largest else _LEAST
    return max(resolution, math.frexp((high - low) / BINS)[1] - 1 if high > low else _LEAST, _LEAST)
