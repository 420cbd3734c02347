"""The ingest benchmark runs and reports what it says it does; nothing here depends on a timing."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from benchmarks import ingest, perframe
from benchmarks.ingest import SMALL, main
from benchmarks.recordings import Recording
from fastki.data import open_dataset


@pytest.fixture(autouse=True)
def all_cores():
    """The benchmark keeps to two cores; the tests after it need not."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    if cores is not None:
        os.sched_setaffinity(0, cores)


@pytest.fixture(autouse=True)
def without_datasets(monkeypatch):
    """The stand-in for the library ``datasets``, which not every machine has."""
    monkeypatch.setattr(perframe.importlib.util, "find_spec", lambda name: None)


def test_a_small_run_prints_the_table_and_writes_every_number(tmp_path, capsys):
    path = tmp_path / "numbers.json"
    assert main(["--small", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    for part in ("Machine: ", "pyarrow", "datasets is not installed", "v3.0", "v2.1", "frame by frame"):
        assert part in printed
    numbers = json.loads(path.read_text())
    assert numbers["machine"]["cores"] <= 2
    assert [row["recording"] for row in numbers["rows"]] == [recording.title for recording in SMALL.recordings]
    for row, recording in zip(numbers["rows"], SMALL.recordings, strict=True):
        assert row["frames"] == row["episodes"] * 40 == recording.episodes * 40
        for way in ("actions", "with_state", "for_a_fit", "per_frame"):
            assert row[way]["frames_per_s"] > 0
            assert row[way]["repetitions"] >= 2
        assert row["ratio"] == row["actions"]["frames_per_s"] / row["per_frame"]["frames_per_s"]


def test_a_run_that_is_slower_than_promised_fails(monkeypatch):
    row = {"recording": "it", "episodes": 1, "frames": 1, "promised": 10, "ratio": 1.0}
    row |= {way: {"frames_per_s": 9.0} for way in ("actions", "with_state", "for_a_fit", "per_frame")}
    machine = {"cpu": "", "cores": 2, "python": "", "packages": {}}
    results = {"machine": machine, "horizon": 16, "per_frame": "", "rows": [row]}
    monkeypatch.setattr(ingest, "run", lambda plan: results)
    assert main([]) == 1
    row["actions"]["frames_per_s"] = 11.0
    assert main([]) == 0


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_recordings_are_datasets(tmp_path, version):
    Recording("", version, episodes=5, frames=12, episodes_per_file=2).write(tmp_path / "made")
    dataset = open_dataset(tmp_path / "made")
    assert (dataset.info.format, dataset.info.fps) == (f"LeRobot {version}", 30.0)
    assert dataset.info.lengths.tolist() == [12] * 5
    assert (dataset.info.action_dim, dataset.info.state_dim) == (8, 8)
    assert [episode.prompt for episode in dataset][:2] == ["pick it up", "put it down"]
    assert np.ptp(dataset[4].actions) > 0


def test_frames_come_with_their_next_actions_the_last_repeated(tmp_path):
    Recording("", "v3.0", episodes=3, frames=12).write(tmp_path / "made")
    reader = perframe.ArrowRows(tmp_path / "made", 12, tmp_path)
    item = reader.item(12 + 9, 5)
    assert (int(item["episode_index"]), int(item["frame_index"])) == (1, 9)
    expected = open_dataset(tmp_path / "made")[1].actions[[9, 10, 11, 11, 11]]
    np.testing.assert_array_equal(item["action"], expected)
