"""The share of time spent waiting for data, by a clock in the test's hand."""

from __future__ import annotations

import pytest

from fastki.training.waiting import Waiting


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_share_is_the_wait_over_all_time():
    clock = Clock()
    waiting = Waiting(clock)

    def batches():
        for number in range(3):
            clock.now += 1.0
            yield number

    for _ in waiting.over(batches()):
        clock.now += 3.0
    assert (waiting.seconds, waiting.share) == (3.0, 0.25)


def test_resetting_begins_anew_in_the_middle_of_a_run():
    clock = Clock()
    waiting = Waiting(clock)
    source = waiting.over(iter([1, 2]))
    next(source)
    clock.now = 50.0
    waiting.reset()
    assert (waiting.seconds, waiting.share) == (0.0, 0.0)
    clock.now = 60.0
    next(source)
    assert waiting.share == 0.0


def test_an_error_of_the_data_comes_through():
    def broken():
        yield 1
        raise OSError("gone")

    source = Waiting(Clock()).over(broken())
    assert next(source) == 1
    with pytest.raises(OSError, match="gone"):
        next(source)
