from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastki.data import FrameSource, open_dataset
from fastki.data.synthetic import CAMERAS, RenderedFrames
from fastki.data.synthetic_arm import forward, inverse
from fastki.data.synthetic_control import place_of, simulate
from fastki.data.synthetic_scene import TARGET_RADIUS, Task, draw_scene, stream


def run(scene, seed=0, index=0):
    return simulate(scene, stream(seed, index, "noise"))


def first_frame(scene, camera=CAMERAS[0]):
    return RenderedFrames(scene, run(scene), camera, 64)[0]


def test_shape_of_the_dataset():
    dataset = open_dataset("synthetic:droid")
    info = dataset.info
    assert (len(dataset), info.action_dim, info.state_dim, info.fps) == (64, 8, 8, 15.0)
    assert (info.action_names[0], info.action_names[-1]) == ("joint_1 velocity", "gripper position")
    assert info.action_units == ("rad/s",) * 7 + ("fraction",)
    assert info.cameras == ("exterior_image_1_left", "wrist_image_left")
    assert 90 <= info.lengths.min() < info.lengths.max() <= 160
    actions = np.concatenate([episode.actions for episode in dataset])
    assert len(actions) == info.num_frames
    assert actions.dtype == np.float32
    assert np.abs(actions[:, :7]).max() <= 1.0
    assert (actions.std(axis=0) > 0.1).all()
    assert (actions[:, 7].min(), actions[:, 7].max() > 0.99) == (0.0, True)
    assert len({episode.prompt for episode in dataset}) > 40


PINNED_ACTION = [-0.212265, 0.28476, -0.135437, -0.194107, -0.00502, -0.116135, -0.58046, 0.0]


def test_same_seed_gives_the_same_bits_and_these_values():
    first, second = (
        b"".join(e.actions.tobytes() + e.state.tobytes() for e in open_dataset("synthetic:droid")) for _ in range(2)
    )
    assert first == second
    # Pinned, so that a change of the sample is a decision: the last bits of a sine may differ between processors.
    np.testing.assert_allclose(open_dataset("synthetic:droid")[5].actions[20], PINNED_ACTION, atol=2e-6)


def test_episodes_do_not_depend_on_their_number_but_on_the_seed():
    few, many = open_dataset("synthetic:droid?episodes=2"), open_dataset("synthetic:droid?episodes=9")
    other = open_dataset("synthetic:droid?episodes=2&seed=1")
    np.testing.assert_array_equal(few[1].actions, many[1].actions)
    np.testing.assert_array_equal(few[1].images[CAMERAS[0]][3], many[1].images[CAMERAS[0]][3])
    assert few.info.lengths.tolist() == many.info.lengths[:2].tolist() != other.info.lengths.tolist()
    assert len({dataset.info.fingerprint for dataset in (few, many, other)}) == 3


def test_states_follow_from_actions():
    episode = open_dataset("synthetic:droid?episodes=1")[0]
    steps = np.diff(episode.state[:, :7], axis=0)
    np.testing.assert_allclose(steps, episode.actions[:-1, :7] / 15.0, atol=1e-4)


@pytest.mark.parametrize("index", range(12))
def test_the_task_is_done(index):
    scene = draw_scene(0, index)
    rollout = run(scene, index=index)
    thing = scene.objects[scene.task.object]
    tip = forward(rollout.state[rollout.grasp, :7].astype(float))[0][-1]
    assert np.linalg.norm(tip[:2] - [thing.x, thing.y]) < 0.02
    end = place_of(scene, rollout, scene.frames - 1)
    if scene.task.target is None:
        assert end[2] > 0.1
        assert rollout.actions[-1, 7] > 0.9
    else:
        target = scene.targets[scene.task.target]
        assert np.linalg.norm(end[:2] - [target.x, target.y]) < TARGET_RADIUS / 2
        assert rollout.actions[-1, 7] < 0.1


@pytest.mark.parametrize("task", [Task("put", 2, 1), Task("put", 0, 0), Task("lift", 1)])
def test_prompt_changes_the_actions_but_not_the_first_image(task):
    scene = replace(draw_scene(0, 0), task=Task("put", 1, 1))
    changed = replace(scene, task=task)
    assert changed.prompt != scene.prompt
    np.testing.assert_array_equal(first_frame(changed), first_frame(scene))
    np.testing.assert_array_equal(run(changed).state[0], run(scene).state[0])
    assert np.abs(run(changed).actions - run(scene).actions).max() > 0.2


def test_words_with_one_meaning_give_the_same_actions():
    scene = replace(draw_scene(0, 0), task=Task("put", 1, 1))
    np.testing.assert_array_equal(run(replace(scene, task=Task("move", 1, 1))).actions, run(scene).actions)


@pytest.mark.parametrize("which", ["objects", "targets"])
def test_places_change_the_actions_and_the_image_but_not_the_prompt(which):
    scene = replace(draw_scene(0, 0), task=Task("put", 0, 0))
    first, *rest = getattr(scene, which)
    changed = replace(scene, **{which: (replace(first, x=first.x + 0.04, y=first.y - 0.06), *rest)})
    assert changed.prompt == scene.prompt
    np.testing.assert_array_equal(run(changed).state[0], run(scene).state[0])
    assert (first_frame(changed) != first_frame(scene)).any(axis=2).sum() > 5
    assert np.abs(run(changed).actions - run(scene).actions).max() > 0.05


def test_initial_state_changes_the_actions():
    scene = draw_scene(0, 0)
    changed = replace(scene, joints=tuple(joint + 0.1 for joint in scene.joints))
    assert changed.prompt == scene.prompt
    assert np.abs(run(changed).actions - run(scene).actions).max() > 0.05


def test_images_are_drawn_when_asked_for():
    episode = open_dataset("synthetic:droid?episodes=1&size=48")[0]
    for name in CAMERAS:
        frames: FrameSource = episode.images[name]
        assert len(frames) == len(episode)
        assert (frames[0].shape, frames[0].dtype) == ((48, 48, 3), np.uint8)
        assert (frames[0] != frames[len(frames) // 2]).any()
        np.testing.assert_array_equal(frames[-1], frames[len(frames) - 1])
        with pytest.raises(IndexError):
            frames[len(frames)]
    assert open_dataset("synthetic:droid")[0].images[CAMERAS[1]][0].shape == (96, 96, 3)


def test_named_object_is_seen_in_its_colour():
    for index in range(5):
        scene = draw_scene(0, index)
        moved = replace(scene, objects=tuple(replace(thing, color="red") for thing in scene.objects))
        assert moved == scene or (first_frame(moved) != first_frame(scene)).any()


@pytest.mark.parametrize("tip", [(0.4, 0.2, 0.03), (0.57, -0.25, 0.2), (0.38, 0.0, 0.14)])
def test_inverse_kinematics_inverts(tip):
    points, axes = forward(inverse(np.array(tip), 0.3))
    np.testing.assert_allclose(points[-1], tip, atol=1e-12)
    np.testing.assert_allclose(axes[:, 2], [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(np.diff(points, axis=0), axis=1), [0.45, 0.32, 0.36, 0.2])
    np.testing.assert_allclose(axes[:2, 0], [-np.cos(0.3), -np.sin(0.3)], atol=1e-12)
