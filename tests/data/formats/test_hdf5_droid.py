from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
from hdf5_makers import droid_metadata, write_droid

from fastki.data import open_dataset
from fastki.errors import DataError

DAY = "success/2023-07-07"


def write_video(path, pictures, *, rate=60):
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def greys(frames, *, seed):
    """A picture of one grey each frame ``[T, 32, 48, 3]``."""
    values = np.random.default_rng(seed).permutation(frames) * (200 // frames) + 20
    return np.broadcast_to(values.astype(np.uint8)[:, None, None, None], (frames, 32, 48, 3)).copy()


def episode_with_videos(folder, *, seed=0, serials=("111", "222", "333"), frames=6):
    """An episode's folder, and serial number → what its camera saw."""
    write_droid(folder, frames, seed=seed, metadata=droid_metadata())
    seen = {serial: greys(frames + 2, seed=int(serial) + seed) for serial in serials}
    for serial, pictures in seen.items():
        write_video(folder / f"recordings/MP4/{serial}.mp4", pictures)
    return seen


def test_a_tree_of_episodes_as_released(tmp_path):
    for i, lab in enumerate(("LAB", "ANOTHER", "LAB")):
        folder = tmp_path / "raw" / lab / DAY / f"Fri_Jul__7_09:4{i}:39_2023"
        write_droid(folder, 6 + i, seed=i, metadata=droid_metadata(f"task {i}"))
    told = []
    dataset = open_dataset(tmp_path / "raw", progress=lambda done, total: told.append((done, total)))
    info = dataset.info
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert (info.format, info.fps, info.preset, info.action_kind) == ("DROID raw HDF5", 15.0, "droid", "velocity")
    assert info.action_key == "action/joint_velocity,action/gripper_position"
    assert info.state_key == "observation/robot_state/joint_positions,observation/robot_state/gripper_position"
    assert (info.action_dim, info.state_dim, info.grippers) == (8, 8, (7,))
    assert info.lengths.tolist() == [7, 6, 8]  # ANOTHER before LAB.
    assert [episode.prompt for episode in dataset] == ["task 1", "task 0", "task 2"]
    assert any("15 Hz is taken, as DROID records" in note for note in info.notes)
    with h5py.File(tmp_path / "raw/LAB" / DAY / "Fri_Jul__7_09:40:39_2023/trajectory.h5") as file:
        actions = np.column_stack([file["action/joint_velocity"], file["action/gripper_position"]])
        state = file["observation/robot_state"]
        np.testing.assert_array_equal(dataset[1].actions, actions)
        np.testing.assert_array_equal(
            dataset[1].state, np.column_stack([state["joint_positions"], state["gripper_position"]])
        )
    assert dataset.read(1, state=False).state is None


def test_an_episode_folder_and_its_file_are_datasets_too(tmp_path):
    folder = write_droid(tmp_path / "episode", metadata=droid_metadata())
    for path in (folder, folder / "trajectory.h5"):
        dataset = open_dataset(path)
        assert (len(dataset), dataset.info.preset, dataset[0].prompt) == (1, "droid", "put the cup in the sink")


def test_keys_are_those_of_every_recording_and_any_may_be_the_action(tmp_path):
    folder = write_droid(tmp_path / "episode")
    keys = {key.name: (key.kind, key.shape) for key in open_dataset(folder).info.keys}
    assert keys["action/joint_velocity"] == ("numbers", (7,))
    assert keys["action/gripper_position"] == ("numbers", ())
    assert keys["observation/robot_state/joint_positions"] == ("numbers", (7,))
    assert not any("timestamp" in key or "camera" in key or "controller_info" in key for key in keys)
    dataset = open_dataset(folder, action_key="action/cartesian_velocity,action/gripper_velocity", robot="none")
    assert (dataset.info.action_dim, dataset[0].actions.shape) == (7, (6, 7))
    assert dataset.info.state_dim == 8
    with pytest.raises(DataError, match=r"no numeric key 'action/joints'.*--action-key KEY"):
        open_dataset(folder, action_key="action/joints")


def test_without_metadata_the_file_itself_may_know_the_task(tmp_path):
    dataset = open_dataset(write_droid(tmp_path / "episode"))
    assert dataset[0].prompt == "wipe the table"
    assert (dataset.info.cameras, dataset.info.missing_cameras) == ((), ())


def test_videos_give_a_frame_a_step_whatever_rate_they_claim(tmp_path):
    seen = episode_with_videos(tmp_path / "a/e0") | {}
    episode_with_videos(tmp_path / "a/e1", seed=5)
    dataset = open_dataset(tmp_path / "a")
    assert dataset.info.cameras == ("ext1", "ext2", "wrist")
    assert dataset.info.slots == {"base_0_rgb": "ext1", "left_wrist_0_rgb": "wrist", "right_wrist_0_rgb": None}
    episode = dataset[0]
    for camera, serial in (("wrist", "111"), ("ext1", "222"), ("ext2", "333")):
        frames = episode.images[camera]
        assert len(frames) == 6
        for i in (0, 5, 2, -1):
            assert np.abs(frames[i].astype(int) - seen[serial][:6][i]).max() <= 4
    with pytest.raises(IndexError):
        frames[6]


def test_a_camera_counts_only_where_every_episode_has_its_video(tmp_path):
    episode_with_videos(tmp_path / "a/e0")
    episode_with_videos(tmp_path / "a/e1", serials=("111", "222"))
    info = open_dataset(tmp_path / "a").info
    assert (info.cameras, info.missing_cameras) == (("ext1", "wrist"), ("ext2",))
    assert any("images of ext2 are absent, or too few, in 1 of 2 episodes" in note for note in info.notes)


def test_damaged_videos_and_too_short_ones(tmp_path):
    episode_with_videos(tmp_path / "e")
    videos = tmp_path / "e/recordings/MP4"
    (videos / "111.mp4").write_bytes(b"no video")
    write_video(videos / "222.mp4", greys(3, seed=0))
    images = open_dataset(tmp_path / "e")[0].images
    with pytest.raises(DataError, match=r"111\.mp4 is a damaged video or none"):
        images["wrist"][0]
    with pytest.raises(DataError, match=r"222\.mp4 shows nothing at"):
        images["ext1"][5]
    (videos / "333.mp4").unlink()
    with pytest.raises(DataError, match=r"333\.mp4"):
        images["ext2"][0]


@pytest.mark.parametrize("serial", ["../../secret", "/etc/passwd", "", None, 1.5, ["1"], "a" * 999])
def test_serials_that_are_no_names_of_videos_are_no_cameras(tmp_path, serial):
    (tmp_path / "secret.mp4").write_bytes(b"x")
    write_droid(tmp_path / "a/e", metadata=droid_metadata() | {"ext1_cam_serial": serial})
    info = open_dataset(tmp_path / "a").info
    assert info.missing_cameras == ("ext2", "wrist")


def test_failed_attempts_are_a_note_and_a_split(tmp_path):
    write_droid(tmp_path / "raw/LAB/success/d/e0", 5)
    write_droid(tmp_path / "raw/LAB/failure/d/e1", 7)
    dataset = open_dataset(tmp_path / "raw")
    assert dataset.info.lengths.tolist() == [7, 5]
    assert any("--split success leaves them out" in note for note in dataset.info.notes)
    for split, lengths in (("success", [5]), ("failure", [7])):
        chosen = open_dataset(tmp_path / "raw", split=split).info
        assert chosen.lengths.tolist() == lengths
        assert chosen.fingerprint != dataset.info.fingerprint
        assert not any("failed attempts" in note for note in chosen.notes)
    with pytest.raises(DataError, match="no split 'train'; there is failure and success"):
        open_dataset(tmp_path / "raw", split="train")
    with pytest.raises(DataError, match="no split 'success'; there are none"):
        open_dataset(tmp_path / "raw/LAB/success/d/e0", split="success")


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_damaged_metadata(tmp_path, text):
    folder = write_droid(tmp_path / "e", metadata=droid_metadata())
    (folder / "metadata_LAB+0.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"metadata_LAB\+0\.json"):
        open_dataset(folder)


def test_metadata_of_odd_types_is_no_prompt(tmp_path):
    folder = write_droid(tmp_path / "e", metadata={"current_task": 5})
    assert open_dataset(folder)[0].prompt == "wipe the table"


@pytest.mark.parametrize("key", ["action/joint_velocity", "observation/robot_state/joint_positions"])
def test_episodes_of_unlike_lengths_or_without_a_key_are_damaged(tmp_path, key):
    for i in range(3):
        write_droid(tmp_path / f"raw/e{i}", seed=i)
    with h5py.File(tmp_path / "raw/e1/trajectory.h5", "a") as file:
        file[key].resize(4, axis=0)
    with pytest.raises(DataError, match=r"e1/trajectory\.h5: .* has \d frames, but .* has \d: .*leave it out"):
        open_dataset(tmp_path / "raw")
    with h5py.File(tmp_path / "raw/e1/trajectory.h5", "a") as file:
        del file[key]
    with pytest.raises(DataError, match=rf"e1/trajectory\.h5: it has no {key}"):
        open_dataset(tmp_path / "raw")
    dataset = open_dataset(tmp_path / "raw", skip_bad=True)
    assert len(dataset) == 2
    assert any("episode 1 left out: " in note and key in note for note in dataset.info.notes)


def test_fingerprint_is_of_the_data_not_of_the_place(tmp_path):
    for i in range(2):
        write_droid(tmp_path / f"raw/e{i}", seed=i, metadata=droid_metadata())
    first = open_dataset(tmp_path / "raw").info.fingerprint
    shutil.copytree(tmp_path / "raw", tmp_path / "copy")
    assert open_dataset(tmp_path / "copy").info.fingerprint == first
    write_droid(tmp_path / "copy/e1", seed=9)
    assert open_dataset(tmp_path / "copy").info.fingerprint != first


def test_links_between_folders_end(tmp_path):
    write_droid(tmp_path / "raw/LAB/e0")
    (tmp_path / "raw/LAB/round").symlink_to(tmp_path / "raw", target_is_directory=True)
    write_droid(tmp_path / "elsewhere/e1")
    (tmp_path / "raw/OTHER").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert len(open_dataset(tmp_path / "raw")) == 2


def test_other_trajectory_files_of_the_same_folder_are_not_mixed_in(tmp_path):
    folder = write_droid(tmp_path / "e", metadata=droid_metadata())
    shutil.copy(folder / "trajectory.h5", folder / "trajectory_im128.h5")
    assert len(open_dataset(folder)) == 1
    other = open_dataset(folder / "trajectory_im128.h5")
    assert (other.info.preset, other[0].prompt) == ("droid", "wipe the table")
    assert json.loads((folder / "metadata_LAB+0.json").read_text())["uuid"] == "LAB+1"
