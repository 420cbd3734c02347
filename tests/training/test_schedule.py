"""Learning rates by step."""

from __future__ import annotations

import numpy as np
import optax
import pytest

from fastki.config import from_plain, to_plain
from fastki.errors import UsageError
from fastki.training.schedule import Schedule


def rates(schedule: Schedule, steps: list[int]) -> np.ndarray:
    return np.array([float(schedule.rate()(step)) for step in steps])


def test_the_default_is_the_warm_up_and_cosine_of_openpi():
    theirs = optax.warmup_cosine_decay_schedule(2.5e-5 / 1001, 2.5e-5, 1000, 30_000, 2.5e-6)
    steps = [0, 1, 500, 999, 1000, 1001, 15_500, 29_999, 30_000, 99_999]
    np.testing.assert_array_equal(rates(Schedule(), steps), [float(theirs(step)) for step in steps])


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant", "rsqrt"])
def test_every_kind_warms_up_in_equal_strides_to_its_peak(kind):
    schedule = Schedule(kind, peak_lr=0.4, warmup_steps=3, decay_steps=10, decay_lr=0.1)
    np.testing.assert_allclose(rates(schedule, [0, 1, 2, 3]), [0.1, 0.2, 0.3, 0.4], rtol=1e-6)


def test_a_constant_rate_stays():
    np.testing.assert_allclose(rates(Schedule("constant", peak_lr=0.5, warmup_steps=0), [0, 1, 10**6]), 0.5)


def test_a_cosine_is_half_way_down_in_the_middle_and_stays_at_its_end():
    schedule = Schedule(peak_lr=1.0, warmup_steps=10, decay_steps=110, decay_lr=0.2)
    np.testing.assert_allclose(rates(schedule, [60, 110, 5000]), [0.6, 0.2, 0.2], rtol=1e-6)


def test_a_line_falls_in_equal_strides_and_stays_at_its_end():
    schedule = Schedule("linear", peak_lr=1.0, warmup_steps=10, decay_steps=110, decay_lr=0.2)
    np.testing.assert_allclose(rates(schedule, [10, 35, 60, 110, 5000]), [1.0, 0.8, 0.6, 0.2, 0.2], rtol=1e-6)


def test_an_inverse_root_halves_after_three_timescales():
    schedule = Schedule("rsqrt", peak_lr=1.0, warmup_steps=5, timescale=100.0)
    np.testing.assert_allclose(rates(schedule, [5, 305, 1505]), [1, 1 / 2, 1 / 4], rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"peak_lr": 0.0}, "peak_lr must be above 0"),
        ({"peak_lr": float("nan")}, "peak_lr must be above 0"),
        ({"warmup_steps": -1}, "warmup_steps must be 0 or more, not -1"),
        ({"decay_lr": 1.0}, "decay_lr must be from 0 to peak_lr"),
        ({"kind": "linear", "decay_lr": 1.0}, "decay_lr must be from 0 to peak_lr"),
        ({"decay_steps": 1000}, r"decay_steps \(1000\) counts the warm-up too"),
        ({"kind": "rsqrt", "timescale": 0.0}, "timescale must be above 0"),
    ],
)
def test_what_makes_no_schedule_is_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        Schedule(**fields)


def test_an_unknown_field_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'warmup_steps'"):
        from_plain(Schedule, {"warm_up_steps": 1})


def test_there_and_back():
    schedule = Schedule("rsqrt", peak_lr=1e-3, timescale=7.0)
    assert from_plain(Schedule, to_plain(schedule)) == schedule
