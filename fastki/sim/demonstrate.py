"""One attempt of an expert at a task, and how it is kept until a recording is complete.

Axis letters: T frames, A action dimensions, S state dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.errors import DataError
from fastki.files import atomic_path
from fastki.sim.world import Demonstrator, Seen

_MOST = 1_000_000
"""Attempts that the seeds of one recording leave room for."""


@dataclass(frozen=True)
class Style:
    """How the expert is recorded.

    Attributes:
        noise: standard deviation of what is added to x, y and z of the action that is carried out; the action that is
            recorded is the expert's own, so that data hold ways back from where it would not have gone.
        after: frames recorded after the task is solved.
        wander: frames, at most, in which the hand is pushed somewhere before the recording begins. Without it every
            episode starts at one place, so that where the hand is soon tells where it is going, and what learns from
            such data need not look.
    """

    noise: float = 0.0
    after: int = 10
    wander: int = 0


@dataclass(frozen=True, eq=False)
class Attempt:
    """What an expert did.

    Attributes:
        seed: of the episode.
        solved: the task was solved at some time.
        actions: float32 ``[T, A]``, what the expert wanted; -1 to 1.
        states: float32 ``[T, S]``, before each.
        images: camera → uint8 RGB ``[T, size, size, 3]``, likewise.
    """

    seed: int
    solved: bool
    actions: NDArray[np.float32]
    states: NDArray[np.float32]
    images: Mapping[str, NDArray[np.uint8]]


def episode_seed(seed: int, attempt: int) -> int:
    """Of attempt number ``attempt`` of a recording; no two recordings of other seeds share one.

    >>> episode_seed(2, 5)
    2000005
    """
    return seed * _MOST + attempt


def demonstrate(world: Demonstrator, seed: int, style: Style) -> Attempt:
    """Let the expert try, until it has solved the task and ``style.after`` frames have passed, or time is up."""
    rng = np.random.default_rng(seed)
    actions, frames, left = [], [], -1
    _begin(world, seed, style.wander)
    for _ in range(world.limit):
        action = world.expert()
        actions.append(action)
        frames.append(world.look())
        push = np.zeros(world.action_dim)
        push[:3] = style.noise * rng.standard_normal(3)
        solved = world.step(np.clip(action + push, -1, 1))
        if left < 0 and solved:
            left = style.after
        elif left > 0:
            left -= 1
        if left == 0:
            break
    return Attempt(seed, left >= 0, np.stack(actions), *_stacked(frames))


def _begin(world: Demonstrator, seed: int, most: int) -> None:
    """Begin the episode, and push the hand one way for up to ``most`` frames."""
    world.reset(seed)
    if most:
        rng = np.random.default_rng((seed, most))
        push = np.zeros(world.action_dim)
        push[:3] = rng.uniform(-1, 1, 3)
        for _ in range(rng.integers(most + 1)):
            world.step(push)


def _stacked(frames: list[Seen]) -> tuple[NDArray[np.float32], dict[str, NDArray[np.uint8]]]:
    images = {name: np.stack([seen.images[name] for seen in frames]) for name in frames[0].images}
    return np.stack([seen.state for seen in frames]), images


def save_attempt(attempt: Attempt, path: Path, *, keep: bool) -> None:
    """Write it, whole or not at all; without ``keep`` only whether the task was solved."""
    arrays: dict[str, Any] = {"seed": np.int64(attempt.seed), "solved": np.bool_(attempt.solved)}
    if keep:
        arrays |= {"actions": attempt.actions, "states": attempt.states}
        arrays |= {f"images/{name}": pictures for name, pictures in attempt.images.items()}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def load_attempt(path: Path) -> Attempt:
    """One that :func:`save_attempt` kept.

    Raises:
        DataError: a damaged file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        images = {name.partition("/")[2]: value for name, value in arrays.items() if name.startswith("images/")}
        return Attempt(int(arrays["seed"]), bool(arrays["solved"]), arrays["actions"], arrays["states"], images)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}): delete it, and record again") from error


def was_solved(path: Path) -> bool:
    """Whether the attempt at ``path``, kept or not, solved its task.

    Raises:
        DataError: a damaged file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return bool(file["solved"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}): delete it, and record again") from error
