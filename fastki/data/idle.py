"""Frames at which hardly anything moves: left out as starts of chunks, as openpi's DROID training does.

A policy that learns from them learns to stand still. Axes: T frames, A action dims.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError

THRESHOLD = 1e-3
"""DROID's: an action that changes by less than this from frame to frame, in native units, is at rest."""


@dataclass(frozen=True)
class IdleFilter:
    """Which frames count as idle; the defaults are those of openpi's DROID training.

    A frame is at rest when no dimension's action changes by ``threshold`` or more from the frame before. Runs
    of ``min_idle`` or more such frames are idle, and so is what is left between them where it is shorter than
    ``min_moving``. Of the rest, the last ``tail`` frames of each run are dropped as well: a chunk that starts
    there would be mostly idle.

    Attributes:
        threshold: native units, above 0.
        min_idle, min_moving, tail: frames; 7, 16 and 10 are about 0.5, 1 and 0.7 s of DROID's 15 Hz.

    Raises:
        UsageError: a value out of range.
    """

    threshold: float = THRESHOLD
    min_idle: int = 7
    min_moving: int = 16
    tail: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.threshold < np.inf:
            raise UsageError(f"--drop-idle {self.threshold} is out of range: a change above 0 is needed, such as 0.001")
        if min(self.min_idle, self.min_moving) < 1 or self.tail < 0:
            raise UsageError("an idle filter needs runs of 1 frame or more, and a tail of 0 or more")

    def moving(self, actions: NDArray[Any]) -> NDArray[np.bool_]:
        """``[T]``, whether a chunk may start there, for ``actions [T, A]`` without the grippers.

        >>> import numpy as np
        >>> actions = np.r_[np.arange(20.0), np.full(10, 19.0)][:, None]
        >>> np.flatnonzero(IdleFilter(tail=4).moving(actions))
        array([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15])
        """
        keep = ~_in_runs(at_rest(actions, self.threshold), at_least=self.min_idle)
        starts, ends = _runs(keep)
        long = ends - starts >= self.min_moving
        result = np.zeros(len(actions), dtype=bool)
        for start, end in zip(starts[long], ends[long] - self.tail, strict=True):
            result[start : max(start, end)] = True
        return result


def at_rest(actions: NDArray[Any], threshold: float = THRESHOLD) -> NDArray[np.bool_]:
    """``[T]``, whether the action hardly differs from the one before, for ``actions [T, A]``; never the first."""
    still = (np.abs(np.diff(actions, axis=0)) < threshold).all(axis=1)
    return np.concatenate([np.zeros(min(1, len(actions)), dtype=bool), still])


def idle_frames(actions: NDArray[Any], idle: IdleFilter) -> int:
    """How many frames of ``actions [T, A]`` lie in idle runs."""
    return int(_in_runs(at_rest(actions, idle.threshold), at_least=idle.min_idle).sum())


def _in_runs(flags: NDArray[np.bool_], *, at_least: int) -> NDArray[np.bool_]:
    """``[T]``, True where a run of at least so many True values is."""
    starts, ends = _runs(flags)
    long = ends - starts >= at_least
    change = np.zeros(len(flags) + 1, dtype=np.int64)
    change[starts[long]], change[ends[long]] = 1, -1
    return np.cumsum(change)[:-1].astype(bool)


def _runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where each run of True values starts, and where it has ended."""
    change = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1)
