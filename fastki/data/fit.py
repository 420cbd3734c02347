"""One pass over a dataset, one episode in memory at a time: a sample of its chunks, and the normaliser."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastki.data.chunks import ChunkSpec, cut_chunks
from fastki.data.episode import Dataset, Episode
from fastki.data.gather import ChunkSample, ChunkSampler, Episodes, sample_of, select_episodes, too_short
from fastki.data.normalize import Method, Normalizer
from fastki.data.options import Progress
from fastki.data.stats import RunningStats, Summary


class ActionStats:
    """Statistics of the actions that ``spec`` keeps, over episodes as they come.

    Absolute dimensions count each frame once. Delta dimensions exist only in chunks: they count each value of
    each chunk.
    """

    def __init__(self, spec: ChunkSpec, action_dim: int) -> None:
        self._spec, self._dims = spec, list(spec.kept(action_dim))
        self._is_delta = np.isin(self._dims, spec.delta)
        self._frames, self._windows = RunningStats(), RunningStats()

    def add(self, episode: Episode) -> None:
        """Take the actions of ``episode``."""
        self._frames.update(episode.actions[:, self._dims])
        if self._is_delta.any():
            values = cut_chunks(episode, self._spec).actions[..., self._is_delta]
            self._windows.update(values.reshape(-1, values.shape[-1]))

    def summary(self) -> Summary | None:
        """The statistics by kept dimension; None where delta dimensions had no chunk."""
        if not self._frames.count or (self._is_delta.any() and not self._windows.count):
            return None
        summary = self._frames.summary()
        if self._is_delta.any():
            for name, part in vars(self._windows.summary()).items():
                getattr(summary, name)[self._is_delta] = part
        return summary


@dataclass(frozen=True, eq=False)
class Survey:
    """What one pass over a dataset found.

    Attributes:
        sample: its chunks, or some of them.
        normalizer: fitted on all frames of the episodes.
    """

    sample: ChunkSample
    normalizer: Normalizer


def survey(
    dataset: Dataset,
    spec: ChunkSpec,
    *,
    episodes: Episodes | None = None,
    max_chunks: int | None = None,
    seed: int = 0,
    method: Method = "quantile",
    clip: bool = False,
    progress: Progress | None = None,
) -> Survey:
    """Sample chunks and fit the normaliser in one pass; memory does not grow with the dataset.

    Raises:
        DataError: no chunk at all, or an episode that cannot be read.
        UsageError: an option out of range, or an episode or dimension that is not there.
    """
    chosen = select_episodes(dataset, episodes)
    sampler = ChunkSampler(spec, max_chunks=max_chunks, seed=seed)
    stats = ActionStats(spec, dataset.info.action_dim)
    for done, index in enumerate(chosen.tolist(), 1):
        episode = dataset.read(index, state=spec.needs_state)
        stats.add(episode)
        sampler.add(episode)
        if progress is not None:
            progress(done, len(chosen))
    sample, summary = sample_of(sampler, dataset, chosen), stats.summary()
    assert summary is not None, "there is a chunk, so there are statistics"
    return Survey(sample, Normalizer.from_summary(summary, method=method, clip=clip))


def fit_normalizer(
    dataset: Dataset,
    spec: ChunkSpec,
    *,
    episodes: Episodes | None = None,
    method: Method = "quantile",
    clip: bool = False,
    progress: Progress | None = None,
) -> Normalizer:
    """The normaliser of the actions that ``spec`` keeps; see :class:`ActionStats`.

    Raises:
        DataError: no chunk at all for delta dimensions, or an episode that cannot be read.
        UsageError: an unknown method, or an episode or dimension that is not there.
    """
    chosen = select_episodes(dataset, episodes)
    stats = ActionStats(spec, dataset.info.action_dim)
    for done, index in enumerate(chosen.tolist(), 1):
        stats.add(dataset.read(index, state=spec.needs_state))
        if progress is not None:
            progress(done, len(chosen))
    summary = stats.summary()
    if summary is None:
        raise too_short(dataset, spec, chosen)
    return Normalizer.from_summary(summary, method=method, clip=clip)
