"""What a dataset holds, from one pass over its actions. Axes: T frames, A action dims, E episodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data.episode import Dataset, DatasetInfo
from fastki.data.options import Progress
from fastki.data.stats import RunningStats, Summary

STILL = 1e-6
"""A dimension whose range is at most this, in native units, counts as one that never moves."""


@dataclass(frozen=True, eq=False)
class DatasetSummary:
    """The actions of a dataset in figures.

    Attributes:
        info: what its metadata say.
        actions: statistics by dimension, native units.
        still: bool ``[A]``, dimensions that never move.
        prompts: how many different prompts there are.
        example: actions ``[T, A]`` of the first episode, native units.
    """

    info: DatasetInfo
    actions: Summary
    still: NDArray[np.bool_]
    prompts: tuple[str, ...]
    example: NDArray[np.floating]


def summarize(dataset: Dataset, *, progress: Progress | None = None) -> DatasetSummary:
    """Read every episode's actions once; memory does not grow with the dataset.

    Raises:
        DataError: an episode can't be read.
    """
    stats = RunningStats()
    prompts: dict[str, None] = {}
    for index in range(len(dataset)):
        episode = dataset.read(index, state=False)
        stats.update(episode.actions)
        prompts.setdefault(episode.prompt)
        if progress is not None:
            progress(index + 1, len(dataset))
    actions = stats.summary()
    return DatasetSummary(
        info=dataset.info,
        actions=actions,
        still=actions.max - actions.min <= STILL,
        prompts=tuple(prompt for prompt in prompts if prompt),
        example=dataset.read(0, state=False).actions,
    )
