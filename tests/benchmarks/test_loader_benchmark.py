"""The benchmark of the loader runs and reports what it says it does; nothing here depends on a timing."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest

from benchmarks import loader
from benchmarks.loader import MappedDroid, main
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
    assert main(["--small", "--workers", "0,1", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    for part in ("Machine: ", "3 pictures of 224 × 224", "2 drawn pictures of 56 × 56", "tokens alone", "20,000"):
        assert part in printed
    rows = json.loads(path.read_text())["rows"]
    kinds = ("mapped", "synthetic", "tokens")
    assert [(row["what"], row["workers"]) for row in rows] == [(what, count) for what in kinds for count in (0, 1)]
    for row in rows:
        assert row["examples"] % 32 == 0 < row["examples"]
        assert row["first"] > 0
        assert 0 < row["later"] <= row["best"]
        assert ("promised" in row) == (row["workers"] == 0)


def test_a_run_that_is_slower_than_promised_fails(monkeypatch):
    row = {"what": "tokens", "workers": 0, "examples": 32, "promised": 10, "when": "best", "first": 99.0, "later": 8.0}
    row["best"] = 9.0
    machine = {"cpu": "", "cores": 2, "python": "", "packages": {}}
    monkeypatch.setattr(loader, "run", lambda plan, workers: {"machine": machine, "rows": [row]})
    assert main([]) == 1
    row["best"] = 11.0
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


def test_the_recording_goes_to_other_processes_by_its_folder(tmp_path):
    mapped = MappedDroid(tmp_path, open_dataset("synthetic:droid?episodes=2"), 1)
    data = pickle.dumps(mapped)
    assert len(data) < 10_000
    np.testing.assert_array_equal(pickle.loads(data)[1].actions, mapped[1].actions)
