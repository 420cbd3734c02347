"""Meta-World itself, for a few frames: the goal is in the picture and nowhere else, and a seed is an episode."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from fastki.errors import UsageError
from fastki.sim.metaworld import MetaWorld
from fastki.sim.world import Setting

SETTING = Setting(("front", "side"), 64, 4)


@pytest.fixture(scope="module")
def simulator():
    """Meta-World, where it and what it draws with are installed."""
    if importlib.util.find_spec("metaworld") is None:  # Not imported yet: how it draws must be chosen before.
        pytest.skip("Meta-World is not installed: pip install 'fastki[sim]'")
    try:
        with MetaWorld("reach-v3", Setting(("front",), 16, 4)) as world:
            world.reset(0)
    except UsageError as error:
        pytest.skip(str(error))


def ball(picture: np.ndarray) -> np.ndarray:
    """Row and column of the middle of what is bright red; the arm and the puck are darker."""
    red = picture.astype(int)
    bright = (red[..., 0] > 190) & (red[..., 1:].max(axis=2) < 70)
    bright[:14] = False  # The upper arm.
    return np.argwhere(bright).mean(axis=0)


def test_the_picture_shows_where_the_goal_of_this_episode_is(simulator):
    with MetaWorld("reach-v3", SETTING) as world:
        seen, goals = [], []
        for seed in range(14):
            world.reset(seed)
            images = world.look().images
            seen.append(np.concatenate([ball(images["front"]), ball(images["side"]), [1.0]]))
            goals.append(world.target)
    weights = np.linalg.lstsq(np.stack(seen[:10]), np.stack(goals[:10]), rcond=None)[0]
    away = np.linalg.norm(np.stack(seen[10:]) @ weights - np.stack(goals[10:]), axis=1)
    assert away.max() < 0.03  # Metres; within 0.05 the task is solved. Goals are up to 0.34 apart.


def test_a_seed_is_an_episode_whatever_was_before(simulator):
    with MetaWorld("reach-v3", SETTING) as world:
        world.reset(5)
        first = world.look()
        world.step(np.ones(4))
        after = world.look()
        world.reset(6)
        world.step(-np.ones(4))
        world.reset(5)
        again = world.look()
        np.testing.assert_array_equal(first.images["front"], again.images["front"])
        np.testing.assert_allclose(first.state, again.state, atol=1e-6)
        world.step(np.ones(4))
        np.testing.assert_allclose(world.look().state, after.state, atol=1e-5)


def test_the_expert_solves_it_and_an_action_moves_the_hand_its_way(simulator):
    with MetaWorld("reach-v3", Setting(("front",), 16, 8)) as world:
        world.reset(0)
        start = world.look().state
        assert world.action_dim == len(start) == 4
        solved = False
        for _ in range(20):
            action = world.expert()
            assert (np.abs(action) <= 1).all()
            solved = world.step(action)
            if solved:
                break
        assert solved
        seen = world.look()
        assert np.linalg.norm(seen.state[:3] - world.target) < 0.15
        assert seen.state[1] > start[1] + 0.1


def test_no_such_task_or_camera():
    with pytest.raises(UsageError, match="did you mean door-open-v3"):
        MetaWorld("door-opn-v3", SETTING)
    with pytest.raises(UsageError, match=r"--camera 'back' is unknown: use front, side, topview"):
        MetaWorld("reach-v3", Setting(("back",)))


def test_without_meta_world_the_mend_is_named(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    for name in [name for name in sys.modules if name.partition(".")[0] == "metaworld"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(UsageError, match=r"pip install 'fastki\[sim\]'"):
        MetaWorld("reach-v3", SETTING)


def test_without_a_library_to_draw_with_the_mend_is_named(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(UsageError, match=r"libosmesa6.*MUJOCO_GL"):
        MetaWorld("reach-v3", SETTING)
