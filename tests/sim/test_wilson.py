"""Wilson's interval against values worked out by hand."""

from __future__ import annotations

import pytest

from fastki.sim.wilson import wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),  # z² / (n + z²) = 3.8415 / 13.8415
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),  # (0.5 + 0.19207 ± 1.96 √(0.025 + 0.0096)) / 1.38415
        (1, 20, 0.0089, 0.2361),
    ],
)
def test_by_hand(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("trials", [1, 7, 400])
def test_it_holds_the_rate_and_stays_a_rate(trials):
    for successes in range(trials + 1):
        low, high = wilson(successes, trials)
        assert 0 <= low <= successes / trials <= high <= 1
