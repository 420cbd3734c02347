"""Other rates, and datasets without the episodes that cannot be read."""

from __future__ import annotations

import numpy as np
import pytest

from fastki.data import open_dataset
from fastki.errors import DataError, UsageError


@pytest.fixture
def recording(tmp_path):
    """Two episodes at 10 Hz, 5 and 3 frames: x rises by 1 a frame, the gripper closes at frame 2."""
    x = np.array([0.0, 1, 2, 3, 4, 10, 11, 12])
    gripper = np.array([0.0, 0, 1, 1, 1, 0, 0, 1])
    frames = np.stack([x, gripper], axis=1)
    path = tmp_path / "recording.npz"
    np.savez(path, actions=frames, state=frames + 100, episode_ends=[5, 8], fps=10.0, names=["x", "gripper"])
    return path


def test_twice_the_rate_by_hand(recording):
    dataset = open_dataset(recording, fps=20, hold="gripper")
    assert (dataset.info.fps, dataset.info.lengths.tolist()) == (20, [9, 5])
    episode = dataset[0]
    assert episode.fps == 20
    np.testing.assert_allclose(episode.actions[:, 0], np.arange(9) / 2)
    assert episode.actions[:, 1].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(episode.state, episode.actions + 100)
    assert open_dataset(recording, fps=20)[0].actions[3, 1] == 0.5, "without --hold it is interpolated"


@pytest.mark.parametrize(("fps", "lengths"), [(5, [3, 2]), (30, [13, 7]), (7, [3, 2]), (1, [1, 1]), (10.0, [5, 3])])
def test_other_rates(recording, fps, lengths):
    dataset = open_dataset(recording, fps=fps)
    assert dataset.info.lengths.tolist() == lengths
    for episode in dataset:
        wanted = episode.actions[0, 0] + np.arange(len(episode)) * 10 / fps
        np.testing.assert_allclose(episode.actions[:, 0], wanted, rtol=1e-12)


def test_the_recorded_frames_survive_a_multiple_of_the_rate(recording):
    original, finer = open_dataset(recording), open_dataset(recording, fps=70)
    for before, after in zip(original, finer, strict=True):
        np.testing.assert_array_equal(after.actions[::7], before.actions)


def test_images_are_those_of_the_frame_before():
    original = open_dataset("synthetic:droid?episodes=1&size=16")[0]
    episode = open_dataset("synthetic:droid?episodes=1&size=16", fps=30)[0]
    frames, recorded = episode.images["wrist_image_left"], original.images["wrist_image_left"]
    assert len(frames) == len(episode) == 2 * len(original) - 1
    np.testing.assert_array_equal(frames[21], recorded[10])
    np.testing.assert_array_equal(frames[20], recorded[10])


def test_the_robots_grippers_are_held_by_default():
    original = open_dataset("synthetic:droid?episodes=1")[0]
    episode = open_dataset("synthetic:droid?episodes=1", fps=45)[0]
    for array, recorded in ((episode.actions, original.actions), (episode.state, original.state)):
        np.testing.assert_array_equal(array[:, 7], np.repeat(recorded[:, 7], 3)[: len(episode)])
    assert not np.array_equal(episode.actions[1::3, 0], original.actions[:-1, 0])


def test_fingerprints_tell_rates_apart(recording):
    ways = ((5, None), (5, "1"), (6, None))
    prints = {open_dataset(recording, fps=fps, hold=hold).info.fingerprint for fps, hold in ways}
    assert len(prints | {open_dataset(recording).info.fingerprint}) == 4
    assert open_dataset(recording, fps=10).info.fingerprint == open_dataset(recording).info.fingerprint


def test_rates_that_cannot_be(recording, tmp_path):
    np.save(tmp_path / "plain.npy", np.ones((5, 2)))
    with pytest.raises(DataError, match=r"rate is unknown.*leave --fps out"):
        open_dataset(tmp_path / "plain.npy", fps=5)
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="--fps"):
            open_dataset(recording, fps=fps)
    with pytest.raises(UsageError, match="thousand times"):
        open_dataset(recording, fps=1e9)
    with pytest.raises(UsageError, match="needs --fps"):
        open_dataset(recording, hold="1")
    with pytest.raises(UsageError, match="no dimension 'grip'"):
        open_dataset(recording, fps=5, hold="grip")


def test_bad_episodes_are_left_out_and_listed(make_lerobot, some_episodes):
    some_episodes[1]["action"][2, 0] = np.nan
    some_episodes[3]["action"] = some_episodes[3]["action"][:, :2]
    root = make_lerobot(some_episodes)
    with pytest.raises(DataError, match="episode 3 has 2 action dimensions"):
        open_dataset(root)[3]
    (root / "data/chunk-001/episode_000002.parquet").write_bytes(b"nothing")
    dataset = open_dataset(root, skip_bad=True)
    assert dataset.info.lengths.tolist() == [9, 20]
    np.testing.assert_array_equal(dataset[1].actions, some_episodes[4]["action"])
    assert [episode.index for episode in dataset] == [0, 1]
    notes = " ".join(dataset.info.notes)
    assert "left out 3 of 5 episodes: 1, 2, 3" in notes
    assert "episode 1 left out: episode 1, action: nan at frame 2" in notes


def test_nothing_is_left_out_of_good_data(recording):
    dataset = open_dataset(recording, skip_bad=True)
    assert dataset.info.fingerprint == open_dataset(recording).info.fingerprint
    assert not dataset.info.notes


def test_data_of_which_nothing_can_be_read(tmp_path):
    np.savez(tmp_path / "nan.npz", actions=np.full((8, 2), np.nan), episode_ends=[5, 8])
    with pytest.raises(DataError, match="none of its 2 episodes can be read"):
        open_dataset(tmp_path / "nan.npz", skip_bad=True)
