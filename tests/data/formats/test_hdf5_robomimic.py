from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from hdf5_makers import LIBERO_WORDS, write_libero, write_robomimic

from fastki.data import open_dataset
from fastki.errors import DataError

STATE = "obs/robot0_eef_pos,obs/robot0_eef_quat,obs/robot0_gripper_qpos"


def test_a_libero_suite_is_one_dataset(tmp_path):
    write_libero(tmp_path / "suite/b_demo.hdf5", (5, 3, 4), seed=1)
    write_libero(tmp_path / "suite/a_demo.hdf5", (2, 6), words="open the drawer")
    dataset = open_dataset(tmp_path / "suite")
    info = dataset.info
    assert (info.format, info.preset, info.fps, info.robot) == ("LIBERO HDF5", "libero", 20.0, "Panda")
    assert info.lengths.tolist() == [2, 6, 5, 3, 4]
    assert [e.prompt for e in dataset] == ["open the drawer"] * 2 + [LIBERO_WORDS] * 3
    assert (info.action_key, info.state_key) == ("actions", "obs/ee_states,obs/gripper_states")
    assert (info.action_names[0], info.action_names[-1], info.action_kind) == ("x", "gripper", "difference")
    assert info.cameras == ("obs/agentview_rgb", "obs/eye_in_hand_rgb")
    assert info.slots["left_wrist_0_rgb"] == "obs/eye_in_hand_rgb"
    assert any("upside down" in note for note in info.notes)
    assert not any("rate" in note for note in info.notes)
    with h5py.File(tmp_path / "suite/b_demo.hdf5") as file:
        demo = file["data/demo_1"]
        np.testing.assert_array_equal(dataset[3].actions, demo["actions"])
        state = np.concatenate([demo["obs/ee_states"], demo["obs/gripper_states"]], axis=1)
        np.testing.assert_array_equal(dataset[3].state, state)
        for camera in info.cameras:
            frames = dataset[3].images[camera]
            assert len(frames) == 3
            np.testing.assert_array_equal(np.stack([frames[i] for i in range(3)]), demo[camera])


def test_keys_are_paths_below_the_demonstration(tmp_path):
    info = open_dataset(write_libero(tmp_path / "x_demo.hdf5")).info
    keys = {key.name: (key.kind, key.shape, key.dtype) for key in info.keys}
    assert keys["actions"] == ("numbers", (7,), "float64")
    assert keys["obs/joint_states"] == ("numbers", (7,), "float64")
    assert keys["dones"] == ("numbers", (), "uint8")
    assert keys["obs/agentview_rgb"] == ("image", (8, 10, 3), "uint8")
    assert open_dataset(tmp_path / "x_demo.hdf5", state_key="robot_states").info.state_dim == 9


@pytest.mark.parametrize(
    ("name", "attributes", "prompt"),
    [
        ("pick_up_the_black_bowl_demo.hdf5", {}, "pick up the black bowl"),
        ("KITCHEN_SCENE3_turn_on_the_stove_demo.hdf5", {}, "turn on the stove"),
        ("LIVING_ROOM_SCENE10_put_it_down_demo.hdf5", {}, "put it down"),
        ("demo.hdf5", {}, ""),
        ("image_v141.hdf5", {}, ""),
        ("x_demo.hdf5", {"bddl_file_name": "libero_90/STUDY_SCENE1_take_the_book.bddl"}, "take the book"),
        ("x_demo.hdf5", {"problem_info": json.dumps({"language_instruction": '"close it"'})}, "close it"),
        ("x_demo.hdf5", {"problem_info": json.dumps({"language_instruction": ["cl", "ose"]})}, "close"),
        ("x_demo.hdf5", {"problem_info": json.dumps({"language_instruction": 7})}, "x"),
        ("x_demo.hdf5", {"problem_info": b'{"language_instruction": "in bytes"}'}, "in bytes"),
    ],
)
def test_the_prompt_is_what_the_file_says_or_its_name(tmp_path, name, attributes, prompt):
    path = write_robomimic(tmp_path / name)
    with h5py.File(path, "a") as file:
        for key, value in attributes.items():
            file["data"].attrs[key] = np.bytes_(value) if isinstance(value, bytes) else value
    assert open_dataset(path)[0].prompt == prompt


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "7"])
def test_metadata_that_is_no_json_is_a_note(tmp_path, text):
    path = write_robomimic(tmp_path / "low_dim.hdf5")
    with h5py.File(path, "a") as file:
        file["data"].attrs["env_args"] = text[:60_000]
    info = open_dataset(path).info
    assert any("env_args is no JSON object" in note for note in info.notes)
    assert any("20 Hz is taken, as robomimic records" in note for note in info.notes)


def test_robomimic_demonstrations_come_in_the_order_of_their_numbers(tmp_path):
    dataset = open_dataset(write_robomimic(tmp_path / "low_dim.hdf5"))
    info = dataset.info
    assert (info.format, info.preset, info.fps, info.cameras) == ("robomimic HDF5", None, 20.0, ())
    assert [round(float(episode.actions.mean())) for episode in dataset] == list(range(12))
    assert (info.state_key, info.state_dim) == (STATE, 9)
    assert not any(key.name.startswith("next_obs") for key in info.keys)


