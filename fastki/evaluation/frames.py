"""Frames of a dataset with the actions that were recorded there, in batches.

Axis letters: N frames, B batch, H horizon, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data import ChunkSpec, Dataset, Episode
from fastki.data.chunks import cut_chunks
from fastki.errors import DataError
from fastki.evaluation.acting import Frame
from fastki.evaluation.fitting import Fit

_OPEN = 8
"""Episodes whose frames take turns in a batch, so that each can be dealt what another saw; few, for memory."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """B frames, and what was done there.

    Attributes:
        frames: what a policy sees; pictures are decoded when they are asked for.
        actions: float64 ``[B, H, A]``, native units; differences where the policy's actions are differences.
        reference: float64 ``[B, A]``, what they are relative to; 0 elsewhere.
        episode: int64 ``[B]``.
        start: int64 ``[B]``, frame of the episode.
    """

    frames: tuple[Frame, ...]
    actions: NDArray[np.float64]
    reference: NDArray[np.float64]
    episode: NDArray[np.int64]
    start: NDArray[np.int64]

    def __len__(self) -> int:
        """B."""
        return len(self.frames)

    def take(self, places: NDArray[np.int64]) -> Recorded:
        """The frames at ``places``, in that order."""
        frames = tuple(self.frames[place] for place in places.tolist())
        actions, reference = self.actions[places], self.reference[places]
        return Recorded(frames, actions, reference, self.episode[places], self.start[places])

    @staticmethod
    def concatenate(parts: Sequence[Recorded]) -> Recorded:
        """All frames of one part or more."""
        return Recorded(
            tuple(frame for part in parts for frame in part.frames),
            np.concatenate([part.actions for part in parts]),
            np.concatenate([part.reference for part in parts]),
            np.concatenate([part.episode for part in parts]),
            np.concatenate([part.start for part in parts]),
        )


class Pictures(Mapping[str, NDArray[np.uint8]]):
    """Camera slot → picture of one frame, decoded when it is looked at."""

    def __init__(self, episode: Episode, frame: int, cameras: Mapping[str, str]) -> None:
        self.episode, self.frame, self.cameras = episode, frame, cameras

    def __getitem__(self, slot: str) -> NDArray[np.uint8]:
        return self.episode.images[self.cameras[slot]][self.frame]

    def __iter__(self) -> Iterator[str]:
        return iter(self.cameras)

    def __len__(self) -> int:
        return len(self.cameras)


def frames_of(episode: Episode, fit: Fit, *, starts: NDArray[np.int64] | None = None) -> Recorded:
    """The frames of an episode at ``starts``, by default all from which a whole chunk begins.

    Raises:
        DataError: actions relative to a state that the episode lacks.
    """
    chunks = cut_chunks(episode, fit.spec, starts=starts)
    seen = {slot: name for slot, name in fit.cameras.items() if name is not None and name in episode.images}
    before = chunks.previous + chunks.reference
    frames = tuple(
        Frame(
            Pictures(episode, start, seen),
            None if episode.state is None else episode.state[start],
            episode.prompt,
            before[row],
        )
        for row, start in enumerate(chunks.start.tolist())
    )
    return Recorded(
        frames, chunks.actions, chunks.reference, chunks.episode.astype(np.int64), chunks.start.astype(np.int64)
    )


def choose_frames(
    dataset: Dataset, episodes: NDArray[np.int64], spec: ChunkSpec, *, stride: int, most: int | None, seed: int
) -> dict[int, NDArray[np.int64]]:
    """Episode → the frames to measure at: every ``stride``-th that begins a whole chunk, ``most`` of them at random.

    Raises:
        DataError: no episode is long enough.
    """
    whole = np.maximum(0, dataset.info.lengths[episodes] - spec.horizon + stride) // stride
    ends = np.cumsum(whole)
    total = int(ends[-1]) if len(ends) else 0
    if not total:
        raise DataError(f"{dataset.info.uri}: no episode to measure on is as long as the horizon {spec.horizon}")
    places = np.arange(total)
    if most is not None and most < total:
        places = np.sort(np.random.default_rng(seed).choice(total, most, replace=False))
    owner = np.searchsorted(ends, places, side="right")
    starts = (places - (ends - whole)[owner]) * stride
    return {int(episodes[place]): starts[owner == place].astype(np.int64) for place in np.unique(owner).tolist()}


def read_batches(dataset: Dataset, chosen: Mapping[int, NDArray[np.int64]], fit: Fit, size: int) -> Iterator[Recorded]:
    """The chosen frames, ``size`` at a time, the last batch perhaps fewer; each is of several episodes if it can be.

    Raises:
        DataError: an episode can't be read.
    """
    pending: list[Recorded] = []
    indices = list(chosen)
    for first in range(0, len(indices), _OPEN):
        group = [frames_of(dataset.read(i), fit, starts=chosen[i]) for i in indices[first : first + _OPEN]]
        pending.append(_taking_turns(group))
        whole = Recorded.concatenate(pending)
        cut = len(whole) - len(whole) % size
        for start in range(0, cut, size):
            yield whole.take(np.arange(start, start + size))
        pending = [whole.take(np.arange(cut, len(whole)))]
    if len(pending[0]):
        yield pending[0]


def _taking_turns(parts: Sequence[Recorded]) -> Recorded:
    """Their frames mixed evenly, each part's in order."""
    place = np.concatenate([(np.arange(len(part)) + 0.5) / len(part) for part in parts])
    return Recorded.concatenate(parts).take(np.argsort(place, kind="stable"))
