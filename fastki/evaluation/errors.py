"""Errors of one way to choose actions: of each frame as they come, then in all.

Axis letters: N frames, H horizon, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data.bootstrap import inner, resampled_means
from fastki.evaluation.acting import Acted

FEWEST = 3
"""Episodes below which no interval is given."""


@dataclass(frozen=True, eq=False)
class FrameErrors:
    """Of N frames, normalised units; the single values are not kept.

    Attributes:
        by_dim: float64 ``[N, A]``, mean absolute error over the steps.
        by_step: float64 ``[N, H]``, mean absolute error over the dimensions.
        square: float64 ``[N]``, mean square error.
        tokens: int64 ``[N]``, FAST tokens written; None of others.
        repaired: bool ``[N]``, whether they were malformed; None of others.
    """

    by_dim: NDArray[np.float64]
    by_step: NDArray[np.float64]
    square: NDArray[np.float64]
    tokens: NDArray[np.int64] | None = None
    repaired: NDArray[np.bool_] | None = None

    @property
    def mae(self) -> NDArray[np.float64]:
        """float64 ``[N]``, mean absolute error of each."""
        mean: NDArray[np.float64] = self.by_dim.mean(axis=1)
        return mean

    @classmethod
    def of(cls, errors: NDArray[np.float64], acted: Acted | None = None) -> FrameErrors:
        """Of errors ``[N, H, A]``, and what a policy did besides, of N frames too or more."""
        size = np.abs(errors)
        found = cls(size.mean(axis=1), size.mean(axis=2), np.square(errors).mean(axis=(1, 2)))
        if acted is None or acted.tokens is None:
            return found
        count = len(errors)
        return cls(found.by_dim, found.by_step, found.square, acted.tokens[:count], acted.repaired[:count])

    @staticmethod
    def concatenate(parts: Sequence[FrameErrors]) -> FrameErrors:
        """All frames of one part or more."""
        tokens = [part.tokens for part in parts if part.tokens is not None]
        repaired = [part.repaired for part in parts if part.repaired is not None]
        return FrameErrors(
            np.concatenate([part.by_dim for part in parts]),
            np.concatenate([part.by_step for part in parts]),
            np.concatenate([part.square for part in parts]),
            np.concatenate(tokens) if tokens else None,
            np.concatenate(repaired) if repaired else None,
        )


@dataclass(frozen=True, eq=False)
class ErrorRow:
    """Errors of one way to choose actions, over all frames. Intervals: 95 %, over episodes; None with few of them.

    Attributes:
        name: of the head or floor.
        mae: mean absolute error, normalised units, over all values.
        interval: of ``mae``.
        rmse: root of the mean square error, likewise.
        mae_native: float64 ``[A]``, mean absolute error by dimension, native units.
        native_intervals: float64 ``[A, 2]``, of ``mae_native``.
        by_step: float64 ``[H]``, mean absolute error by step of the chunk, normalised.
        of_mean: ``mae`` over that of the mean action; 1 knows nothing.
        tokens: FAST tokens a chunk, on average; None of others.
        malformed: share of token sequences that had to be repaired; None of others.
    """

    name: str
    mae: float
    interval: tuple[float, float] | None
    rmse: float
    mae_native: NDArray[np.float64]
    native_intervals: NDArray[np.float64] | None
    by_step: NDArray[np.float64]
    of_mean: float
    tokens: float | None = None
    malformed: float | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """What rows are made with.

    Attributes:
        episode: int64 ``[N]``, of each frame.
        scale: float64 ``[A]``, native units in one normalised unit.
        floor: mean absolute error of the mean action.
        seed: of the intervals.
    """

    episode: NDArray[np.int64]
    scale: NDArray[np.float64]
    floor: float
    seed: int

    def row(self, name: str, found: FrameErrors) -> ErrorRow:
        """Of one way to choose actions."""
        interval, native = None, None
        if len(np.unique(self.episode)) >= FEWEST:
            values = np.concatenate([found.mae[:, None], found.by_dim * self.scale], axis=1)
            ends = inner(resampled_means(values, self.episode, seed=self.seed))
            interval, native = (float(ends[0, 0]), float(ends[0, 1])), ends[1:]
        mae = float(found.mae.mean())
        return ErrorRow(
            name,
            mae,
            interval,
            float(np.sqrt(found.square.mean())),
            found.by_dim.mean(axis=0) * self.scale,
            native,
            found.by_step.mean(axis=0),
            mae / self.floor if self.floor else float("nan"),
            None if found.tokens is None else float(found.tokens.mean()),
            None if found.repaired is None else float(found.repaired.mean()),
        )
