"""What openpi's policies take, against vectors of its own transform."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastki.data import open_dataset
from fastki.data.pictures import as_picture
from fastki.data.policy import frame_inputs, policy_inputs
from fastki.data.robots import DROID
from fastki.errors import DataError, UsageError


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "golden/openpi/transforms/droid.json").read_text())


def given(golden, case):
    """The inputs of one of the golden cases, by its description."""
    exterior, wrist = (np.array(golden["images_in"][name], dtype=np.uint8) for name in ("exterior", "wrist"))
    gripper, prompt, actions = np.array([0.25]), "do something", None
    if "float32 CHW" in case:
        exterior, wrist = (np.moveaxis(image.astype(np.float32) / 255, -1, 0) for image in (exterior, wrist))
        gripper, prompt, actions = 0.75, b"as bytes", np.arange(16.0).reshape(2, 8)
    return {
        "state": [np.linspace(-1, 1, 7), gripper],
        "cameras": {"base_0_rgb": exterior, "left_wrist_0_rgb": wrist, "right_wrist_0_rgb": None},
        "prompt": prompt,
        "actions": actions,
    }


def test_droid_inputs_are_openpis(golden):
    checked = 0
    for case in golden["cases"]:
        if "model_type" not in case:
            continue
        found = policy_inputs(**given(golden, case["case"]), model=case["model_type"])
        expected = case["out"]
        np.testing.assert_allclose(found.state, expected["state"]["data"], rtol=1e-15)
        assert found.prompt == expected["prompt"]["value"]
        slots = [key.partition("/")[2] for key in expected if key.startswith("image/")]
        assert list(found.image) == list(found.image_mask) == slots
        for slot in slots:
            image, wanted = found.image[slot], expected[f"image/{slot}"]
            assert (list(image.shape), str(image.dtype)) == (wanted["shape"], wanted["dtype"])
            assert int(image.sum()) == wanted["sum"]
            assert image.reshape(-1, 3)[:2].tolist() == wanted["first_pixels"]
            assert image.reshape(-1, 3)[-1].tolist() == wanted["last_pixel"]
            assert found.image_mask[slot] == expected[f"image_mask/{slot}"]["data"]
            assert isinstance(found.image_mask[slot], np.bool_)
        if "actions" in expected:
            assert found.actions.tolist() == expected["actions"]["data"]
        checked += 1
    assert checked == 3


def test_float_pictures_are_truncated_as_in_openpi(golden):
    case = golden["parse_float_image"]
    values = np.array(case["in_float32"], dtype=np.float32)
    picture = as_picture(np.repeat(values[:, None, None], 3, axis=2), where="test")
    assert picture[:, 0, 0].tolist() == case["out_uint8"]


def test_a_droid_frame_has_joints_and_gripper_and_two_cameras():
    dataset = open_dataset("synthetic:droid?episodes=1&size=16")
    inputs = frame_inputs(dataset[0], len(dataset[0]) - 3, dataset.info.slots, horizon=16)
    assert (inputs.state.shape, inputs.actions.shape) == ((8,), (16, 8))
    np.testing.assert_array_equal(inputs.actions[3:], np.repeat(dataset[0].actions[-1:], 13, axis=0))
    assert list(inputs.image_mask.values()) == [True, True, False]
    np.testing.assert_array_equal(inputs.image["left_wrist_0_rgb"], dataset[0].images["wrist_image_left"][-3])
    assert inputs.prompt == dataset[0].prompt


def test_droids_slots():
    cameras = ("observation/exterior_image_2_left", "observation/exterior_image_1_left", "observation/wrist_image_left")
    assert DROID.slots(cameras) == {
        "base_0_rgb": "observation/exterior_image_1_left",
        "left_wrist_0_rgb": "observation/wrist_image_left",
        "right_wrist_0_rgb": None,
    }


def test_wrong_inputs():
    picture = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(UsageError, match="no camera slot 'front'"):
        policy_inputs(state=[0.0], cameras={"front": picture})
    with pytest.raises(UsageError, match="at least one camera slot"):
        policy_inputs(state=[0.0], cameras={"base_0_rgb": None})
    with pytest.raises(UsageError, match="pi0_fast"):
        policy_inputs(state=[0.0], cameras={"base_0_rgb": picture}, model="gpt")
    with pytest.raises(DataError, match="no picture"):
        policy_inputs(state=[0.0], cameras={"base_0_rgb": np.zeros(7)})
    episode = open_dataset("synthetic:droid?episodes=1").read(0, state=False)
    with pytest.raises(DataError, match="no state"):
        frame_inputs(episode, 0, {})
    with pytest.raises(IndexError):
        frame_inputs(episode, len(episode), {})
