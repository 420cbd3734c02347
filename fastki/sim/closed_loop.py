"""How often a trained policy solves a task, beside what chance does there.

Axis letters: H horizon, A action dimensions, T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data import Dataset
from fastki.errors import UsageError
from fastki.evaluation.live import LivePolicy
from fastki.sim.recorded import Recording
from fastki.sim.rollout import Actor, RandomActor, ReplayActor, Rollout, Situation, film_of, roll_out
from fastki.sim.wilson import wilson
from fastki.sim.world import World

Progress = Callable[[str, int, int], None]
FIRST_SEED = 10**12
"""Beyond all seeds of recordings."""
RANDOM, REPLAY = "random", "replay"
_REPLAYED = 64  # Recorded episodes that the blind floor draws from, at most.


@dataclass(frozen=True)
class LoopOptions:
    """How it is measured.

    Attributes:
        episodes: of each head.
        floor: of each floor; None: as many.
        replan: actions carried out of a chunk; None: half of its horizon.
        limit: frames an episode; None: twice the longest that was recorded, as far as the simulator goes on.
        seed: of the episodes.

    Raises:
        UsageError: a number out of range.
    """

    episodes: int = 20
    floor: int | None = None
    replan: int | None = None
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("episodes", self.episodes), ("replan", self.replan), ("time-limit", self.limit)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value} is out of range: 1 or more is needed")
        if self.floor is not None and self.floor < 0:
            raise UsageError(f"--floor {self.floor} is out of range: 0 or more is needed")
        if not 0 <= self.seed < 10**6:
            raise UsageError(f"--seed {self.seed} is out of range: 0 to 999,999")


@dataclass(frozen=True, eq=False)
class Success:
    """How often one way to act solved the task.

    Attributes:
        name: of the head or floor.
        rollouts: of every episode.
        films: "success" and "failure" → the first such episode, where there is one and films were asked for: uint8
            ``[T + 1, h, w, 3]``, cameras side by side.
    """

    name: str
    rollouts: tuple[Rollout, ...]
    films: Mapping[str, NDArray[np.uint8]]

    @property
    def solved(self) -> int:
        """How many episodes."""
        return sum(rollout.solved for rollout in self.rollouts)

    @property
    def rate(self) -> float:
        """The share of episodes."""
        return self.solved / len(self.rollouts)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the rate."""
        return wilson(self.solved, len(self.rollouts))


@dataclass(frozen=True, eq=False)
class ClosedLoop:
    """What was measured.

    Attributes:
        prompt: the instruction.
        heads, floors: in order.
        replan: actions carried out of a chunk of ``horizon``.
        horizon: H.
        limit: frames an episode.
        fps: frames a second.
    """

    prompt: str
    heads: tuple[Success, ...]
    floors: tuple[Success, ...]
    replan: int
    horizon: int
    limit: int
    fps: int

    @property
    def rows(self) -> tuple[Success, ...]:
        """All of them."""
        return (*self.heads, *self.floors)


@dataclass(frozen=True, eq=False)
class PolicyActor:
    """A trained policy in the simulator.

    Attributes:
        policy: one head of it.
    """

    policy: LivePolicy

    def act(self, situation: Situation) -> NDArray[np.float32]:
        """``[H, A]``."""
        seen = situation.look()
        images = {Recording.key(name): picture for name, picture in seen.images.items()}
        draw = (situation.seed * 1009 + situation.frame) % 2**31
        return self.policy.act(images, seen.state, situation.prompt, previous=situation.previous, draw=draw)


def require_fit(policy: LivePolicy, recording: Recording, action_dim: int, state_dim: int) -> None:
    """
    Raises:
        UsageError: the policy was trained on another rate, other cameras, or another robot than was recorded.
    """
    fps, own = recording.setting.fps, {Recording.key(name) for name in recording.setting.cameras}
    if policy.fps is not None and abs(policy.fps - fps) > 1e-6:
        raise UsageError(f"the policy acts at {policy.fps:g} Hz, and the simulator was recorded at {fps} Hz")
    if lacking := [name for name in policy.cameras if name not in own]:
        raise UsageError(
            f"the policy looks through {', '.join(lacking)}, and the recording has {', '.join(sorted(own))}"
        )
    if len(policy.action_names) != action_dim or policy.state_dim not in (0, state_dim):
        raise UsageError(
            f"the policy has {len(policy.action_names)} action and {policy.state_dim} state dimensions, and the "
            f"simulator {action_dim} and {state_dim}: give a run that was trained on all of them"
        )


def recorded_actions(dataset: Dataset, prompt: str) -> list[NDArray[Any]]:
    """Actions ``[T, A]`` of recorded episodes of a task, some of them where there are many.

    Raises:
        UsageError: there are none.
    """
    found: list[NDArray[Any]] = []
    for index in range(len(dataset)):
        episode = dataset.read(index, state=False)
        if episode.prompt == prompt:
            found.append(episode.actions)
        if len(found) == _REPLAYED:
            break
    if not found:
        raise UsageError(f"{dataset.info.uri} has no episode {prompt!r}: choose a task that was recorded for --env")
    return found


def measure_closed_loop(
    world: World,
    policies: Sequence[LivePolicy],
    recording: Recording,
    replayed: Sequence[NDArray[Any]],
    options: LoopOptions,
    *,
    films: bool = True,
    progress: Progress | None = None,
) -> ClosedLoop:
    """Let every head, and the floors, act in the same episodes, none of which was recorded.

    Args:
        world: the task.
        policies: heads of one run.
        recording: what they were trained on.
        replayed: recorded actions, for the floor that looks at nothing.
        options: how it is measured.
        films: keep what each head's first success and first failure looked like.
        progress: told the head or floor, how many episodes are done, and of how many.
    """
    horizon = policies[0].horizon
    replan = min(options.replan or max(1, horizon // 2), horizon)
    limit = min(options.limit or 2 * recording.longest or world.limit, world.limit)
    few = options.episodes if options.floor is None else options.floor
    report: Progress = progress or (lambda *_: None)

    def measure(name: str, actor: Actor, count: int, filmed: bool) -> Success:
        done: list[Rollout] = []
        for number in range(count):
            done.append(roll_out(world, actor, evaluation_seed(options.seed, number), replan=replan, limit=limit))
            report(name, number + 1, count)
        return Success(name, tuple(done), _films(world, done) if filmed else {})

    floors: dict[str, Actor] = {}
    if few:
        floors = {RANDOM: RandomActor(world.action_dim), REPLAY: ReplayActor(replayed)}
    return ClosedLoop(
        world.prompt,
        tuple(measure(policy.head, PolicyActor(policy), options.episodes, films) for policy in policies),
        tuple(measure(name, actor, few, False) for name, actor in floors.items()),
        replan,
        horizon,
        limit,
        recording.setting.fps,
    )


def _films(world: World, rollouts: Sequence[Rollout]) -> dict[str, NDArray[np.uint8]]:
    kinds = {"success": True, "failure": False}
    first = {kind: next((one for one in rollouts if one.solved is solved), None) for kind, solved in kinds.items()}
    return {kind: film_of(world, one) for kind, one in first.items() if one is not None}


def evaluation_seed(seed: int, number: int) -> int:
    """Of episode ``number``: never one that a recording has.

    >>> evaluation_seed(0, 3) >= FIRST_SEED
    True
    """
    return FIRST_SEED + seed * 10**6 + number
