"""The closed loop in a task that needs no simulator, where success is known beforehand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("flax")

from toy_world import ToyWorld

from fastki.errors import UsageError
from fastki.sim.closed_loop import FIRST_SEED, LoopOptions, evaluation_seed, measure_closed_loop, require_fit
from fastki.sim.demonstrate import episode_seed
from fastki.sim.evaluate import parse_env
from fastki.sim.recorded import Recording
from fastki.sim.rollout import RandomActor, ReplayActor, film_of, roll_out
from fastki.sim.world import Setting

RECORDING = Recording.of(("reach-v3",), Setting(("front",), 32, 8))
NOTHING = [np.zeros((5, 4))]


@dataclasses.dataclass(eq=False)
class SeeingPolicy:
    """Finds the goal in the picture, as a trained policy would; the toy shows x and y, and ``z`` is told."""

    world: ToyWorld
    head: str = "flow"
    horizon: int = 6
    fps: float | None = 10.0
    cameras: tuple[str, ...] = ("observation.images.front",)
    action_names: tuple[str, ...] = ("x", "y", "z", "gripper")
    state_dim: int = 4
    asked: int = 0

    def act(self, images, state, prompt, *, previous, draw):
        assert prompt == "do reach-v3"
        self.asked += 1
        picture = images["observation.images.front"]
        rows, columns = np.nonzero(picture[..., 0] > 200)
        goal = np.array([rows.min(), columns.min()]) / (picture.shape[0] - 8) * 2 - 1
        target = np.array([*goal, self.world.goal[2], 0])
        place, chunk = state.astype(float), []
        for _ in range(self.horizon):
            chunk.append(np.clip((target - place) / 0.1, -1, 1))
            place = place + 0.1 * chunk[-1]
        return np.stack(chunk)


@pytest.fixture
def world():
    return ToyWorld("reach-v3", RECORDING.setting)


def test_a_policy_that_sees_solves_all_that_can_be_solved(world):
    policy = SeeingPolicy(world)
    found = measure_closed_loop(world, [policy], RECORDING, NOTHING, LoopOptions(episodes=12, floor=6))
    possible = [evaluation_seed(0, number) % 3 != 2 for number in range(12)]
    (head,) = found.heads
    assert [rollout.solved for rollout in head.rollouts] == possible
    assert (head.solved, head.rate) == (8, 8 / 12)
    assert head.interval[0] > 0.39
    assert [(row.name, len(row.rollouts), row.solved) for row in found.floors] == [("random", 6, 0), ("replay", 6, 0)]
    assert (found.replan, found.horizon, found.limit) == (3, 6, 40)
    assert set(head.films) == {"success", "failure"}
    first = {solved: next(one for one in head.rollouts if one.solved is solved) for solved in (True, False)}
    assert [len(head.films[kind]) - 1 for kind in ("success", "failure")] == [first[True].frames, first[False].frames]
    assert (found.floors[0].films, found.floors[1].films) == ({}, {})


def test_a_film_is_the_episode_that_was_measured(world):
    rollout = roll_out(world, RandomActor(4), 5, replan=1, limit=6)
    film = film_of(world, rollout)
    assert film.shape == (7, 32, 32, 3)
    world.reset(5)
    for action in rollout.actions:
        world.step(action)
    np.testing.assert_array_equal(film[-1], world.look().images["front"])


def test_only_what_a_policy_looks_at_is_drawn(world):
    policy = SeeingPolicy(world)
    measure_closed_loop(world, [policy], RECORDING, NOTHING, LoopOptions(episodes=6), films=False)
    assert world.looked == policy.asked


@pytest.mark.parametrize(("replan", "asked"), [(1, 7), (3, 3), (6, 2), (99, 2)])
def test_so_many_actions_of_a_chunk_are_carried_out(world, replan, asked):
    policy = SeeingPolicy(world)
    options = LoopOptions(episodes=1, floor=0, replan=replan, limit=7, seed=1)
    found = measure_closed_loop(world, [policy], RECORDING, NOTHING, options)
    assert evaluation_seed(1, 0) % 3 == 2  # One that can't be solved, so that it lasts.
    assert (policy.asked, found.heads[0].rollouts[0].frames, found.floors) == (asked, 7, ())


def test_heads_and_floors_meet_the_same_episodes_none_of_which_was_recorded(world):
    options = LoopOptions(episodes=5, seed=3)
    found = measure_closed_loop(world, [SeeingPolicy(world)], RECORDING, NOTHING, options)
    seeds = [[rollout.seed for rollout in row.rollouts] for row in found.rows]
    assert seeds == [seeds[0]] * 3
    assert min(seeds[0]) >= FIRST_SEED > episode_seed(999_999, 999_999)


def test_floors_depend_on_the_seed_alone(world):
    for actor in (RandomActor(4), ReplayActor([np.full((3, 4), 0.5), np.full((4, 4), -0.5)])):
        one, two = (roll_out(world, actor, 5, replan=1, limit=6) for _ in range(2))
        np.testing.assert_array_equal(one.actions, two.actions)
    assert not ReplayActor([np.ones((1, 4))]).act(dataclasses.make_dataclass("S", ["seed", "frame"])(0, 1)).any()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fps": 20.0}, "acts at 20 Hz, and the simulator was recorded at 10 Hz"),
        ({"cameras": ("observation.images.top",)}, "looks through observation.images.top"),
        ({"action_names": ("x", "y")}, "2 action and 4 state dimensions"),
    ],
)
def test_a_policy_of_another_robot_is_refused(world, changes, said):
    require_fit(SeeingPolicy(world), RECORDING, 4, 4)
    with pytest.raises(UsageError, match=said):
        require_fit(SeeingPolicy(world, **changes), RECORDING, 4, 4)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("gym:reach-v3", "metaworld:TASK"),
        ("metaworld", "metaworld:TASK"),
        ("metaworld:reech-v3", "did you mean reach-v3"),
    ],
)
def test_environments_that_there_are_not(env, said):
    with pytest.raises(UsageError, match=said):
        parse_env(env)


@pytest.mark.parametrize("wrong", [{"episodes": 0}, {"replan": 0}, {"limit": 0}, {"floor": -1}, {"seed": -1}])
def test_numbers_out_of_range(wrong):
    with pytest.raises(UsageError, match="out of range"):
        LoopOptions(**wrong)
