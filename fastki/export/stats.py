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


def openpi_stats(normalizers: Mapping[str, Normalizer], *, by_std: bool) -> dict[str, NormStats]:
    """Statistics of which openpi's formula makes what the normaliser makes.

    Args:
        normalizers: by openpi's key.
        by_std: openpi normalises this kind of model by mean and standard deviation (π0), not by quantiles (the others);
            it can't be told otherwise.
    """
    return {key: one.stats if is_native(one, by_std=by_std) else _made(one) for key, one in normalizers.items()}


def is_native(one: Normalizer, *, by_std: bool) -> bool:
    """Whether openpi's formula is the normaliser's own."""
    return one.method == "zscore" if by_std else one.method in ("quantile", "minmax")


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


def _made(one: Normalizer) -> NormStats:
    """Statistics of which both of openpi's formulas make what the normaliser makes."""
    stats = one.stats
    if one.method == "zscore":
        low, width = stats.mean - stats.std - EPSILON, 2 * (stats.std + EPSILON)
    elif one.method == "none" or stats.q01 is None or stats.q99 is None:
        low, width = np.full(len(stats), -1.0), np.full(len(stats), 2.0)
        return NormStats(np.zeros(len(stats)), width / 2 - EPSILON, low, low + width - EPSILON)
    else:
        low, width = stats.q01, stats.q99 - stats.q01 + EPSILON
        return NormStats(low + width / 2, width / 2 - EPSILON, stats.q01, stats.q99)
    return NormStats(stats.mean, stats.std, low, low + width - EPSILON)