@pytest.mark.parametrize(
    ("given", "rate"), [(10, 10.0), (12.5, 12.5), (0, 20.0), (True, 20.0), ("20", 20.0), (None, 20.0)]
)
def test_the_rate_is_the_controllers(tmp_path, given, rate):
    path = write_robomimic(tmp_path / "a.hdf5", env_kwargs={"control_freq": given, "robots": "Sawyer"})
    dataset = open_dataset(path)
    assert (dataset.info.fps, dataset[0].fps, dataset.info.robot) == (rate, rate, "Sawyer")


def test_files_of_unlike_rates_have_no_rate_in_common(tmp_path):
    for rate in (10, 20):
        write_robomimic(tmp_path / f"{rate}.hdf5", (4,), env_kwargs={"control_freq": rate})
    dataset = open_dataset(tmp_path)
    assert dataset.info.fps is None
    assert [episode.fps for episode in dataset] == [10.0, 20.0]
    assert any("different rates (10, 20 Hz)" in note for note in dataset.info.notes)


def test_filter_keys_are_splits(tmp_path):
    path = write_robomimic(tmp_path / "low_dim.hdf5")
    whole, train, valid = (open_dataset(path, split=split) for split in (None, "train", "valid"))
    assert (len(whole), len(train), len(valid)) == (12, 10, 2)
    np.testing.assert_array_equal(train[0].actions, whole[2].actions)
    assert len({dataset.info.fingerprint for dataset in (whole, train, valid)}) == 3
    with pytest.raises(DataError, match="no filter key 'test'; there are train, valid"):
        open_dataset(path, split="test")
    with h5py.File(path, "a") as file:
        del file["mask/valid"]
        file["mask/valid"] = ["demo_1", "demo_77"]  # As texts of any length.
        file["mask/one"] = ["demo_11"]
    assert open_dataset(path, split="one").info.lengths.tolist() == [4]
    with pytest.raises(DataError, match="filter key valid names demo_77, which is not in data"):
        open_dataset(path, split="valid")
    with pytest.raises(DataError, match=r"no filter key 'train'; there are none: leave --split out"):
        open_dataset(write_libero(tmp_path / "x_demo.hdf5"), split="train")


def test_an_empty_split_is_an_error(tmp_path):
    path = write_robomimic(tmp_path / "low_dim.hdf5")
    with h5py.File(path, "a") as file:
        file["mask/none"] = np.array([], dtype="S8")
    with pytest.raises(DataError, match="holds no episodes"):
        open_dataset(path, split="none")


def test_the_simulators_state_is_taken_with_a_word_only_where_there_is_no_other(tmp_path):
    path = write_robomimic(tmp_path / "demo.hdf5", (4, 5))
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            del demo["obs"]
    info = open_dataset(path).info
    assert info.state_key == "states"
    assert any("the simulator's (states)" in note for note in info.notes)
    assert not any("simulator's (states)" in note for note in open_dataset(path, state_key="states").info.notes)


def test_one_bad_demonstration_does_not_take_the_others_along(tmp_path):
    path = write_robomimic(tmp_path / "low_dim.hdf5", (4, 5, 6))
    with h5py.File(path, "a") as file:
        del file["data/demo_0/actions"]
        del file["data/demo_2/obs/robot0_eef_pos"]
        file["data/demo_2/obs/robot0_eef_pos"] = np.zeros((3, 3))
    with pytest.raises(DataError, match="it has no data/demo_0/actions"):
        open_dataset(path)
    dataset = open_dataset(path, skip_bad=True)
    assert dataset.info.lengths.tolist() == [5]
    assert any("robot0_eef_pos has 3 frames, but actions has 6" in note for note in dataset.info.notes)


def test_images_of_another_length_are_no_camera(tmp_path):
    path = write_libero(tmp_path / "x_demo.hdf5", (4, 5))
    with h5py.File(path, "a") as file:
        del file["data/demo_1/obs/agentview_rgb"]
        file["data/demo_1/obs/agentview_rgb"] = np.zeros((4, 8, 10, 3), np.uint8)
    info = open_dataset(path).info
    assert (info.cameras, info.missing_cameras) == (("obs/eye_in_hand_rgb",), ("obs/agentview_rgb",))


def test_compressed_and_chunked_images_read_frame_by_frame(tmp_path):
    path = write_libero(tmp_path / "x_demo.hdf5", (4,))
    pictures = np.random.default_rng(0).integers(0, 256, size=(4, 8, 10, 3), dtype=np.uint8)
    with h5py.File(path, "a") as file:
        obs = file["data/demo_0/obs"]
        del obs["agentview_rgb"]
        obs.create_dataset("agentview_rgb", data=pictures, compression="gzip", shuffle=True, chunks=(3, 4, 10, 3))
    frames = open_dataset(path)[0].images["obs/agentview_rgb"]
    np.testing.assert_array_equal(frames[3], pictures[3])
