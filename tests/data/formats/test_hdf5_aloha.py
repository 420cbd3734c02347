from __future__ import annotations

import io

import h5py
import numpy as np
import pytest
from hdf5_makers import store_encoded, write_aloha
from PIL import Image

from fastki.data import open_dataset
from fastki.errors import DataError

HIGH = "observations/images/cam_high"


def test_a_folder_of_episodes_in_the_order_of_their_numbers(tmp_path):
    for i in range(12):
        write_aloha(tmp_path / f"episode_{i}.hdf5", 3 + i, seed=i)
    dataset = open_dataset(tmp_path)
    info = dataset.info
    assert info.lengths.tolist() == list(range(3, 15))
    assert (info.format, info.preset, info.fps, info.action_kind) == ("ALOHA HDF5", "aloha", 50.0, "position")
    assert (info.action_key, info.state_key) == ("action", "observations/qpos")
    assert (info.action_names[7], info.grippers) == ("right_waist", (6, 13))
    assert info.cameras == (HIGH, "observations/images/cam_left_wrist")
    assert info.slots["base_0_rgb"] == HIGH
    assert any("50 Hz is taken, as ALOHA records" in note for note in info.notes)
    with h5py.File(tmp_path / "episode_10.hdf5") as file:
        episode = dataset[10]
        np.testing.assert_array_equal(episode.actions, file["action"])
        np.testing.assert_array_equal(episode.state, file["observations/qpos"])
        np.testing.assert_array_equal(episode.images[HIGH][7], file[HIGH][7])
        np.testing.assert_array_equal(episode.images[HIGH][-1], file[HIGH][12])
    assert episode.prompt == ""


