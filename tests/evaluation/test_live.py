"""A policy that acts on one observation: what it takes, what it gives, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from dummy_run import with_card

from fastki.errors import CheckpointError, DataError, UsageError
from fastki.evaluation.fitting import fit_of
from fastki.evaluation.frames import frames_of
from fastki.evaluation.live import LivePolicy, live_policy


@pytest.fixture(scope="module")
def live(policy):
    return LivePolicy(policy)


@pytest.fixture(scope="module")
def seen(setup):
    """What is seen at one frame: pictures, state, prompt."""
    episode = setup.dataset[1]
    return {camera: episode.images[camera][4] for camera in episode.images}, episode.state[4], episode.prompt


def test_it_says_what_the_data_said_of_their_robot(live, setup):
    info = setup.dataset.info
    assert live.cameras == tuple(camera for camera in info.slots.values() if camera)
    assert (live.horizon, live.fps, live.state_dim) == (16, 15.0, 8)
    assert (live.action_names, live.arm.action_units) == (info.action_names, info.action_units)
    assert (live.arm.state_names, live.arm.state_key, live.arm.robot) == (info.state_names, info.state_key, info.robot)
    assert (live.needs_prompt, live.needs_previous) == (True, False)


@pytest.mark.parametrize("head", ["flow", "fast"])
def test_a_chunk_is_that_of_the_policy_on_the_same_frame(policy, setup, fit, seen, head):
    live = LivePolicy(policy, head)
    found = frames_of(setup.dataset[1], fit, starts=np.array([4])).frames
    actions = live.act(*seen)
    assert (actions.shape, actions.dtype) == ((16, 8), np.float32)
    np.testing.assert_array_equal(actions, policy.act(found, head, room=live.room).actions[0].astype(np.float32))
    np.testing.assert_allclose(actions, policy.act(found, head).actions[0], rtol=1e-3, atol=1e-3)


def test_slots_name_pictures_too_and_others_are_not_looked_at(live, seen):
    images, state, prompt = seen
    renamed = {slot: images[camera] for slot, camera in live.slots.items()}
    np.testing.assert_array_equal(live.act(renamed | {"sky": np.zeros(3)}, state, prompt), live.act(*seen))


def test_another_draw_is_another_chunk_and_the_same_is_the_same(live, seen):
    first, other = live.act(*seen), live.act(*seen, draw=1)
    assert np.abs(first - other).max() > 1e-3
    np.testing.assert_array_equal(first, live.act(*seen))


def test_warming_up_compiles_what_any_text_needs(policy, seen):
    live = LivePolicy(policy)
    live.warm_up()
    compiled = policy._flow._cache_size()
    images, state, _ = seen
    for prompt in ("", "a", "put the red block on the blue plate"):
        live.act(images, state, prompt)
    assert policy._flow._cache_size() == compiled


@pytest.mark.parametrize("head", ["flow", "fast"])
def test_differences_come_back_as_what_the_robot_is_told(delta_policy, delta_setup, head):
    live = LivePolicy(delta_policy, head)
    assert live.needs_previous == (head == "fast")  # Its tokenizer looks at the action before, its flow does not.
    episode = delta_setup.dataset[3]
    found = frames_of(episode, fit_of(delta_policy, delta_setup.dataset), starts=np.array([8])).frames[0]
    images = {camera: episode.images[camera][8] for camera in live.cameras}
    actions = live.act(images, episode.state[8], episode.prompt, previous=found.previous)
    acted = delta_policy.act([found], head, room=live.room)
    np.testing.assert_array_equal(actions, acted.actions[0].astype(np.float32))
    moved = acted.actions[0] - delta_policy.assets.tokenizer.normalizer.unnormalize(acted.normalized)[0]
    expected = np.zeros(4)
    expected[[1, 3]] = episode.state[8][[0, 3]]  # Dimensions 1, 0, 7, 3 are kept, 0 and 3 are relative.
    np.testing.assert_allclose(moved, np.broadcast_to(expected, (16, 4)), atol=1e-6)


def test_an_action_before_that_is_needed_is_asked_for(delta_policy, seen):
    with pytest.raises(DataError, match="there is no previous action: the policy needs 4 numbers"):
        LivePolicy(delta_policy, "fast").act(*seen)


STATE = np.zeros(8)
BAD = [
    (None, "there is no state: the policy needs 8 numbers"),
    (np.zeros(7), r"the state has shape \[7\] and type float64"),
    (np.zeros((1, 8)), r"the state has shape \[1, 8\]"),
    (np.array(["a"] * 8), "type <U1"),
    (np.where(np.arange(8) == 3, np.nan, STATE), r"the state is not finite: joint_4 position \(nan\)"),
    (np.where(np.arange(8) == 7, np.inf, STATE), r"gripper position \(inf\)"),
]


@pytest.mark.parametrize(("state", "said"), BAD, ids=[said for _, said in BAD])
def test_a_state_that_does_not_fit_is_named(live, seen, state, said):
    with pytest.raises(DataError, match=said):
        live.act(seen[0], state, "")


def test_a_camera_that_is_missing_is_named(live, seen):
    images, state, prompt = seen
    one = {live.cameras[0]: images[live.cameras[0]]}
    with pytest.raises(DataError, match=f"no picture {live.cameras[1]}: .* through {', '.join(live.cameras)}"):
        live.act(one, state, prompt)


def test_a_run_is_opened_at_the_step_that_is_asked_for(trained_once, seen):
    newest, older = live_policy(trained_once), live_policy(trained_once, step=2)
    assert (newest.act(*seen) != older.act(*seen)).any()
    assert live_policy(trained_once / "checkpoints" / "2", seed=4).policy.sampling.seed == 4


def test_steps_and_heads_that_there_are_not_are_named(trained_once, policy):
    with pytest.raises(CheckpointError, match="no checkpoint of step 7: it has 2, 3"):
        live_policy(trained_once, step=7)
    with pytest.raises(UsageError, match="is one checkpoint: leave --step out"):
        live_policy(trained_once / "checkpoints" / "3", step=3)
    with pytest.raises(UsageError, match="--mode flow: it has no fast head, use --head flow"):
        LivePolicy(with_card(policy, mode="flow"), "fast")


def test_a_card_of_before_it_described_the_robot_is_helped_by_the_tokenizer(policy, seen):
    old = LivePolicy(with_card(policy, arm=None))
    assert old.arm == dataclasses.replace(
        policy.card.arm, robot=None, state_names=tuple(f"state[{i}]" for i in range(8)), state_units=(None,) * 8
    )
    np.testing.assert_allclose(old.act(*seen), LivePolicy(policy).act(*seen), rtol=1e-4, atol=1e-5)
