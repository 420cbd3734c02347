"""The benchmark of batches runs and reports what it says it does; nothing here depends on a timing."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from benchmarks import batches
from benchmarks.batches import MappedDroid, main
from fastki.data import open_dataset
from fastki.data.robots import SLOTS


@pytest.fixture(autouse=True)
def all_cores():
    """The benchmark keeps to two cores; the tests after it need not."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    if cores is not None:
        os.sched_setaffinity(0, cores)


def test_a_small_run_prints_the_table_and_writes_every_number(tmp_path, capsys):
    path = tmp_path / "numbers.json"
    assert main(["--small", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    for part in ("Machine: ", "3 pictures of 224 × 224", "tokens alone", "20,000", "core-second"):
        assert part in printed
    numbers = json.loads(path.read_text())
    assert [row["what"] for row in numbers["rows"]] == ["images", "tokens"]
    for row in numbers["rows"]:
        assert row["examples"] % 32 == 0 < row["examples"]
        assert 0 < row["slowest_per_s"] <= row["median_per_s"] <= row["examples_per_s"]
        assert row["per_core_s"] > 0


def test_a_run_that_is_slower_than_promised_fails(monkeypatch):
    row = {"what": "tokens", "examples": 32, "promised": 10, "median_per_s": 9.0, "slowest_per_s": 9.0}
    row |= {"examples_per_s": 9.0, "per_core_s": 9.0}
    machine = {"cpu": "", "cores": 2, "python": "", "packages": {}}
    monkeypatch.setattr(batches, "run", lambda plan: {"machine": machine, "rows": [row]})
    assert main([]) == 1
    row["examples_per_s"] = 11.0
    assert main([]) == 0


def test_the_recording_is_its_source_with_pictures(tmp_path):
    source = open_dataset("synthetic:droid?episodes=3")
    mapped = MappedDroid(tmp_path, source, 2)
    for episode, original in zip(mapped, source, strict=True):
        np.testing.assert_array_equal(episode.actions, original.actions)
        np.testing.assert_array_equal(episode.state, original.state)
        assert episode.prompt == original.prompt
    pictures = [mapped[1].images[slot][0] for slot in SLOTS]
    assert {picture.shape for picture in pictures} == {(224, 224, 3)}
