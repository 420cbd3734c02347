"""LeRobot v3.0 datasets that fastki writes are read again as they were, and are laid out as LeRobot reads them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("av")

from lerobot_driver import DATASET, run_lerobot

from fastki import open_dataset
from fastki.data.formats import lerobot_video, lerobot_write
from fastki.data.formats.lerobot_stats import column_stats, histogram, picture_stats
from fastki.data.formats.lerobot_write import Demonstration, Description, write_lerobot
from fastki.errors import DataError

CAMERA = "observation.images.front"
NAMES = {"action": ("x", "y", "z", "gripper"), "observation.state": ("a", "b")}
LENGTHS = (5, 9, 1)
TASKS = ("reach", "pick", "reach")


def demonstration(number: int, length: int) -> Demonstration:
    rng = np.random.default_rng(number)
    pictures = np.full((length, 32, 48, 3), (140, 100, 70), np.uint8)
    for frame in range(length):
        pictures[frame, 4 + frame : 8 + frame, 10 + 5 * number : 14 + 5 * number] = (250, 30, 20)
    columns = {key: rng.normal(size=(length, len(names))).astype(np.float32) for key, names in NAMES.items()}
    return Demonstration(TASKS[number % 3], columns, {CAMERA: pictures})


@pytest.fixture(scope="module")
def episodes():
    return [demonstration(number, length) for number, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, episodes):
    path = tmp_path_factory.mktemp("written")
    write_lerobot(path, episodes, Description(20, "toy", NAMES))
    return path


def test_what_was_written_is_read_again(folder, episodes):
    dataset = open_dataset(folder)
    assert (dataset.info.fps, dataset.info.action_names, dataset.info.cameras) == (20, NAMES["action"], (CAMERA,))
    assert dataset.info.lengths.tolist() == list(LENGTHS)
    for read, written in zip(dataset, episodes, strict=True):
        assert read.prompt == written.task
        np.testing.assert_array_equal(read.actions, written.columns["action"])
        np.testing.assert_array_equal(read.state, written.columns["observation.state"])
        for frame, picture in enumerate(written.images[CAMERA]):
            assert np.abs(read.images[CAMERA][frame].astype(int) - picture).max() < 24


def test_lerobot_itself_reads_what_was_written(folder):
    read = run_lerobot(DATASET, folder, "0.05")
    assert (read["episodes"], read["frames"], read["fps"]) == (3, 15, 20)
    ours = [frame for episode in open_dataset(folder) for frame in _frames(episode)]
    for theirs, mine in zip(read["read"], ours, strict=True):
        assert theirs["task"] == mine["task"]
        for name in ("action", "observation.state"):
            np.testing.assert_array_equal(np.float32(theirs[name]), mine[name])
        np.testing.assert_array_equal(np.rint(np.float64(theirs[CAMERA]) * 255).transpose(1, 2, 0), mine[CAMERA])
    # A chunk ends with its episode: the last action is repeated.
    assert [frame["action_is_pad"] for frame in read["read"][3:6]] == [[False, False], [False, True], [False, False]]
    action = np.concatenate([episode.actions for episode in open_dataset(folder)])
    np.testing.assert_allclose(read["mean"], action.mean(axis=0), rtol=1e-5)


def _frames(episode):
    return [
        {
            "task": episode.prompt,
            "action": episode.actions[[frame, min(frame + 1, len(episode.actions) - 1)]],
            "observation.state": episode.state[frame],
            CAMERA: episode.images[CAMERA][frame],
        }
        for frame in range(len(episode.actions))
    ]


def test_large_data_go_into_several_files(tmp_path, episodes, monkeypatch):
    monkeypatch.setattr(lerobot_write, "_LARGEST", 1)
    monkeypatch.setattr(lerobot_video, "_LARGEST", -1)
    write_lerobot(tmp_path, episodes, Description(20, "toy", NAMES))
    assert len(list(tmp_path.glob("data/chunk-000/*.parquet"))) == len(list(tmp_path.glob("videos/*/*/*.mp4"))) == 3
    dataset = open_dataset(tmp_path)
    np.testing.assert_array_equal(dataset[1].actions, episodes[1].columns["action"])
    assert np.abs(dataset[2].images[CAMERA][0].astype(int) - episodes[2].images[CAMERA][0]).max() < 24


def test_the_tables_are_those_of_lerobot(folder):
    info = json.loads((folder / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["splits"]) == ("v3.0", 20, {"train": "0:3"})
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 15, 2)
    assert info["features"]["timestamp"] == {"dtype": "float32", "shape": [1], "names": None}
    data = pq.read_table(folder / "data/chunk-000/file-000.parquet")
    assert set(data.column_names) == set(info["features"]) - {CAMERA}
    assert data["index"].to_pylist() == list(range(15))
    np.testing.assert_allclose(data["timestamp"].to_pylist()[5:14], np.arange(9) / 20, rtol=1e-6)
    rows = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in rows] == [(0, 5), (5, 14), (14, 15)]
    starts = [row[f"videos/{CAMERA}/from_timestamp"] for row in rows]
    np.testing.assert_allclose(starts, [0, 0.25, 0.7])
    assert rows[1]["stats/action/count"] == [9]


def test_tasks_are_the_index_of_a_pandas_table(folder):
    table = pq.read_table(folder / "meta/tasks.parquet")
    assert table.to_pydict() == {"task_index": [0, 1], "task": ["reach", "pick"]}
    assert json.loads(table.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_statistics_are_of_all_frames(folder, episodes):
    stats = json.loads((folder / "meta/stats.json").read_text())
    actions = np.concatenate([episode.columns["action"] for episode in episodes])
    np.testing.assert_allclose(stats["action"]["std"], actions.std(axis=0), rtol=1e-5)
    pictures = np.concatenate([episode.images[CAMERA] for episode in episodes]) / 255
    np.testing.assert_allclose(np.ravel(stats[CAMERA]["mean"]), pictures.mean(axis=(0, 1, 2)))
    assert np.shape(stats[CAMERA]["q99"]) == (3, 1, 1)


def test_picture_statistics_by_hand():
    pictures = np.array([[[[0]], [[255]]], [[[0]], [[0]]]], np.uint8)
    stats = picture_stats(histogram(pictures), 2)
    assert (stats["min"], stats["max"], stats["mean"], stats["count"]) == ([[[0]]], [[[1]]], [[[0.25]]], [2])
    assert stats["std"][0][0][0] == pytest.approx(3**0.5 / 4)
    assert (stats["q50"], stats["q90"]) == ([[[0]]], [[[1]]])
    assert column_stats(np.array([[1.0, 5.0], [3.0, 5.0]]))["std"] == [1.0, 0.0]


def test_an_episode_that_does_not_fit_is_refused(tmp_path, episodes):
    other = demonstration(0, 3)
    short = Demonstration("reach", {**other.columns, "action": other.columns["action"][:2]}, other.images)
    with pytest.raises(DataError, match=r"episode 1 has .* lengths \[2, 3\]"):
        write_lerobot(tmp_path, [episodes[0], short], Description(20, "toy", NAMES))
    with pytest.raises(DataError, match="no episode"):
        write_lerobot(tmp_path / "none", [], Description(20, "toy", NAMES))
