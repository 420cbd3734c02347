"""The normalisers as the other systems' own code applies them. Axis: A dims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.norm_stats import NormStats
from fastki.data.normalize import Method, Normalizer

EPSILON = 1e-6
"""What openpi adds to a range or a standard deviation before it divides, and LeRobot does not."""
FEATURES = {"actions": "action", "state": "observation.state"}
"""openpi's key → LeRobot's feature."""
MODES: dict[Method, str] = {"quantile": "QUANTILES", "minmax": "QUANTILES", "zscore": "MEAN_STD", "none": "IDENTITY"}
"""LeRobot's normalisation mode of each method."""


def openpi_stats(normalizers: Mapping[str, Normalizer]) -> dict[str, NormStats]:
    """What openpi's ``Normalize`` does the same with; where nothing is normalised, the statistics of no change."""
    return {key: _unchanged(one) if one.method == "none" else one.stats for key, one in normalizers.items()}


def lerobot_stats(normalizers: Mapping[str, Normalizer]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """LeRobot's statistics by feature, ``[A]`` each; ``q99`` and ``std`` have openpi's 1e-6 in them.

    ``min`` and ``max`` are there where they are what is normalised by; the normaliser keeps no others.
    """
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    for key, one in normalizers.items():
        stats = {"mean": one.stats.mean, "std": one.stats.std + (EPSILON if one.method == "zscore" else 0.0)}
        if one.stats.q01 is not None and one.stats.q99 is not None:
            stats |= {"q01": one.stats.q01, "q99": one.stats.q99 + EPSILON}
        if one.method == "minmax":
            stats |= {"min": stats["q01"], "max": stats["q99"]}
        found[FEATURES[key]] = stats
    return found


def lerobot_normalize(values: NDArray[Any], stats: Mapping[str, NDArray[Any]], mode: str) -> NDArray[np.float64]:
    """``values`` ``[..., A]`` native as LeRobot's normaliser makes them of these statistics."""
    x = np.asarray(values, np.float64)
    if mode == "QUANTILES":
        result: NDArray[np.float64] = 2.0 * (x - stats["q01"]) / (stats["q99"] - stats["q01"]) - 1.0
        return result
    return (x - stats["mean"]) / (stats["std"] + 1e-8) if mode == "MEAN_STD" else x


def _unchanged(one: Normalizer) -> NormStats:
    """Both of openpi's maps of these give x again."""
    zero = np.zeros(len(one.stats))
    return NormStats(zero, zero + 1 - EPSILON, zero - 1, zero + 1 - EPSILON)
