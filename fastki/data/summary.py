"""What a dataset holds, from one pass over its actions. Axes: T frames, A action dims, E episodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data.episode import Dataset, DatasetInfo
from fastki.data.idle import IdleFilter, idle_frames
from fastki.data.options import Progress
from fastki.data.stats import RunningStats, Summary

STILL = 1e-6
"""A dimension whose range is at most this, in native units, counts as one that never moves."""
_MAX_PROMPTS = 10_000


@dataclass(frozen=True, eq=False)
class DatasetSummary:
    """The actions of a dataset in figures.

    Attributes:
        info: what its metadata say.
        actions: statistics by dimension, native units.
        still: bool ``[A]``, dimensions that never move.
        idle: by what idle frames were told.
        idle_frames: how many frames lie in runs in which nothing but a gripper moves.
        prompts: the different prompts, at most 10,000, in order of appearance.
        example: actions ``[T, A]`` of the first episode, native units.
    """

    info: DatasetInfo
    actions: Summary
    still: NDArray[np.bool_]
    idle: IdleFilter
    idle_frames: int
    prompts: tuple[str, ...]
    example: NDArray[np.floating]

    @property
    def idle_share(self) -> float:
        """Share of the frames that lie in idle runs, in [0, 1]."""
        return self.idle_frames / max(1, self.info.num_frames)


def summarize(dataset: Dataset, *, progress: Progress | None = None) -> DatasetSummary:
    """Read every episode's actions once; memory does not grow with the dataset.

    Raises:
        DataError: an episode can't be read.
    """
    stats, idle = RunningStats(), IdleFilter()
    moving_dims = [dim for dim in range(dataset.info.action_dim) if dim not in dataset.info.grippers]
    idle_count = 0
    prompts: dict[str, None] = {}
    for index in range(len(dataset)):
        episode = dataset.read(index, state=False)
        stats.update(episode.actions)
        idle_count += idle_frames(episode.actions[:, moving_dims], idle)
        if episode.prompt and len(prompts) < _MAX_PROMPTS:
            prompts.setdefault(episode.prompt)
        if progress is not None:
            progress(index + 1, len(dataset))
    actions = stats.summary()
    return DatasetSummary(
        info=dataset.info,
        actions=actions,
        still=actions.max - actions.min <= STILL,
        idle=idle,
        idle_frames=idle_count,
        prompts=tuple(prompts),
        example=dataset.read(0, state=False).actions,
    )
