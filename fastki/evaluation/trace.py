"""One episode for a picture: what was done, and what each head would do.

Axis letters: T frames of the episode, H horizon, A action dimensions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data import Dataset
from fastki.evaluation.acting import Acted, Frame, Head
from fastki.evaluation.fitting import Fit
from fastki.evaluation.frames import frames_of
from fastki.evaluation.policy import Policy


@dataclass(frozen=True, eq=False)
class Trace:
    """Chunk after chunk, each carried out whole before the next is asked for.

    Attributes:
        episode: its index.
        true: float64 ``[T, A]``, native units.
        predicted: head → float64 ``[T, A]``, NaN after the last whole chunk.
        horizon: H.
        fps: frames a second, None where unknown.
    """

    episode: int
    true: NDArray[np.float64]
    predicted: dict[Head, NDArray[np.float64]]
    horizon: int
    fps: float | None = None


def trace_episode(
    policy: Policy, dataset: Dataset, index: int, fit: Fit, heads: Sequence[Head], *, batch_size: int
) -> Trace:
    """The trace of an episode that has one whole chunk or more.

    Raises:
        DataError: it can't be read.
    """
    episode = dataset.read(index)
    found = frames_of(episode, dataclasses.replace(fit, spec=dataclasses.replace(fit.spec, stride=policy.horizon)))
    true = episode.actions[:, list(fit.spec.kept(dataset.info.action_dim))].astype(np.float64)
    predicted: dict[Head, NDArray[np.float64]] = {}
    for head in heads:
        path = np.full_like(true, np.nan)
        for first in range(0, len(found), batch_size):
            acted = act_padded(policy, found.frames[first : first + batch_size], head, batch_size, draw=first)
            for start, chunk in zip(found.start[first : first + batch_size].tolist(), acted.actions, strict=False):
                path[start : start + len(chunk)] = chunk
        predicted[head] = path
    return Trace(index, true, predicted, policy.horizon, dataset.info.fps)


def act_padded(policy: Policy, frames: Sequence[Frame], head: Head, size: int, *, draw: int) -> Acted:
    """What ``policy`` does with ``size`` frames or fewer, filled up with the first so that nothing is compiled anew.

    The rows beyond the frames given are the filling's.
    """
    return policy.act([*frames, *[frames[0]] * (size - len(frames))], head, draw=draw)
