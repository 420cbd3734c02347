"""Real episodes of BridgeData V2."""

from __future__ import annotations

import numpy as np
import pytest

from fastki.data import open_dataset
from fastki.errors import DataError


@pytest.fixture(scope="module")
def bridge(shared):
    """25 episodes of ten steps."""
    return open_dataset(shared / "data/bridge_rlds")


def test_what_it_is(bridge):
    info = bridge.info
    assert (info.format, info.preset, info.fps) == ("RLDS (TFDS 1.0.0)", "bridge", 5.0)
    assert info.lengths.tolist() == [10] * 25
    assert (info.action_key, info.state_key) == ("action", "observation/state")
    assert info.action_names == info.state_names == ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    assert set(info.cameras) == {f"observation/image_{i}" for i in range(4)}
    assert "split 'train' is read of train (25 episodes), val (25 episodes, its files are absent)" in info.notes[0]


def test_the_folder_of_the_version_is_the_same_dataset(bridge, shared):
    assert open_dataset(shared / "data/bridge_rlds/1.0.0").info.fingerprint == bridge.info.fingerprint


def test_every_episode(bridge):
    for episode in bridge:
        assert (episode.actions.shape, episode.actions.dtype) == ((10, 7), np.float32)
        assert episode.state.shape == (10, 7)
        assert np.abs(episode.actions[:, :3]).max() < 0.06  # Metres in a fifth of a second.
        assert np.abs(episode.actions[:, 3:6]).max() < 0.3
        moved = np.diff(episode.state[:, :3], axis=0)
        assert np.corrcoef(moved.ravel(), episode.actions[:-1, :3].ravel())[0, 1] > 0.5  # The arm does as it is told.
        assert 0 <= episode.actions[:, 6].min() <= episode.actions[:, 6].max() <= 1
        assert episode.prompt
    assert bridge[4].prompt == "put carrot on plate"


def test_pictures_and_the_camera_that_was_not_there(bridge):
    """All four are denied by ``has_image_*``, yet only the fourth is a placeholder, black throughout."""
    for episode in (bridge[0], bridge[24]):
        assert sorted(episode.images) == [f"observation/image_{i}" for i in range(3)]
        for frames in episode.images.values():
            picture = frames[9]
            assert (len(frames), picture.shape, picture.dtype) == (10, (64, 64, 3), np.uint8)
            assert picture.std() > 20


def test_splits(bridge, shared):
    part = open_dataset(shared / "data/bridge_rlds", split="train[20%:40%]")
    assert part.info.num_episodes == 5
    np.testing.assert_array_equal(part[0].actions, bridge[5].actions)
    with pytest.raises(DataError, match=r"the files of split 'val' are not there .* choose another with --split NAME"):
        open_dataset(shared / "data/bridge_rlds", split="val")
