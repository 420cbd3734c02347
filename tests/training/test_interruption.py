"""Signals as a flag between two steps."""

from __future__ import annotations

import signal
import threading

import pytest

from fastki.training.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_the_flag_and_stops_nothing(number):
    with Interruption() as interruption:
        assert not interruption.requested
        signal.raise_signal(number)
        assert interruption.requested
        assert interruption.signal_name == number.name


def test_a_second_ctrl_c_stops_at_once():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interruption.requested


@pytest.mark.parametrize("signalled", [False, True])
def test_the_handlers_of_before_are_those_of_after(signalled):
    def mine(number, frame):
        raise AssertionError

    before = {number: signal.signal(number, mine) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with Interruption():
            if signalled:
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_it_may_be_entered_outside_the_main_thread():
    flags = []

    def work():
        with Interruption() as interruption:
            flags.append(interruption.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert flags == [False]
