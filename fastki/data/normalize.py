"""The one normaliser: an affine map by dimension, the same that openpi applies from the same file.

Axes: K values, A dims. "Native" is the dataset's unit, "normalised" about -1 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastki.data.norm_stats import NormStats
from fastki.data.stats import RunningStats, Summary
from fastki.errors import UsageError

Method = Literal["quantile", "minmax", "zscore", "none"]
METHODS: tuple[Method, ...] = ("quantile", "minmax", "zscore", "none")
_EPSILON = 1e-6
_BY_RANGE = ("quantile", "minmax")


@dataclass(frozen=True, eq=False)
class Normalizer:
    """Maps actions to about [-1, 1] and back, dimension by dimension.

    - quantile: ``(x - q01) / (q99 - q01 + 1e-6) * 2 - 1``; 98 % of the values fall into [-1, 1].
    - minmax: the same, with the minimum and maximum stored as q01 and q99; all values fall into [-1, 1].
    - zscore: ``(x - mean) / (std + 1e-6)``.
    - none: x itself.

    ``fit`` stores statistics from which openpi computes the very same map, so it mends there what would not
    do: a dimension that never moves (range or std up to 1e-6) gets q01 = c − 1 and q99 = c + 1 (std = 1 for
    zscore) and thus maps to about 0 with about one native unit to the normalised unit; one that moves, but
    whose quantiles coincide, gets its minimum and maximum as q01 and q99.

    Attributes:
        method: one of ``METHODS``.
        stats: ``[A]`` statistics; quantile and minmax need q01 and q99.
        clip: whether ``normalize`` clips to [-1, 1]; quantile and minmax only.
        constant_dims: dimensions that never moved in the fitted values.
        widened_dims: dimensions whose quantiles were replaced by minimum and maximum.

    Raises:
        UsageError: an unknown method, clip without a range, or quantiles that are absent.
    """

    method: Method
    stats: NormStats
    clip: bool = False
    constant_dims: tuple[int, ...] = ()
    widened_dims: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"--norm {self.method!r} is unknown: use {', '.join(METHODS)}")
        self._check_clip(self.clip)
        if self.method in _BY_RANGE and self.stats.q01 is None:
            raise UsageError(f"--norm {self.method} needs q01 and q99, which these statistics lack: use zscore")
        for name in ("constant_dims", "widened_dims"):
            object.__setattr__(self, name, tuple(int(dim) for dim in getattr(self, name)))

    @property
    def action_dim(self) -> int:
        """A."""
        return len(self.stats)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """``[A]``, True where the fitted values never moved."""
        return np.isin(np.arange(self.action_dim), self.constant_dims)

    @property
    def scale(self) -> NDArray[np.float64]:
        """``[A]`` above 0: native units in one normalised unit."""
        if self.method in _BY_RANGE:
            return self._range()[1] / 2
        return self.stats.std + _EPSILON if self.method == "zscore" else np.ones(self.action_dim)

    def normalize(self, values: NDArray[Any], *, clip: bool | None = None) -> NDArray[np.float64]:
        """``values`` ``[..., A]`` native, as float64 normalised.

        With fewer dimensions than A, the first statistics count. ``clip`` None means as the attribute says.

        Raises:
            UsageError: more dimensions than the statistics have.
        """
        dims = values.shape[-1] if values.ndim else 0
        if not 0 < dims <= self.action_dim:
            raise UsageError(f"cannot normalise shape {values.shape} by statistics of {self.action_dim} dimensions")
        clip = self._check_clip(self.clip if clip is None else clip)
        x = values.astype(np.float64)
        if self.method == "none":
            return x
        if self.method == "zscore":
            return (x - self.stats.mean[:dims]) / (self.stats.std[:dims] + _EPSILON)
        low, width = self._range()
        result = (x - low[:dims]) / width[:dims] * 2.0 - 1.0
        return np.clip(result, -1.0, 1.0) if clip else result

    def unnormalize(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """``values`` ``[..., A or more]`` normalised, as float64 native.

        Dimensions beyond the statistics pass through (zscore: times 1 + 1e-6, as in openpi).

        Raises:
            UsageError: fewer dimensions than the statistics have.
        """
        if values.ndim == 0 or values.shape[-1] < self.action_dim:
            raise UsageError(f"cannot unnormalise shape {values.shape} by statistics of {self.action_dim} dimensions")
        x = values.astype(np.float64)
        if self.method == "none":
            return x
        extra = x.shape[-1] - self.action_dim
        if self.method == "zscore":
            mean = np.pad(self.stats.mean, (0, extra))
            std = np.pad(self.stats.std, (0, extra), constant_values=1.0)
            return x * (std + _EPSILON) + mean
        low, width = self._range()
        known: NDArray[np.float64] = (x[..., : self.action_dim] + 1.0) / 2.0 * width + low
        return known if not extra else np.concatenate([known, x[..., self.action_dim :]], axis=-1)

    def _check_clip(self, clip: bool) -> bool:
        if clip and self.method not in _BY_RANGE:
            raise UsageError(f"--clip has no effect with --norm {self.method}: use quantile or minmax, or --no-clip")
        return clip

    def _range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower end and width, ``[A]`` each, native."""
        assert self.stats.q01 is not None
        assert self.stats.q99 is not None
        return self.stats.q01, self.stats.q99 - self.stats.q01 + _EPSILON

    @classmethod
    def fit(cls, values: NDArray[Any], *, method: Method = "quantile", clip: bool = False) -> Normalizer:
        """The normaliser of ``values`` ``[K, A]`` native, finite, K at least 1."""
        if values.ndim != 2 or 0 in values.shape:
            raise UsageError(f"cannot fit a normaliser on shape {values.shape}: [K, A] is needed")
        stats = RunningStats()
        stats.update(values)
        return cls.from_summary(stats.summary(), method=method, clip=clip)

    @classmethod
    def from_summary(cls, summary: Summary, *, method: Method, clip: bool) -> Normalizer:
        """The normaliser of values whose statistics are ``summary``, mended as the class says."""
        low, high, std = summary.q01, summary.q99, summary.std
        constant = summary.max - summary.min <= _EPSILON
        widened = np.zeros_like(constant)
        if method == "minmax":
            low, high = summary.min, summary.max
        if method == "quantile":
            widened = (high - low <= _EPSILON) & ~constant
            low, high = np.where(widened, summary.min, low), np.where(widened, summary.max, high)
        if method in _BY_RANGE:
            middle = (summary.min + summary.max) / 2
            low, high = np.where(constant, middle - 1, low), np.where(constant, middle + 1, high)
        if method == "zscore":
            constant = std <= _EPSILON
            std = np.where(constant, 1.0, std)
        return cls(
            method,
            NormStats(summary.mean, std, low, high),
            clip,
            constant_dims=tuple(np.flatnonzero(constant)),
            widened_dims=tuple(np.flatnonzero(widened)),
        )
