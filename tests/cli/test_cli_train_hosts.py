"""``fastki train`` in two processes that meet over loopback."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Callable

import pytest
from processes import PATIENCE, wait_until

pytest.importorskip("flax")

from quick_training import RUN, noted, started

from fastki.training.steps import find_steps


@pytest.fixture
def start_pair(tmp_path) -> Callable[..., list[subprocess.Popen[str]]]:
    """``start_pair(*arguments)``: both processes; the second is told who it is by options, the first by variables."""

    def start(*arguments: str) -> list[subprocess.Popen[str]]:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        variables = {"FASTKI_COORDINATOR": address, "FASTKI_PROCESSES": "2", "FASTKI_PROCESS": "0"}
        options = ("--coordinator", address, "--processes", "2", "--process", "1")
        return [started(tmp_path, *arguments, **variables), started(tmp_path, *arguments, *options)]

    return start


def finished(pair: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """What both wrote, once they have ended well."""
    said = [process.communicate(timeout=PATIENCE) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    return said


def test_two_processes_train_stop_save_and_go_on_and_one_tells_of_it(start_pair, tmp_path):
    common = ("--set", "save.eval_examples=4", "--set", "save.eval_every=2", "--tensorboard", "--json")
    pair = start_pair("--steps", "2000", "--set", "save.every=1000", *common)
    wait_until(lambda: len(noted(tmp_path)) >= 4, pair[0])
    pair[1].send_signal(signal.SIGTERM)  # To one of them alone: both stop, at one step.
    (out, _), other = finished(pair)
    result = json.loads(out)
    step, before = result["step"], noted(tmp_path)
    assert [row["step"] for row in before if "loss" in row] == [*range(1, step + 1)]  # Each once: one process writes.
    assert [row["step"] for row in before if "heldout/flow_loss" in row] == [*range(2, step + 1, 2)]
    assert other[0] == ""
    place = tmp_path / RUN / "checkpoints" / str(step)
    assert sorted(file.name for file in (place / "loader").glob("*.json")) == [
        "process_0-of-2.json",
        "process_1-of-2.json",
    ]
    assert find_steps(place.parent).usable == (step,)

    (out, err), other = finished(start_pair("--steps", str(step + 2), *common, "--resume"))
    result = json.loads(out)
    assert (result["step"], result["interrupted"], other[0]) == (step + 2, None, "")
    assert f"going on from step {step}" in err
    after = noted(tmp_path)
    assert after[: len(before)] == before
    assert [row["step"] for row in after[len(before) :] if "loss" in row] == [step + 1, step + 2]
    assert len(list((tmp_path / RUN / "tensorboard").iterdir())) == 2
    assert (tmp_path / RUN / "assets/policy.json").is_file()
    assert (tmp_path / RUN / "figures/losses.png").is_file()


def test_an_address_without_a_port_is_refused(cli):
    code, _, err = cli("train", "--coordinator", "127.0.0.1", "--processes", "2", "--process", "0")
    assert code == 2
    assert "coordinator must be host:port or auto, not '127.0.0.1'" in err
