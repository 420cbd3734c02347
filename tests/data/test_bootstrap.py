"""Intervals of means over frames, whole episodes drawn anew."""

from __future__ import annotations

import numpy as np
import pytest

from fastki.data.bootstrap import bootstrap_interval, inner, resampled_means


def test_the_interval_is_over_episodes_not_chunks():
    rng = np.random.default_rng(0)
    episode = np.repeat(np.arange(10, dtype=np.int32), 100)
    level = rng.normal(30, 5, size=10)
    counts = np.round(level[episode] + rng.normal(size=1000)).astype(np.int64)
    low, high = bootstrap_interval(counts, episode, seed=0)
    assert low < counts.mean() < high
    expected = 2 * 1.96 * np.std([counts[episode == one].mean() for one in range(10)]) / np.sqrt(10)
    assert high - low == pytest.approx(expected, rel=0.15)
    assert bootstrap_interval(counts, episode, seed=0) == (low, high)
    assert bootstrap_interval(counts, np.zeros(1000, dtype=np.int32), seed=0) == (None, None)


def test_each_draw_is_a_mean_over_whole_episodes():
    values = np.array([[0.0, 10.0], [0.0, 10.0], [3.0, 40.0]])
    draws = resampled_means(values, np.array([5, 5, 9]), seed=0, draws=200)
    # Two episodes of two frames and one: twice the first, one of each, twice the second.
    possible = {(0.0, 10.0), (1.0, 20.0), (3.0, 40.0)}
    assert {tuple(row) for row in draws.tolist()} == possible
    assert inner(draws).tolist() == [[0.0, 3.0], [10.0, 40.0]]


def test_columns_are_drawn_together():
    rng = np.random.default_rng(0)
    values, episode = rng.normal(size=60), np.repeat(np.arange(6), 10)
    draws = resampled_means(np.stack([values, 2 * values], axis=1), episode, seed=3)
    np.testing.assert_allclose(draws[:, 1], 2 * draws[:, 0], atol=1e-12)


def test_too_few_episodes_have_no_interval():
    values, episode = np.arange(4.0), np.array([0, 0, 1, 1])
    assert bootstrap_interval(values, episode, seed=0, least=3) == (None, None)
    low, high = bootstrap_interval(values, episode, seed=0)
    assert (low, high) == (0.5, 2.5)
