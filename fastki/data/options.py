"""How a dataset is opened: what a user may say about it, in one value that a tokenizer's folder can record."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fastki.errors import UsageError

Progress = Callable[[int, int], object]
"""Called with (done, in all): episodes, or whatever a reader counts."""


@dataclass(frozen=True)
class OpenOptions:
    """What to read of a dataset, and how.

    Attributes:
        action_key: where the actions are, several keys joined by commas; None finds them.
        state_key: likewise for the state.
        split: a split by name, for formats that have them (TFDS splits, robomimic filter keys); None takes
            the format's default.
        robot: a preset's name, "auto" to guess one, "none" to look for no preset.
        fps: resample to so many frames per second; None keeps the recorded rate.
        hold: action dimensions that resampling steps rather than interpolates, such as ``7`` or ``6,13``;
            None: the grippers that the robot's preset names.
        skip_bad: leave out episodes that cannot be read, instead of raising.
        slots: which camera fills which of openpi's slots, such as ``base_0_rgb=top,left_wrist_0_rgb=hand``; None: those
            that the robot's preset names.

    Raises:
        UsageError: a rate that is no positive number, or ``hold`` without ``fps``.
    """

    action_key: str | None = None
    state_key: str | None = None
    split: str | None = None
    robot: str = "auto"
    fps: float | None = None
    hold: str | None = None
    skip_bad: bool = False
    slots: str | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise UsageError(f"--fps {self.fps} is out of range: a number above 0 is needed")
        if self.hold is not None and self.fps is None:
            raise UsageError("--hold says how to resample, so it needs --fps")
