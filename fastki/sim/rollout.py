"""Acting in a simulated task until it is solved or time is up.

Axis letters: H actions that are chosen at once, A action dimensions, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastki.sim.world import Seen, World


@dataclass(frozen=True, eq=False)
class Situation:
    """What is known when actions are chosen.

    Attributes:
        seen: the frame.
        prompt: the instruction.
        previous: ``[A]``, the action before, 0 at the beginning.
        seed: of the episode.
        frame: number of the frame, from 0.
    """

    seen: Seen
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
        frames: until then, or until time was up.
        film: what was seen, camera by camera beside each other: uint8 ``[T, h, w, 3]``.
    """

    seed: int
    solved: bool
    frames: int
    film: NDArray[np.uint8]


def roll_out(world: World, actor: Actor, seed: int, *, replan: int, limit: int) -> Rollout:
    """Let ``actor`` act: ``replan`` of the actions it chose, or all if they are fewer, before it is asked again.

    Args:
        world: the task.
        actor: chooses.
        seed: of the episode.
        replan: actions carried out of those chosen at once.
        limit: frames that it has.
    """
    seen = world.reset(seed)
    film, frame, solved = [_beside(seen)], 0, False
    previous = np.zeros(world.action_dim)
    while frame < limit and not solved:
        chunk = actor.act(Situation(seen, world.prompt, previous, seed, frame))
        for action in chunk[: min(replan, limit - frame)]:
            seen, solved = world.step(action)
            film.append(_beside(seen))
            previous, frame = np.asarray(action, np.float64), frame + 1
            if solved:
                break
    return Rollout(seed, solved, frame, np.stack(film))


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
