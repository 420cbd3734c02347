"""Acting in a simulated task until it is solved or time is up.

Axis letters: H actions that are chosen at once, A action dimensions, T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastki.sim.world import Seen, World


@dataclass(frozen=True, eq=False)
class Situation:
    """What is known when actions are chosen.

    Attributes:
        look: draws what is seen now, for those who want to know.
        prompt: the instruction.
        previous: ``[A]``, the action before, 0 at the beginning.
        seed: of the episode.
        frame: number of the frame, from 0.
    """

    look: Callable[[], Seen]
    prompt: str
    previous: NDArray[np.float64]
    seed: int
    frame: int


class Actor(Protocol):
    """Whoever chooses actions."""

    def act(self, situation: Situation) -> NDArray[Any]:
        """The next actions ``[H, A]``, one or more."""
        ...


@dataclass(frozen=True, eq=False)
class Rollout:
    """One episode.

    Attributes:
        seed: of the episode.
        solved: the task was solved in time.
        frames: T, until then, or until time was up.
        actions: float64 ``[T, A]``, as they were carried out.
    """

    seed: int
    solved: bool
    frames: int
    actions: NDArray[np.float64]


def roll_out(world: World, actor: Actor, seed: int, *, replan: int, limit: int) -> Rollout:
    """Let ``actor`` act: ``replan`` of the actions it chose, or all if they are fewer, before it is asked again.

    Args:
        world: the task.
        actor: chooses.
        seed: of the episode.
        replan: actions carried out of those chosen at once.
        limit: frames that it has.
    """
    world.reset(seed)
    actions: list[NDArray[np.float64]] = []
    solved = False
    while len(actions) < limit and not solved:
        previous = actions[-1] if actions else np.zeros(world.action_dim)
        chunk = actor.act(Situation(world.look, world.prompt, previous, seed, len(actions)))
        for action in chunk[: min(replan, limit - len(actions))]:
            solved = world.step(action)
            actions.append(np.asarray(action, np.float64))
            if solved:
                break
    return Rollout(seed, solved, len(actions), np.stack(actions))


def film_of(world: World, rollout: Rollout) -> NDArray[np.uint8]:
    """The episode once more, with every frame drawn: uint8 ``[T + 1, h, w, 3]``, cameras side by side.

    Most episodes are never watched, and those who act look at few of their frames.
    """
    world.reset(rollout.seed)
    film = [_beside(world.look())]
    for action in rollout.actions:
        world.step(action)
        film.append(_beside(world.look()))
    return np.stack(film)


def _beside(seen: Seen) -> NDArray[np.uint8]:
    return np.concatenate(list(seen.images.values()), axis=1)


@dataclass(frozen=True)
class RandomActor:
    """Chooses anything, anew in every frame: each dimension evenly from -1 to 1.

    Attributes:
        action_dim: A.
    """

    action_dim: int

    def act(self, situation: Situation) -> NDArray[np.float64]:
        """``[1, A]``."""
        rng = np.random.default_rng((situation.seed, situation.frame))
        return rng.uniform(-1, 1, (1, self.action_dim))


@dataclass(frozen=True, eq=False)
class ReplayActor:
    """Does what was recorded in an episode drawn at random, whatever it sees, and then nothing.

    Attributes:
        episodes: actions ``[T, A]`` of each.
    """

    episodes: Sequence[NDArray[Any]]

    def act(self, situation: Situation) -> NDArray[np.float64]:
        """``[1, A]``."""
        chosen = self.episodes[int(np.random.default_rng(situation.seed).integers(len(self.episodes)))]
        if situation.frame < len(chosen):
            return np.asarray(chosen[situation.frame : situation.frame + 1], np.float64)
        return np.zeros((1, chosen.shape[1]))
