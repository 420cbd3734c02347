"""B-spline coefficients, quantised: a fixed number of tokens a chunk, in the manner of BEAST.

BEAST (Zhou et al. 2025, "BEAST: Efficient Tokenization of B-Splines Encoded Action Sequences for Imitation Learning",
arXiv 2506.06072) fits a clamped B-spline to each dimension of a chunk and quantises its control points uniformly, into
256 bins by default; all chunks have equally many tokens, so that a policy can decode them in parallel, and no
tokenizer is trained. This is that idea for the comparison: cubic, least squares without a ridge term (with no more
control points than steps the problem is well-posed), and each control point's range that of the fitted chunks. BEAST's
tying of a chunk's first control point to the chunk before is left out.

Axis letters: N chunks, H horizon, A action dimensions, K control points.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastki.data import Normalizer
from fastki.errors import UsageError
from fastki.tokenizer.base import ActionTokenizer, Decoded, DecodeOptions, as_chunks
from fastki.tokenizer.binning import require_bins
from fastki.tokenizer.codec import require_finite
from fastki.tokenizer.fixed import MISSING, read_fixed

DEGREE = 3
MIN_BINS = 2


@dataclass(frozen=True, eq=False)
class BsplineTokenizer(ActionTokenizer):
    """K·A tokens a chunk, control point by control point; ids 0 … bins − 1 are shared by all of them.

    Attributes:
        bins: levels of a coefficient, 2 … 65,536, the lowest and the highest at the ends of its range.
        low, high: ends of each coefficient's range, float64 ``[K, A]``; what lies outside is clipped.
        fitted_horizon: H, at least K.
        normalizer: native ⇄ normalised units, or None.
    """

    bins: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    fitted_horizon: int
    normalizer: Normalizer | None = None

    def __post_init__(self) -> None:
        require_bins(self.bins, MIN_BINS)
        require_control_points(len(self.low), self.fitted_horizon)

    @classmethod
    def fit(
        cls, normalized: NDArray[np.float64], *, bins: int, control_points: int, normalizer: Normalizer | None = None
    ) -> BsplineTokenizer:
        """Take the coefficients' ranges from normalised chunks ``[N, H, A]``.

        Raises:
            UsageError: no chunk, or a number out of range.
        """
        if not len(normalized):
            raise UsageError("there is no chunk to fit on")
        horizon = normalized.shape[1]
        require_control_points(control_points, horizon)
        coefficients = _analysis(horizon, control_points) @ normalized
        return cls(bins, coefficients.min(axis=0), coefficients.max(axis=0), horizon, normalizer)

    @property
    def method(self) -> str:
        return "bspline"

    @property
    def vocab_size(self) -> int:
        return self.bins

    @property
    def horizon(self) -> int:
        return self.fitted_horizon

    @property
    def action_dim(self) -> int:
        return int(self.low.shape[1])

    @property
    def control_points(self) -> int:
        """K."""
        return len(self.low)

    def encode_normalized(self, actions: ArrayLike, *, previous: ArrayLike | None = None) -> list[NDArray[np.int32]]:
        chunks = as_chunks(actions)
        require_finite(chunks)
        if chunks.shape[1:] != (self.horizon, self.action_dim):
            raise UsageError(
                f"chunks have shape [N, {chunks.shape[1]}, {chunks.shape[2]}], this tokenizer was fitted for "
                f"[N, {self.horizon}, {self.action_dim}]"
            )
        coefficients = np.clip(_analysis(self.horizon, self.control_points) @ chunks, self.low, self.high)
        width = np.where(self.high > self.low, self.high - self.low, 1.0)
        ids = np.rint((coefficients - self.low) / width * (self.bins - 1)).astype(np.int32)
        return list(ids.reshape(len(chunks), -1))

    def decode_normalized_report(self, tokens: Sequence[ArrayLike], **options: Unpack[DecodeOptions]) -> Decoded:
        horizon = options.get("horizon") or self.horizon
        if options.get("action_dim") not in (None, self.action_dim):
            raise UsageError(f"this tokenizer was fitted for {self.action_dim} action dimensions")
        ids, repairs = read_fixed(tokens, self.low.size, self.bins, options.get("on_unknown", "error"))
        levels = ids.reshape(-1, *self.low.shape)
        values = self.low + levels / (self.bins - 1) * (self.high - self.low)
        return Decoded(basis(horizon, self.control_points) @ np.where(levels == MISSING, 0.0, values), repairs)


def require_control_points(count: int, horizon: int) -> None:
    """Refuse a number of control points that a cubic spline over H steps can't have.

    Raises:
        UsageError: fewer than 4, or more than H.
    """
    if not DEGREE + 1 <= count <= horizon:
        raise UsageError(
            f"a cubic spline over {horizon} steps has {DEGREE + 1} to {horizon} control points, not {count}"
            + ("" if horizon > DEGREE else ": use a longer --horizon")
        )


@functools.lru_cache(maxsize=64)
def basis(horizon: int, control_points: int) -> NDArray[np.float64]:
    """Values of K clamped cubic basis functions at H evenly spaced steps, float64 ``[H, K]``; each row sums to 1."""
    from scipy.interpolate import BSpline

    inner = np.linspace(0, 1, control_points - DEGREE + 1)
    knots = np.concatenate([np.zeros(DEGREE), inner, np.ones(DEGREE)])
    matrix: NDArray[np.float64] = BSpline.design_matrix(np.linspace(0, 1, horizon), knots, DEGREE).toarray()
    matrix.setflags(write=False)
    return matrix


@functools.lru_cache(maxsize=64)
def _analysis(horizon: int, control_points: int) -> NDArray[np.float64]:
    """The least-squares coefficients of a series are this ``[K, H]`` times the series."""
    matrix = np.linalg.pinv(basis(horizon, control_points)).astype(np.float64)
    matrix.setflags(write=False)
    return matrix
