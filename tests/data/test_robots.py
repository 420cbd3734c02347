"""Robot presets: which keys they take, when they are guessed, and what they say of the dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from fastki.data import OpenOptions, open_dataset
from fastki.data.robots import ROBOTS, guess_robot
from fastki.data.select import Key, select_keys
from fastki.errors import DataError, UsageError

DROID_RLDS = [
    Key("action", "numbers", (7,)),
    Key("action_dict/joint_velocity", "numbers", (7,)),
    Key("action_dict/gripper_position", "numbers", (1,)),
    Key("observation/joint_position", "numbers", (7,)),
    Key("observation/gripper_position", "numbers", (1,)),
    Key("observation/exterior_image_1_left", "image", (180, 320, 3)),
    Key("observation/wrist_image_left", "image", (180, 320, 3)),
]


def choose(keys, *, hint="", **options):
    notes = []
    return select_keys(keys, OpenOptions(**options), where="data", hint=hint, notes=notes), notes


def test_droid_is_joint_velocity_and_gripper_as_openpi_trains_it():
    selection, notes = choose(DROID_RLDS)
    assert selection.action_keys == ("action_dict/joint_velocity", "action_dict/gripper_position")
    assert selection.state_keys == ("observation/joint_position", "observation/gripper_position")
    assert selection.robot.name == "droid"
    assert "action_dict/joint_velocity" in selection.why
    fields = selection.describe({}, [])
    assert fields["action_names"][0] == "joint_1 velocity"
    assert fields["state_names"][0] == "joint_1 position"
    assert (fields["grippers"], fields["state_grippers"], fields["action_kind"]) == ((7,), (7,), "velocity")
    assert any("0.2 rad" in note for note in notes)


@pytest.mark.parametrize(
    ("options", "action", "preset"),
    [
        ({"robot": "none"}, ("action",), None),
        ({"action_key": "action"}, ("action",), "droid"),
        ({"action_key": "action_dict/joint_velocity,action_dict/gripper_position"}, DROID_RLDS[1:3], "droid"),
        ({"robot": "bridge"}, ("action",), "bridge"),
    ],
)
def test_what_is_asked_for_counts_before_what_is_guessed(options, action, preset):
    selection, _ = choose(DROID_RLDS, **options)
    assert selection.action_keys == tuple(getattr(key, "name", key) for key in action)
    assert (selection.robot and selection.robot.name) == preset


def test_names_of_the_preset_hold_only_for_its_own_keys():
    selection, _ = choose(DROID_RLDS, action_key="action")
    fields = selection.describe({}, [])
    assert fields["action_names"][0] == "action[0]"
    assert (fields["action_units"], fields["grippers"]) == ((), ())


def test_the_datasets_own_names_count_before_the_presets():
    keys = [Key("action", "numbers", (6,)), Key("observation.state", "numbers", (6,))]
    selection, _ = choose(keys, hint="so101_follower table")
    names = ["a", "b", "c", "d", "e", "f"]
    fields = selection.describe({"action": names}, [])
    assert (selection.robot.name, fields["action_names"]) == ("so101", tuple(names))
    assert fields["action_units"] == ("deg", "deg", "deg", "deg", "deg", "%")


CONVENTIONS = {
    "droid": [
        ({"action_dict/joint_velocity": 7, "action_dict/gripper_position": 1}, [], ""),
        (
            {
                "action/joint_velocity": 7,
                "action/gripper_position": 1,
                "observation/robot_state/joint_positions": 7,
                "observation/robot_state/gripper_position": 1,
            },
            [],
            "",
        ),
        ({"action.joint_velocity": 7, "action.gripper_position": 1}, [], ""),
        (
            {"actions": 8, "joint_position": 7, "gripper_position": 1},
            ["exterior_image_1_left", "wrist_image_left"],
            "panda",
        ),
    ],
    "aloha": [
        ({"action": 14, "observations/qpos": 14}, ["observations/images/cam_high"], ""),
        ({"action": 14, "observation.state": 14}, [], "aloha"),
    ],
    "libero": [
        ({"actions": 7, "obs/ee_states": 6}, ["obs/agentview_rgb", "obs/eye_in_hand_rgb"], ""),
        ({"actions": 7, "state": 8}, ["image", "wrist_image"], "panda"),
        ({"action": 7, "observation/state": 8}, [], "libero_spatial_no_noops"),
    ],
    "so101": [({"action": 6, "observation.state": 6}, [], "so101_follower"), ({"action": 6}, [], "so100 mine")],
    "bridge": [({"action": 7, "observation/state": 7}, ["observation/image_0"], "bridge_dataset")],
    "metaworld": [({"action": 4, "observation.state": 4}, ["observation.images.front"], "metaworld_sawyer reach")],
    None: [
        ({"action": 7, "observation.state": 7}, [], "panda"),
        ({"action": 5}, [], "so101_follower"),
        ({"action": 26}, ["observation.images.cam_high"], "Unitree_G1"),
    ],
}


@pytest.mark.parametrize(
    ("robot", "widths", "cameras", "hint"),
    [(robot, *case) for robot, cases in CONVENTIONS.items() for case in cases],
)
def test_guesses(robot, widths, cameras, hint):
    found, why = guess_robot(widths, cameras, hint)
    assert (found.name if found else None) == robot
    assert why


@pytest.mark.parametrize("robot", ROBOTS.values(), ids=lambda robot: robot.name)
def test_presets_are_consistent(robot):
    for vector in (*robot.actions, *robot.states):
        width = sum(vector.widths)
        assert len(vector.names) == len(vector.units) == width
        assert len(set(vector.names)) == width
        assert all(0 <= dim < width for dim in vector.grippers)
    assert set(robot.cameras) <= {"base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"}
    assert list(robot.slots([])) == ["base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"]


def test_a_robot_whose_keys_are_not_there(tmp_path):
    np.save(tmp_path / "frames.npy", np.ones((20, 3)))
    with pytest.raises(DataError, match=r"no actions as --robot droid has them .*--robot none"):
        open_dataset(tmp_path / "frames.npy", robot="droid")
    with pytest.raises(UsageError, match="did you mean droid"):
        open_dataset(tmp_path / "frames.npy", robot="driod")
    with pytest.raises(UsageError, match="auto or none"):
        open_dataset(tmp_path / "frames.npy", robot="hal9000")


def test_real_recordings(shared):
    so101 = open_dataset(shared / "data/so101_record_test").info
    assert (so101.preset, so101.grippers, so101.action_units[5]) == ("so101", (5,), "%")
    g1 = open_dataset(shared / "data/g1_pick_bottle").info
    assert (g1.preset, g1.grippers) == (None, ())
