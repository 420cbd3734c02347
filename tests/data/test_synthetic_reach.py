"""``synthetic:reach``: the arm goes to the side that the prompt names of a plate that only the picture shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastki.data import open_dataset
from fastki.data.synthetic_arm import forward
from fastki.data.synthetic_reach import CAMERA, FRAMES, SIDES, draw, draw_reach
from fastki.data.synthetic_scene import COLORS
from fastki.errors import DataError


@pytest.fixture(scope="module")
def dataset():
    return open_dataset("synthetic:reach?episodes=40&size=48")


def test_it_has_droids_shape(dataset):
    episode = dataset.read(3)
    assert (episode.actions.shape, episode.state.shape) == ((FRAMES, 8), (FRAMES, 8))
    assert dataset.info.slots == {"base_0_rgb": CAMERA, "left_wrist_0_rgb": None, "right_wrist_0_rgb": None}
    assert episode.images[CAMERA][-1].shape == (48, 48, 3)
    with pytest.raises(IndexError):
        episode.images[CAMERA][FRAMES]


def test_an_episode_is_the_same_however_many_there_are(dataset):
    other = open_dataset("synthetic:reach?episodes=5&size=48").read(3)
    episode = dataset.read(3)
    assert (other.actions == episode.actions).all()
    assert (other.images[CAMERA][7] == episode.images[CAMERA][7]).all()
    assert other.prompt == episode.prompt
    assert not (open_dataset("synthetic:reach?seed=1").read(3).actions == episode.actions).all()


def test_the_arm_ends_on_the_side_of_the_plate_that_the_prompt_names(dataset):
    """A second and a half does not take it all the way: nearer than any other side, and much nearer than it was."""
    for index in range(40):
        episode, scene = dataset.read(index), draw_reach(0, index)
        assert episode.prompt == f"go {scene.side} the {scene.plate.name}"
        goals = {side: np.array(replace(scene, side=side).goal) for side in SIDES}
        first, last = (forward(episode.state[frame, :7].astype(float))[0][-1, :2] for frame in (0, -1))
        gaps = {side: float(np.linalg.norm(goal - last)) for side, goal in goals.items()}
        assert min(gaps, key=gaps.__getitem__) == scene.side
        assert gaps[scene.side] < max(0.05, 0.3 * np.linalg.norm(goals[scene.side] - first))


def test_every_side_is_that_in_the_picture():
    assert SIDES == {"left of": (0.0, -1.0), "right of": (0.0, 1.0), "above": (-1.0, 0.0), "below": (1.0, 0.0)}
    assert {draw_reach(0, index).side for index in range(40)} == set(SIDES)


def test_actions_are_the_change_of_the_state(dataset):
    episode = dataset.read(0)
    moved = np.diff(episode.state[:, :7], axis=0) * dataset.info.fps
    np.testing.assert_allclose(moved, episode.actions[:-1, :7], atol=2e-3)


def test_the_plate_is_where_the_picture_shows_it_and_the_table_is_zero_to_a_model():
    scene = draw_reach(0, 0)
    size = 64
    picture = draw(scene, np.array(scene.start), size).astype(int)
    step = 0.66 / size
    plate = scene.plate
    row, column = int((plate.x - 0.48) / step + size / 2), int(plate.y / step + size / 2)
    assert np.abs(picture[row, column] - COLORS[plate.color]).max() <= 1 or picture[row, column].min() > 200
    assert (np.abs(picture - 127.5) <= 0.5).all(axis=-1).mean() > 0.8


def test_another_name_is_refused_with_the_nearest():
    with pytest.raises(DataError, match=r"did you mean synthetic:reach\?"):
        open_dataset("synthetic:reech")
