"""Chunks of a whole dataset, one episode in memory at a time. Axes: E episodes, N chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.chunks import Chunks, ChunkSpec, cut_chunks
from fastki.data.episode import Dataset, Episode
from fastki.data.options import Progress
from fastki.errors import DataError, UsageError

Episodes = Sequence[int] | NDArray[Any]


@dataclass(frozen=True, eq=False)
class ChunkSample:
    """Chunks and where they come from.

    Attributes:
        chunks: the chunks, by episode and start.
        total_chunks: how many there are without a limit.
        idle_chunks: how many more there would be if none were left out as idle.
        episodes_used: how many episodes gave a chunk, or could have.
        short_episodes: the indices of those that are too short, and so left out.
    """

    chunks: Chunks
    total_chunks: int
    idle_chunks: int
    episodes_used: int
    short_episodes: tuple[int, ...]


class ChunkSampler:
    """Takes episodes as they come and keeps at most ``max_chunks`` of their chunks, each as likely as any other.

    Each chunk draws a number that depends on nothing but the seed, its episode and its place there; those
    with the smallest stay. So the sample is the same in whatever order or in however many parts a dataset is
    read, and its length need not be known. (Bottom-k sampling: Cohen and Kaplan 2007.)

    Raises:
        UsageError: ``max_chunks`` below 1.
    """

    def __init__(self, spec: ChunkSpec, *, max_chunks: int | None = None, seed: int = 0) -> None:
        if max_chunks is not None and max_chunks < 1:
            raise UsageError(f"at most {max_chunks} chunks: 1 or more is needed")
        self.spec, self._limit, self._seed = spec, max_chunks, seed
        self._parts: list[Chunks] = []
        self._draws: list[NDArray[np.float64]] = []
        self._held = 0
        self._bar = np.inf  # What a draw must be below to have a chance.
        self.total = self.idle = self.used = 0

    def add(self, episode: Episode) -> None:
        """Take the chunks of ``episode``."""
        starts = self.spec.starts(episode)
        self.total += len(starts)
        self.idle += self.spec.count(len(episode)) - len(starts)
        self.used += bool(len(starts))
        if self._limit is None:
            draws = np.zeros(len(starts))
        else:
            draws = np.random.default_rng([self._seed, episode.index]).random(len(starts))
            starts, draws = starts[draws < self._bar], draws[draws < self._bar]
        if not len(starts):
            return
        self._parts.append(cut_chunks(episode, self.spec, starts=starts))
        self._draws.append(draws)
        self._held += len(starts)
        if self._limit is not None and self._held > 2 * self._limit:
            self._shrink(self._limit)

    def _shrink(self, limit: int) -> None:
        draws = np.concatenate(self._draws)
        order = np.sort(np.argpartition(draws, limit - 1)[:limit])
        self._parts = [Chunks.concatenate(self._parts).take(order)]
        self._draws = [draws[order]]
        self._held, self._bar = limit, float(draws[order].max())

    def chunks(self) -> Chunks | None:
        """The sample so far, by episode and start; None if there was no chunk at all."""
        if not self._parts:
            return None
        if self._limit is not None and self._held > self._limit:
            self._shrink(self._limit)
        whole = Chunks.concatenate(self._parts)
        return whole.take(np.lexsort((whole.start, whole.episode)))


def iter_chunks(
    dataset: Dataset, spec: ChunkSpec, *, episodes: Episodes | None = None, progress: Progress | None = None
) -> Iterator[Chunks]:
    """All chunks, one ``Chunks`` an episode; episodes that give none are left out."""
    for episode in _long_enough(dataset, spec, episodes, progress):
        chunks = cut_chunks(episode, spec)
        if len(chunks):
            yield chunks


def gather_chunks(
    dataset: Dataset,
    spec: ChunkSpec,
    *,
    episodes: Episodes | None = None,
    max_chunks: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ChunkSample:
    """All chunks, or a sample of ``max_chunks`` of them, in one pass; see :class:`ChunkSampler`.

    Raises:
        DataError: every episode is shorter than the horizon or idle, or one cannot be read.
        UsageError: ``max_chunks`` below 1, or an episode that is not there.
    """
    sampler = ChunkSampler(spec, max_chunks=max_chunks, seed=seed)
    for episode in _long_enough(dataset, spec, episodes, progress):
        sampler.add(episode)
    return sample_of(sampler, dataset, select_episodes(dataset, episodes))


def sample_of(sampler: ChunkSampler, dataset: Dataset, chosen: NDArray[np.int64]) -> ChunkSample:
    """What ``sampler`` took of the episodes ``chosen``; DataError if that is no chunk at all."""
    chunks = sampler.chunks()
    if chunks is None:
        raise too_short(dataset, sampler.spec, chosen)
    short = [int(i) for i in chosen if not sampler.spec.count(int(dataset.info.lengths[i]))]
    return ChunkSample(chunks, sampler.total, sampler.idle, sampler.used, tuple(short))


def _long_enough(
    dataset: Dataset, spec: ChunkSpec, episodes: Episodes | None, progress: Progress | None
) -> Iterator[Episode]:
    """Those of ``episodes`` that are long enough for a chunk, read one after the other."""
    chosen = select_episodes(dataset, episodes)
    spec.kept(dataset.info.action_dim)
    for done, index in enumerate(chosen.tolist(), 1):
        if spec.count(int(dataset.info.lengths[index])):
            yield dataset.read(index, state=spec.needs_state)
        if progress is not None:
            progress(done, len(chosen))


def select_episodes(dataset: Dataset, episodes: Episodes | None) -> NDArray[np.int64]:
    """``episodes`` as indices, by default all; UsageError if there are none or one is out of range."""
    count = len(dataset)
    chosen = np.arange(count) if episodes is None else np.asarray(episodes, dtype=np.int64).ravel()
    if not len(chosen):
        raise UsageError(f"{dataset.info.uri}: no episodes are chosen")
    outside = chosen[(chosen < 0) | (chosen >= count)]
    if len(outside):
        raise UsageError(f"{dataset.info.uri}: no episode {outside[0]}: there are 0 to {count - 1}")
    return chosen.astype(np.int64)


def too_short(dataset: Dataset, spec: ChunkSpec, chosen: NDArray[np.int64]) -> DataError:
    """The error for episodes that give no chunk: all shorter than the horizon, or idle throughout."""
    lengths = dataset.info.lengths[chosen]
    if any(spec.count(int(length)) for length in lengths):
        threshold = spec.idle.threshold if spec.idle else 0.0
        return DataError(
            f"{dataset.info.uri}: every chunk starts where the action hardly moves (changes below {threshold:g} a "
            "frame): use a smaller --drop-idle, or none"
        )
    longest = int(np.argmax(lengths))
    return DataError(
        f"{dataset.info.uri}: every episode is shorter than the horizon of {spec.horizon} frames "
        f"(the longest, episode {chosen[longest]}, has {lengths[longest]}): use --horizon N, N at most "
        f"{lengths[longest]}"
    )
