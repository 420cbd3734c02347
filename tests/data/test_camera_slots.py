"""Cameras put into openpi's slots by hand."""

from __future__ import annotations

import doctest

import pytest

from fastki import open_dataset
from fastki.data import camera_slots
from fastki.data.camera_slots import chosen_slots
from fastki.errors import UsageError

CAMERAS = ("exterior_image_1_left", "wrist_image_left")


def test_the_example():
    outcome = doctest.testmod(camera_slots)
    assert (outcome.attempted > 0, outcome.failed) == (True, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base=wrist_image_left", "'base=wrist_image_left' is unknown: give SLOT=CAMERA, of the slots base_0_rgb"),
        ("wrist_image_left", "is unknown"),
        ("", "is unknown"),
        ("base_0_rgb=wrist_image", "no such camera: did you mean wrist_image_left?"),
        ("base_0_rgb=top", "no such camera: there are exterior_image_1_left, wrist_image_left"),
        ("base_0_rgb=wrist_image_left,base_0_rgb=exterior_image_1_left", "once only"),
        ("base_0_rgb=wrist_image_left,left_wrist_0_rgb=wrist_image_left", "once only"),
    ],
)
def test_what_is_none_is_refused_with_what_is_there(text, said):
    with pytest.raises(UsageError) as error:
        chosen_slots(text, CAMERAS)
    assert said in str(error.value)


def test_they_come_before_the_preset_s_and_are_checked_when_data_are_opened():
    dataset = open_dataset("synthetic:droid?episodes=2", slots="base_0_rgb=wrist_image_left")
    assert dataset.info.slots == {
        "base_0_rgb": "wrist_image_left",
        "left_wrist_0_rgb": None,
        "right_wrist_0_rgb": None,
    }
    with pytest.raises(UsageError, match="no such camera"):
        open_dataset("synthetic:droid?episodes=2", slots="base_0_rgb=top")


def test_a_mixture_says_them_dataset_by_dataset(tmp_path):
    path = tmp_path / "mix.toml"
    path.write_text('[[dataset]]\ndata = "synthetic:droid?episodes=2"\nslots = "base_0_rgb=wrist_image_left"\n')
    (member,) = open_dataset(str(path)).members
    assert member.dataset.info.slots["base_0_rgb"] == "wrist_image_left"
    with pytest.raises(UsageError, match=r"--slots is ambiguous for a mixture: write slots into"):
        open_dataset(str(path), slots="base_0_rgb=wrist_image_left")
