"""A run that is killed, or stopped, and goes on is the run that never was."""

from __future__ import annotations

import dataclasses
import random
import signal
import time

import pytest
from processes import PATIENCE, wait_until
from toy_process import Toy, metrics_of
from toy_training import ToyRun

SMALL_FILES_ONLY = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
RUN = ToyRun(steps=24, save_every=4, lora=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Metrics by step of a run that nothing befell, and the digest of its last state."""
    folder = tmp_path_factory.mktemp("whole")
    (result,) = Toy((dataclasses.replace(RUN, folder=str(folder)),), devices=1, environment={}).results()
    return metrics_of(folder), result["digest"]


def test_a_run_killed_at_random_goes_on_bit_for_bit(uninterrupted, start_toy, noted, tmp_path):
    seed = random.randrange(10**9)
    rng = random.Random(seed)
    run = dataclasses.replace(RUN, folder=str(tmp_path), pause=0.02)
    for _ in range(2):
        toy = start_toy(run)
        enough = len(noted(tmp_path)) + rng.randint(1, 8)
        wait_until(lambda enough=enough: len(noted(tmp_path)) >= enough, toy.process)
        time.sleep(rng.uniform(0, 0.03))
        toy.process.send_signal(signal.SIGKILL)
        toy.process.communicate()
        assert toy.process.returncode == -signal.SIGKILL
    (result,) = start_toy(dataclasses.replace(run, pause=0.0)).results()
    rows, digest = uninterrupted
    for row in noted(tmp_path):
        assert row == rows[row["step"]], f"seed {seed}"
    assert {row["step"] for row in noted(tmp_path)} == set(range(24))
    assert result["digest"] == digest, f"seed {seed}"


def test_a_run_told_to_stop_saves_where_it_is_and_goes_on_bit_for_bit(uninterrupted, start_toy, noted, tmp_path):
    run = dataclasses.replace(RUN, folder=str(tmp_path), pause=0.02)
    toy = start_toy(run)
    wait_until(lambda: len(noted(tmp_path)) >= 6, toy.process)
    toy.process.send_signal(signal.SIGTERM)
    (stopped,) = toy.results()
    assert 6 <= stopped["step"] < 24
    (result,) = start_toy(dataclasses.replace(run, pause=0.0)).results()
    assert (result["start"], result["step"]) == (stopped["step"], 24)
    assert noted(tmp_path) == uninterrupted[0]  # No step was taken twice.
    assert result["digest"] == uninterrupted[1]


def test_a_disk_that_takes_no_more_stops_the_run_with_one_line(start_toy, noted, tmp_path):
    run = dataclasses.replace(RUN, folder=str(tmp_path), save_every=2, pause=0.1)
    toy = start_toy(run, before=SMALL_FILES_ONLY)
    _, errors = toy.process.communicate(timeout=PATIENCE)
    assert toy.process.returncode == 1
    (line,) = (line for line in errors.splitlines() if line.startswith("fastki.errors.CheckpointError"))
    assert "the checkpoint of step 2 could not be saved in" in line
    assert line.endswith("File too large")
    assert len(noted(tmp_path)) < 20
