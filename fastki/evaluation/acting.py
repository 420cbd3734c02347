"""What goes into a policy and what comes out.

Axis letters: B frames, H horizon, A action dimensions of the robot, S state dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError
from fastki.sequence.sizes import STEPS

Head = Literal["flow", "fast"]
HEADS: tuple[Head, ...] = ("flow", "fast")


@dataclass(frozen=True, eq=False)
class Frame:
    """What a policy looks at.

    Attributes:
        images: camera slot → RGB picture in any form that :func:`fastki.data.pictures.as_picture` takes.
        state: ``[S]`` native units; None where there is none.
        prompt: the instruction.
        previous: ``[A]``, the action before, native units: only for tokenizers and data that refer to it.
    """

    images: Mapping[str, NDArray[Any]]
    state: NDArray[Any] | None
    prompt: str = ""
    previous: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class Acted:
    """What a policy did with B frames.

    Attributes:
        actions: float64 ``[B, H, A]``, native units, differences undone.
        normalized: float64 ``[B, H, A]``, as the model has them.
        tokens: int64 ``[B]``, FAST tokens written; None of the flow.
        repaired: bool ``[B]``, token sequences that were malformed; all False of the flow.
        seconds: that the model took.
    """

    actions: NDArray[np.float64]
    normalized: NDArray[np.float64]
    tokens: NDArray[np.int64] | None
    repaired: NDArray[np.bool_]
    seconds: float

    @property
    def malformed(self) -> int:
        """How many sequences had to be repaired."""
        return int(np.count_nonzero(self.repaired))


@dataclass(frozen=True)
class Sampling:
    """How actions are drawn.

    Attributes:
        num_steps: Euler steps of the flow.
        temperature: of FAST tokens; 0 takes the likeliest.
        seed: of noise and tokens.

    Raises:
        UsageError: a number out of range.
    """

    num_steps: int = STEPS
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise UsageError(f"--num-steps {self.num_steps} is out of range: 1 or more is needed")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"--temperature {self.temperature} is out of range: 0 or more is needed")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed} is negative: 0 or more is needed")
