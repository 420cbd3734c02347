"""Statistics of values that stream by: the same as those of all values, within what is promised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastki.data.sketch import QuantileSketch
from fastki.data.stats import RunningStats

SHARES = (0.0, 0.01, 0.5, 0.99, 1.0)
PROMISE = 1e-3  # Of the range; the sketch's own bound is 1/4,095.
RNG = np.random.default_rng(0)
KINDS = {
    "normal": RNG.normal(size=40_000),
    "heavy tails": RNG.standard_cauchy(40_000),
    "constant": np.full(40_000, 3.7),
    "zeros": np.zeros(40_000),
    "far from 0": 1e6 + RNG.random(40_000),
    "two lumps": np.where(RNG.random(40_000) < 0.01, 0.0, 1e3),
    "tiny": RNG.normal(size=40_000) * 1e-200,
    "huge": RNG.normal(size=40_000) * 1e99,
    "whole numbers": RNG.integers(0, 3, 40_000).astype(float),
    "drifting": np.cumsum(RNG.normal(size=40_000)),
    "first still, then moving": np.r_[np.zeros(30_000), RNG.random(10_000)],
    "gripper": np.round(RNG.random(40_000)),
}
VALUES = np.stack(list(KINDS.values()), axis=1)


def assert_as_promised(found, values):
    expected, span = np.quantile(values, SHARES, axis=0), np.ptp(values, axis=0)
    assert (np.abs(found - expected) <= PROMISE * span).all()


@pytest.mark.parametrize("batch", [7, 1000, 40_000])
def test_quantiles_keep_the_promise_on_every_kind_of_values(batch):
    sketch = QuantileSketch(len(KINDS))
    for start in range(0, len(VALUES), batch):
        sketch.update(VALUES[start : start + batch])
    assert_as_promised(sketch.quantiles(SHARES), VALUES)


def test_parts_merge_into_the_whole_whatever_each_has_seen():
    whole, one, other = (QuantileSketch(len(KINDS)) for _ in range(3))
    for i, part in enumerate(np.array_split(VALUES, 40)):
        whole.update(part)
        (one if i % 3 else other).update(part)
    one.merge(other)
    one.merge(QuantileSketch(len(KINDS)))
    np.testing.assert_allclose(one.quantiles(SHARES), whole.quantiles(SHARES), rtol=1e-12)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e60, 1e60, allow_subnormal=False), min_size=1, max_size=60),
    st.integers(1, 60),
)
def test_quantiles_of_any_values(values, cut):
    rows = np.array(values)[:, None]
    one, other = QuantileSketch(1), QuantileSketch(1)
    one.update(rows[:cut])
    other.update(rows[cut:])
    one.merge(other)
    expected, span = np.quantile(rows, SHARES, axis=0), np.ptp(rows)
    # Beside the promise, what float64 itself cannot tell apart at this magnitude.
    assert (np.abs(one.quantiles(SHARES) - expected) <= PROMISE * span + 1e-14 * np.abs(rows).max()).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.sampled_from([24, 10**6]), st.integers(0, 8))
def test_running_stats_are_those_of_all_rows(sizes, limit, cut):
    rows = np.random.default_rng(sum(sizes)).normal(size=(sum(sizes) + 1, 2)) * 3 + 7
    stats, other = RunningStats(exact_values=limit), RunningStats(exact_values=limit)
    for i, part in enumerate(np.split(rows, np.cumsum(sizes))):
        (stats if i < cut else other).update(part)
    stats.merge(other)
    summary = stats.summary()
    assert stats.count == len(rows)
    np.testing.assert_allclose(summary.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(summary.std, rows.std(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal([summary.min, summary.max], [rows.min(axis=0), rows.max(axis=0)])
    expected = np.quantile(rows, [0.01, 0.99], axis=0)
    slack = 0 if rows.size <= limit else PROMISE * np.ptp(rows, axis=0)
    assert (np.abs([summary.q01, summary.q99] - expected) <= slack + 1e-15).all()


def test_memory_does_not_grow_with_the_number_of_rows():
    stats = RunningStats(exact_values=1000)
    for _ in range(200):
        stats.update(RNG.normal(size=(500, 4)))
    held = sum(array.nbytes for array in vars(stats).values() if isinstance(array, np.ndarray))
    held += sum(array.nbytes for array in vars(stats._sketch).values())
    assert held < 300_000
    assert not stats._kept
