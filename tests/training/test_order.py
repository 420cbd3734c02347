"""The order of a run: every window once an epoch, co-training's share, nothing but seed and place matters."""

from __future__ import annotations

import numpy as np
import pytest

from fastki.training.order import HAND, Order


def test_every_epoch_has_every_window_once_in_an_order_of_its_own():
    is_line, numbers = Order(50, seed=3).at(0, 200)
    epochs = numbers.reshape(4, 50)
    assert not is_line.any()
    assert [sorted(epoch) for epoch in epochs.tolist()] == [list(range(50))] * 4
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4


def test_the_seed_decides_and_a_seed_is_no_other_seeds_later_epoch():
    orders = [tuple(Order(30, seed=seed).at(epoch * 30, 30)[1].tolist()) for seed in range(4) for epoch in range(4)]
    assert len(set(orders)) == 16
    np.testing.assert_array_equal(Order(30, seed=1).at(0, 90), Order(30, seed=1).at(0, 90))


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.37, 1.0])
def test_what_stands_at_a_place_does_not_depend_on_how_it_is_asked_for(weight):
    order = Order(41, 7, weight, seed=2)
    whole = order.at(0, 4 * HAND)
    for step in (1, 17, 500):
        parts = [order.at(first, step) for first in range(HAND - 60, HAND + 3 * step, step)]
        for place in (0, 1):
            joined = np.concatenate([part[place] for part in parts])
            np.testing.assert_array_equal(joined, whole[place][HAND - 60 :][: len(joined)])


@pytest.mark.parametrize("weight", [0.0, 0.003, 0.1, 0.5, 0.9, 1.0])
def test_cotraining_has_its_share_of_every_hand_and_each_goes_round_in_epochs(weight):
    order, count = Order(90, 20, weight, seed=5), 5 * HAND
    is_line, numbers = order.at(0, count)
    shares = is_line.reshape(-1, HAND).sum(axis=1)
    assert np.abs(shares - weight * HAND).max() <= 1
    assert abs(int(is_line.sum()) - weight * count) <= 1
    for what, size in ((numbers[is_line], 20), (numbers[~is_line], 90)):
        assert np.bincount(what, minlength=1).max(initial=0) - len(what) // size in (0, 1)
    before = [order.windows_before(place) for place in (0, 1, 100, HAND, count)]
    assert before == [int((~is_line[:place]).sum()) for place in (0, 1, 100, HAND, count)]


def test_places_of_cotraining_are_drawn_not_regular():
    is_line, _ = Order(90, 20, 0.25, seed=5).at(0, 4 * HAND)
    gaps = np.diff(np.flatnonzero(is_line))
    assert gaps.min() == 1
    assert gaps.max() > 10
    other, _ = Order(90, 20, 0.25, seed=6).at(0, 4 * HAND)
    assert (other != is_line).mean() > 0.2


def test_far_places_cost_no_more_than_near_ones():
    order = Order(10**7, 10**6, 0.2, seed=0)
    is_line, numbers = order.at(10**12, 64)
    assert 0 <= numbers.min() <= numbers.max() < 10**7
    assert 0 < is_line.sum() < 32
