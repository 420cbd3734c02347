"""Processes that train together."""

from __future__ import annotations

import signal
import socket

import numpy as np
import pytest
from processes import wait_until
from toy_training import ToyRun

from fastki.errors import UsageError
from fastki.training.hosts import Hosts, any_process, hosts_of, join


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def start_pair(start_toy):
    """``start_pair(*runs)``: two processes with two devices each, which meet over loopback."""

    def start(*runs):
        address = f"127.0.0.1:{free_port()}"
        shared = {"FASTKI_COORDINATOR": address, "FASTKI_PROCESSES": "2"}
        return [
            start_toy(*runs, devices=2, environment={**shared, "FASTKI_PROCESS": str(number)}) for number in range(2)
        ]

    return start


def test_two_processes_train_stop_save_and_go_on_together(start_pair, start_toy, noted, tmp_path):
    run = ToyRun(steps=10_000, folder=str(tmp_path), save_every=5, fsdp=2, pause=0.02)
    pair = start_pair(run)
    wait_until(lambda: len(noted(tmp_path)) >= 7, pair[0].process)
    pair[1].process.send_signal(signal.SIGTERM)  # To one of them alone: both have to stop, at one step.
    (first,), (second,) = (process.results() for process in pair)
    assert 7 <= first["step"] < 10_000
    assert (first["step"], first["digest"], first["losses"]) == (second["step"], second["digest"], second["losses"])

    stopped = ToyRun(steps=first["step"], folder=str(tmp_path), fsdp=4)
    further = ToyRun(steps=first["step"] + 2, folder=str(tmp_path), fsdp=2, save_every=1)
    for restored, gone_on in [process.results() for process in start_pair(stopped, further)]:
        assert (restored["start"], restored["digest"]) == (first["step"], first["digest"])
        assert len(gone_on["losses"]) == 2

    alone, all_along = start_toy(further, ToyRun(steps=first["step"] + 2), devices=2).results()
    assert (alone["start"], alone["digest"]) == (first["step"] + 2, gone_on["digest"])  # One process reads two's.
    np.testing.assert_allclose(first["losses"] + gone_on["losses"], all_along["losses"], rtol=1e-5)


def test_one_process_needs_nobody():
    join(Hosts())
    assert any_process(True)
    assert not any_process(False)


def test_what_is_left_open_comes_from_the_environment():
    environment = {"FASTKI_COORDINATOR": "head:1234", "FASTKI_PROCESSES": "4", "FASTKI_PROCESS": "3"}
    assert hosts_of(Hosts(), environment) == Hosts("head:1234", 4, 3)
    assert hosts_of(Hosts("other:99", 2, 0), environment) == Hosts("other:99", 2, 0)
    assert hosts_of(Hosts("auto"), environment) == Hosts("auto")
    assert hosts_of(Hosts(), {}) == Hosts()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("head", 2, 0), "coordinator must be host:port or auto, not 'head'"),
        (("head:99999", 2, 0), "coordinator must be host:port or auto"),
        (("head:1", None, 0), "needs processes .* and process .* too"),
        (("head:1", 2, None), "needs processes .* and process .* too"),
        (("head:1", 2, 2), r"process must be from 0 to below processes \(2\), not 2"),
        ((None, 2, 0), "go with a coordinator's host:port"),
        (("auto", 2, 0), "go with a coordinator's host:port"),
    ],
)
def test_what_makes_no_group_is_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        Hosts(*fields)


def test_a_variable_that_is_no_number_is_refused():
    with pytest.raises(UsageError, match="FASTKI_PROCESSES must be a number from 0, not 'two'"):
        hosts_of(Hosts(), {"FASTKI_COORDINATOR": "head:1", "FASTKI_PROCESSES": "two", "FASTKI_PROCESS": "0"})


def test_no_cluster_is_known_here():
    with pytest.raises(UsageError, match="did not meet at coordinator auto"):
        join(Hosts("auto"))
