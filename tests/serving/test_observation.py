"""Observations under every name that is taken, and what is said of those that don't do."""

from __future__ import annotations

import numpy as np
import pytest

from fastki.errors import DataError
from fastki.evaluation.live import LivePolicy
from fastki.serving.observation import ObservationKeys

PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
STATE = np.arange(8.0)
CAMERAS = ("exterior_image_1_left", "wrist_image_left")


@pytest.fixture(scope="module")
def keys(live):
    return ObservationKeys(live)


def seen(**changes):
    """A good observation, with changes; None takes a key away."""
    whole = {**dict.fromkeys(CAMERAS, PICTURE), "state": STATE, "prompt": "lift", **changes}
    return {key: value for key, value in whole.items() if value is not None}


PICTURES = [
    {"exterior_image_1_left": PICTURE, "wrist_image_left": PICTURE},
    {"base_0_rgb": PICTURE, "left_wrist_0_rgb": PICTURE},
    {"observation/exterior_image_1_left": PICTURE, "observation/wrist_image_left": PICTURE},
    {"images": {"exterior_image_1_left": PICTURE, "wrist_image_left": PICTURE}},
    {"observation": {"images": {"base_0_rgb": PICTURE, "left_wrist_0_rgb": PICTURE}}},
    {"image": {"base_0_rgb": PICTURE, "left_wrist_0_rgb": PICTURE, "right_wrist_0_rgb": PICTURE}},
]


@pytest.mark.parametrize("pictures", PICTURES, ids=lambda names: "+".join(names))
def test_pictures_are_found_under_each_of_their_names(keys, pictures):
    found = keys.read({"state": STATE, "prompt": "lift", **pictures})
    assert list(found.images) == list(CAMERAS)
    assert all(picture is PICTURE for picture in found.images.values())


STATES = [
    {"state": STATE},
    {"state": STATE.astype(np.float32)},
    {"state": STATE.tolist()},
    {"observation/state": STATE},
    {"observation.state": STATE},
    {"observation": {"state": STATE}},
    {"observation/joint_position": STATE[:7], "observation/gripper_position": STATE[7:]},
    {"observation/joint_position": STATE[:7], "observation/gripper_position": 7.0},
    {"observation/joint_position": STATE[:7], "observation/gripper_position": np.float32(7)},
    {"joint_position": STATE[:7], "gripper_position": [7]},
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: "+".join(state))
def test_the_state_is_found_under_each_of_its_names(keys, state):
    found = keys.read(seen(state=None) | state)
    np.testing.assert_array_equal(found.state, STATE)
    assert (found.state.dtype, found.prompt, found.previous) == (np.float64, "lift", None)


@pytest.mark.parametrize(
    ("picture", "shape"),
    [
        (PICTURE / np.float32(255), (4, 6, 3)),
        ((PICTURE / 255).astype(np.float64), (4, 6, 3)),
        (np.moveaxis(PICTURE, -1, 0), (3, 4, 6)),
        (np.full((4, 6, 3), 1.0005, np.float32), (4, 6, 3)),
    ],
)
def test_pictures_of_other_forms_are_taken_and_floats_stay_within_bounds(keys, picture, shape):
    found = keys.read(seen(wrist_image_left=picture)).images["wrist_image_left"]
    assert found.shape == shape
    assert found.dtype.kind == "u" or 0 <= found.min() <= found.max() <= 1


def test_every_form_of_a_picture_is_the_same_to_the_policy(keys, live):
    forms = [PICTURE, (PICTURE + 0.5) / 255, np.moveaxis(PICTURE, -1, 0)]
    chunks = []
    for form in forms:
        found = keys.read(seen(wrist_image_left=form))
        chunks.append(live.act(found.images, found.state, found.prompt))
    np.testing.assert_array_equal(chunks[0], chunks[1])
    np.testing.assert_array_equal(chunks[0], chunks[2])


REFUSED = [
    ([1], "an observation is a map of exterior_image_1_left, wrist_image_left, state, prompt, not of type list"),
    ({}, "send it as exterior_image_1_left or base_0_rgb or .*the observation is empty"),
    (seen(wrist_image_left=None), "no picture wrist_image_left: send it as wrist_image_left or left_wrist_0_rgb or"),
    (seen(state=None), r"no state: send it as state or .*observation/joint_position\+observation/gripper_position"),
    (seen(state=None, joint_position=STATE[:7]), "there is no gripper_position, which belongs to the state with joint"),
    (seen(state=None, joint_position=STATE, gripper_position=1), "joint_position has 8 numbers: 7 are needed"),
    (seen(state="here"), "state is of type str: send a flat array"),
    (seen(state=STATE[None]), r"state is an array of float64 \[1, 8\]: send a flat array"),
    (seen(state=["a"] * 8), "state is of type list: send a flat array"),
    (seen(prompt=None), "there is no prompt: send the instruction"),
    (seen(prompt=5), "the prompt is of type int"),
    (seen(base_0_rgb=1, exterior_image_1_left=None), "base_0_rgb is of type int: send uint8"),
    (seen(wrist_image_left=PICTURE[0]), r"wrist_image_left is an array of uint8 \[6, 3\]: send uint8"),
    (seen(wrist_image_left=PICTURE.astype(np.int64)), "an array of int64"),
    (seen(wrist_image_left=PICTURE[..., :2]), r"no picture with its shape \[4, 6, 2\]"),
    (seen(wrist_image_left=PICTURE[:0]), r"no picture with its shape \[0, 6, 3\]"),
    (seen(wrist_image_left=PICTURE.astype(np.float32)), "has floats from 0 to 71: send"),
    (seen(wrist_image_left=np.full((4, 6, 3), np.nan)), "has floats from nan to nan"),
    (seen(wrist_image_left=np.full((4, 6, 3), -0.5)), "has floats from -0.5 to -0.5"),
]


@pytest.mark.parametrize(("message", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_does_not_do_is_named(keys, message, said):
    with pytest.raises(DataError, match=said):
        keys.read(message)


def test_an_instruction_can_be_given_once_for_all(live):
    keys = ObservationKeys(live, prompt="stack")
    assert keys.read(seen(prompt=None)).prompt == "stack"
    assert keys.read(seen()).prompt == "lift"


def test_the_action_before_is_asked_for_where_the_policy_needs_it(live, monkeypatch):
    monkeypatch.setattr(LivePolicy, "needs_previous", True)
    keys = ObservationKeys(live)
    with pytest.raises(DataError, match="there is no previous_action"):
        keys.read(seen())
    np.testing.assert_array_equal(keys.read(seen(previous_action=STATE)).previous, STATE)
    assert keys.wanted == "exterior_image_1_left, wrist_image_left, state, previous_action, prompt"
