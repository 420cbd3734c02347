"""The coarsest precision that keeps an error bound, found by trying.

Axis letters: N chunks, H horizon, A action dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError
from fastki.tokenizer.dct import dct, idct

_BLOCK_VALUES = 1 << 19
MIN_BINS, MAX_BINS = 4, 1 << 24


def coarsest_bins(normalized: NDArray[np.float64], atol: float) -> int:
    """The fewest bins at which every value of the chunks reconstructs within ``atol``.

    The error does not fall steadily with the number of bins (a lucky rounding may pass where a finer one fails),
    so it can't be bisected: the number of bins doubles until it passes, and the octave below is then walked
    upwards, every integer below 256 bins and in steps of 1/256 octave above. What fails, fails on a few chunks,
    which are tried first.

    Args:
        normalized: float64 ``[N, H, A]``.
        atol: largest admitted absolute error, > 0, normalised units.

    Raises:
        UsageError: ``atol`` is not positive, or too fine for float64.
    """
    if not (math.isfinite(atol) and atol > 0):
        raise UsageError(f"atol must be a positive number, not {atol}")
    search = _Search(normalized, atol)
    bins = MIN_BINS
    while not search.passes(bins):
        bins *= 2
        if bins > MAX_BINS:
            raise UsageError(
                f"no precision up to {MAX_BINS} bins keeps every value within {atol:g}: use a larger atol, or check "
                "the normalisation (the data reach far outside [-1, 1])"
            )
    return next(candidate for candidate in _octave(bins) if candidate == bins or search.passes(candidate))


def _octave(top: int) -> Iterator[int]:
    """Bins to try below and at ``top``, ascending."""
    bottom = top // 2 + 1 if top > MIN_BINS else top
    yield from range(bottom, top + 1, max(1, top // 512))
    yield top


class _Search:
    """Coefficients in blocks, the block that failed last in front."""

    def __init__(self, normalized: NDArray[np.float64], atol: float) -> None:
        chunk_values = max(1, normalized[:1].size)
        per_block = max(1, min(256, _BLOCK_VALUES // chunk_values))
        self.blocks = [dct(normalized[start : start + per_block]) for start in range(0, len(normalized), per_block)]
        self.order = list(range(len(self.blocks)))
        self.atol = atol

    def error(self, block: int, scale: float) -> float:
        coefficients = self.blocks[block]
        residual = np.rint(coefficients * scale) / scale - coefficients
        return float(np.abs(idct(residual)).max())

    def passes(self, bins: int) -> bool:
        for place, block in enumerate(self.order):
            if self.error(block, bins / 2) > self.atol:
                self.order.insert(0, self.order.pop(place))
                return False
        return True
