"""Held-out frames of a dataset with the actions that were recorded there.

Axis letters: N frames, H horizon, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data import ChunkSpec, Dataset, Episode
from fastki.data.chunks import Chunks, cut_chunks
from fastki.errors import DataError
from fastki.evaluation.policy import Frame


@dataclass(frozen=True, eq=False)
class Recorded:
    """Frames of one episode.

    Attributes:
        episode: with its pictures.
        chunks: that were recorded from each of the N frames on, in native units.
        frames: what a policy sees there; pictures are decoded when they are asked for.
    """

    episode: Episode
    chunks: Chunks
    frames: tuple[Frame, ...]


class _Pictures(Mapping[str, NDArray[np.uint8]]):
    """Camera slot → picture of one frame, decoded when it is looked at."""

    def __init__(self, episode: Episode, frame: int, cameras: Mapping[str, str]) -> None:
        self._episode, self._frame, self._cameras = episode, frame, cameras

    def __getitem__(self, slot: str) -> NDArray[np.uint8]:
        return self._episode.images[self._cameras[slot]][self._frame]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cameras)

    def __len__(self) -> int:
        return len(self._cameras)


def recorded(
    dataset: Dataset,
    index: int,
    spec: ChunkSpec,
    cameras: Mapping[str, str | None],
    *,
    starts: NDArray[np.int64] | None,
) -> Recorded:
    """The frames of an episode at ``starts``, by default all from which a chunk begins.

    Raises:
        DataError: the episode can't be read.
    """
    episode = dataset.read(index)
    chunks = cut_chunks(episode, spec, starts=starts)
    seen = {slot: name for slot, name in cameras.items() if name is not None and name in episode.images}
    before = chunks.previous + chunks.reference
    frames = tuple(
        Frame(
            _Pictures(episode, start, seen),
            None if episode.state is None else episode.state[start],
            episode.prompt,
            before[row],
        )
        for row, start in enumerate(chunks.start.tolist())
    )
    return Recorded(episode, chunks, frames)


def choose_frames(
    dataset: Dataset, episodes: NDArray[np.int64], spec: ChunkSpec, *, stride: int, most: int | None, seed: int
) -> dict[int, NDArray[np.int64]]:
    """Episode → the frames to measure at: every ``stride``-th that begins a whole chunk, ``most`` of them at random.

    Raises:
        DataError: no episode is long enough.
    """
    pairs = [
        (index, start)
        for index in episodes.tolist()
        for start in range(0, max(0, int(dataset.info.lengths[index]) - spec.horizon + 1), stride)
    ]
    if not pairs:
        raise DataError(f"{dataset.info.uri}: no episode to measure on is as long as the horizon {spec.horizon}")
    if most is not None and most < len(pairs):
        order = np.random.default_rng(seed).permutation(len(pairs))[:most]
        pairs = [pairs[place] for place in np.sort(order).tolist()]
    chosen: dict[int, list[int]] = {}
    for index, start in pairs:
        chosen.setdefault(index, []).append(start)
    return {index: np.array(starts, np.int64) for index, starts in chosen.items()}
