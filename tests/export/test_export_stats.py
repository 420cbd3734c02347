"""Statistics that give the other systems' formulas fastki's normalised values."""

from __future__ import annotations

import numpy as np
import pytest

from fastki.data.normalize import METHODS, Normalizer
from fastki.export.stats import MODES, lerobot_normalize, lerobot_stats, openpi_stats

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(500, 3)) * [0.01, 1.0, 100.0] + [0.0, 5.0, -3.0]


def openpi(values, stats, *, quantile):
    """openpi's two maps."""
    if quantile:
        return (values - stats.q01) / (stats.q99 - stats.q01 + 1e-6) * 2.0 - 1.0
    return (values - stats.mean) / (stats.std + 1e-6)


@pytest.mark.parametrize("by_std", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_openpi_normalises_as_fastki_by_either_formula(method, by_std):
    one = Normalizer.fit(VALUES, method=method)
    stats = openpi_stats({"actions": one}, by_std=by_std)["actions"]
    found = openpi(VALUES, stats, quantile=not by_std)
    np.testing.assert_allclose(found, one.normalize(VALUES), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("method", "by_std"), [("quantile", False), ("minmax", False), ("zscore", True)])
def test_where_the_formula_is_the_same_so_are_the_numbers(method, by_std):
    one = Normalizer.fit(VALUES, method=method)
    assert openpi_stats({"state": one}, by_std=by_std)["state"] is one.stats


@pytest.mark.parametrize("method", METHODS)
def test_lerobot_normalises_as_fastki(method):
    one = Normalizer.fit(VALUES, method=method)
    stats = lerobot_stats({"state": one})["observation.state"]
    found = lerobot_normalize(VALUES, stats, MODES[method])
    np.testing.assert_allclose(found, one.normalize(VALUES), rtol=1e-6, atol=1e-6)
    assert ("min" in stats) == (method == "minmax")


def test_a_range_as_narrow_as_openpis_epsilon_is_not_lost():
    one = Normalizer.fit(RNG.normal(size=(500, 1)) * 1e-5)
    values = one.unnormalize(np.array([[-1.0], [0.5]]))
    found = lerobot_normalize(values, lerobot_stats({"actions": one})["action"], "QUANTILES")
    np.testing.assert_allclose(found, [[-1.0], [0.5]], atol=1e-9)
