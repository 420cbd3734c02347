"""What a simulated task is to whoever records or acts in it.

Axis letters: A action dimensions, S state dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError

CONTROL_RATE = 80
"""Steps a second of Meta-World's control."""
LARGEST = 480


@dataclass(frozen=True)
class Setting:
    """How a task is seen and stepped, for a recording and for all that acts on what was learnt from it.

    Attributes:
        cameras: their names.
        size: height and width of a picture, pixels.
        every: control steps a frame, during which the action is held: 4 is 20 frames a second.

    Raises:
        UsageError: a number out of range, no cameras, or one named twice.
    """

    cameras: tuple[str, ...] = ("front",)
    size: int = 64
    every: int = 4

    def __post_init__(self) -> None:
        if not 16 <= self.size <= LARGEST:
            raise UsageError(f"--size {self.size} is out of range: 16 to {LARGEST} pixels are possible")
        if self.every < 1 or CONTROL_RATE % self.every:
            raise UsageError(
                f"--every {self.every} does not divide {CONTROL_RATE} steps a second: use 1, 2, 4, 5, 8, 10 or 16"
            )
        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise UsageError(f"--camera {','.join(self.cameras)} names no camera or one twice")

    @property
    def fps(self) -> int:
        """Frames a second."""
        return CONTROL_RATE // self.every


@dataclass(frozen=True, eq=False)
class Seen:
    """One frame.

    Attributes:
        images: camera → uint8 RGB ``[size, size, 3]``.
        state: float32 ``[S]``.
    """

    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float32]


class World(Protocol):
    """A task in a simulator."""

    @property
    def prompt(self) -> str:
        """The instruction."""
        ...

    @property
    def limit(self) -> int:
        """Frames that an episode may last."""
        ...

    @property
    def action_dim(self) -> int:
        """A; every dimension ranges from -1 to 1."""
        ...

    def reset(self, seed: int) -> None:
        """Begin the episode that belongs to ``seed``."""
        ...

    def step(self, action: NDArray[Any]) -> bool:
        """Carry out ``action [A]`` for a frame; whether the task was solved on the way."""
        ...

    def look(self) -> Seen:
        """What is seen now; apart from the steps, as drawing it takes far longer than they do."""
        ...


class Demonstrator(World, Protocol):
    """A task with someone who solves it."""

    def expert(self) -> NDArray[np.float32]:
        """What the expert would do now: ``[A]``, -1 to 1."""
        ...