def test_keys_have_no_slash_in_front_and_leave_out_the_lengths_of_images(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5", 2, compress="padded")
    with h5py.File(path, "a") as file:
        file["base_action"] = np.zeros((2, 2))
    info = open_dataset(path).info
    assert [key.name for key in info.keys if key.kind == "numbers"] == [
        "action",
        "base_action",
        "observations/effort",
        "observations/qpos",
        "observations/qvel",
    ]
    assert open_dataset(path, action_key="action,base_action").info.action_dim == 16


@pytest.mark.parametrize("how", ["padded", "fixed", "ragged"])
def test_compressed_images_are_decoded_when_asked_for(tmp_path, how):
    plain = open_dataset(write_aloha(tmp_path / "plain.hdf5"))[0].images[HIGH]
    dataset = open_dataset(write_aloha(tmp_path / "episode_0.hdf5", compress=how))
    frames = dataset[0].images[HIGH]
    assert len(frames) == 6
    for i in (5, 0, 3):
        assert frames[i].shape == (16, 24, 3)
        assert np.abs(frames[i].astype(int) - plain[i]).mean() < 4
    assert any("decoded as JPEG" in note for note in dataset.info.notes)
    assert next(key for key in dataset.info.keys if key.name == HIGH).shape == (-1, -1, 3)


def test_png_rows_are_lossless(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5", 3)
    with h5py.File(path, "a") as file:
        pictures = file[HIGH][()]
        del file[HIGH]
        encoded = []
        for picture in pictures:
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "PNG")
            encoded.append(buffer.getvalue())
        store_encoded(file["observations/images"], "cam_high", encoded, "padded")
    frames = open_dataset(path)[0].images[HIGH]
    np.testing.assert_array_equal(np.stack([frames[i] for i in range(3)]), pictures)


def test_a_damaged_picture_is_that_frames_error(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5", compress="padded")
    with h5py.File(path, "a") as file:
        file[HIGH][2] = 0
    frames = open_dataset(path)[0].images[HIGH]
    assert frames[1].shape == (16, 24, 3)
    with pytest.raises(DataError, match=r"episode_0\.hdf5, observations/images/cam_high, frame 2 is no picture"):
        frames[2]


def test_simulated_episodes_are_aloha_by_their_camera(tmp_path):
    info = open_dataset(write_aloha(tmp_path / "sim/episode_0.hdf5", cameras=("top",), sim=True)).info
    assert (info.preset, info.slots["base_0_rgb"]) == ("aloha", "observations/images/top")
    other = open_dataset(write_aloha(tmp_path / "metaworld/episode_0.hdf5", cameras=("top",), sim=True, width=4)).info
    assert (other.preset, other.state_key, other.state_dim) == (None, "observations/qpos", 4)
    assert open_dataset(write_aloha(tmp_path / "real/episode_0.hdf5", cameras=("top",))).info.preset is None


@pytest.mark.parametrize("form", ["attribute", "bytes", "dataset", "fixed", "scalar", "growing"])
def test_a_prompt_may_be_there(tmp_path, form):
    path = write_aloha(tmp_path / "episode_0.hdf5")
    with h5py.File(path, "a") as file:
        if form == "attribute":
            file.attrs["task"] = "fold the shirt"
        elif form == "bytes":
            file.attrs["language_raw"] = np.bytes_(b"fold the shirt")
        elif form == "fixed":
            file["language_raw"] = np.array([b"fold the shirt"])
        elif form == "growing":
            file.create_dataset("language_raw", data=["fold the shirt"], maxshape=(None,), dtype=h5py.string_dtype())
        else:
            file["language_raw"] = ["fold the shirt"] if form == "dataset" else "fold the shirt"
    dataset = open_dataset(path)
    assert dataset[0].prompt == "fold the shirt"
    assert dataset.info.state_key == "observations/qpos"


def test_a_prompt_that_cannot_be_read_is_a_note(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5")
    with h5py.File(path, "a") as file:
        file.create_dataset("language_raw", data=["fold the shirt"], compression="gzip", dtype=h5py.string_dtype())
    dataset = open_dataset(path)
    assert dataset[0].prompt == ""
    assert any("language_raw holds texts in" in note for note in dataset.info.notes)


def test_there_are_no_splits(tmp_path):
    with pytest.raises(DataError, match="ALOHA data have no splits: leave --split train out"):
        open_dataset(write_aloha(tmp_path / "episode_0.hdf5"), split="train")


def test_one_arm_and_no_images(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5", width=7, cameras=())
    info = open_dataset(path).info
    assert (info.action_dim, info.state_dim, info.preset, info.cameras) == (7, 7, None, ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observations/qpos": np.zeros((5, 14))}, "observations/qpos has 5 frames, but action has 6"),
        ({"action": np.zeros((6, 7))}, "action has shape .6, 7. and type float64, not 14 numbers a frame"),
        ({"action": np.array([b"a"] * 6)}, r"action has shape .6,. and type \|S1, not 14 numbers a frame"),
        ({"action": np.zeros((6, 14, 1))}, "action has shape .6, 14, 1. and type float64, not 14 numbers a frame"),
        ({"observations/qpos": None}, "it has no observations/qpos: the recording is incomplete"),
        ({"observations/qpos": h5py.Empty("f4")}, "it has no observations/qpos"),
    ],
)
def test_an_episode_unlike_the_others_is_named(tmp_path, change, message):
    for i in range(2):
        write_aloha(tmp_path / f"episode_{i}.hdf5")
    with h5py.File(tmp_path / "episode_1.hdf5", "a") as file:
        for key, value in change.items():
            del file[key]
            if value is not None:
                file[key] = value
    with pytest.raises(DataError, match=rf"episode_1\.hdf5: {message}"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, skip_bad=True)) == 1


def test_nan_names_the_episode(tmp_path):
    for i in range(2):
        write_aloha(tmp_path / f"episode_{i}.hdf5")
    with h5py.File(tmp_path / "episode_1.hdf5", "a") as file:
        file["action"][4, 6] = np.nan
    with pytest.raises(DataError, match=r"episode 1, action: nan at frame 4, dimension 6 \(left_gripper\)"):
        open_dataset(tmp_path)[1]


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i4", "u1"])
def test_numbers_of_other_types(tmp_path, dtype):
    path = write_aloha(tmp_path / "episode_0.hdf5")
    with h5py.File(path, "a") as file:
        values = (file["action"][()] * 3).astype(dtype)
        del file["action"]
        file["action"] = values
    actions = open_dataset(path)[0].actions
    assert actions.dtype in (np.float32, np.float64)
    np.testing.assert_array_equal(actions, values)
