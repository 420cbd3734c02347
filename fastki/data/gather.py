"""Chunks of a whole dataset, one episode in memory at a time. Axes: E episodes, N chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.chunks import Chunks, ChunkSpec, cut_chunks
from fastki.data.episode import Dataset
from fastki.errors import DataError, UsageError

Progress = Callable[[int, int], object]
"""Called with (episodes done, episodes in all)."""

Episodes = Sequence[int] | NDArray[Any]


@dataclass(frozen=True, eq=False)
class ChunkSample:
    """Chunks and where they come from.

    Attributes:
        chunks: the chunks, by episode and start.
        total_chunks: how many there are without a limit.
        episodes_used: how many episodes are long enough to give a chunk.
        short_episodes: the indices of those that are too short, and so left out.
    """

    chunks: Chunks
    total_chunks: int
    episodes_used: int
    short_episodes: tuple[int, ...]


def iter_chunks(
    dataset: Dataset, spec: ChunkSpec, *, episodes: Episodes | None = None, progress: Progress | None = None
) -> Iterator[Chunks]:
    """All chunks, one ``Chunks`` an episode; episodes shorter than the horizon are left out."""
    chosen = select_episodes(dataset, episodes)
    spec.kept(dataset.info.action_dim)
    for done, index in enumerate(chosen.tolist(), 1):
        if dataset.info.lengths[index] >= spec.horizon:
            yield cut_chunks(dataset.read(index, state=spec.needs_state), spec)
        if progress is not None:
            progress(done, len(chosen))


def gather_chunks(
    dataset: Dataset,
    spec: ChunkSpec,
    *,
    episodes: Episodes | None = None,
    max_chunks: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ChunkSample:
    """All chunks, or ``max_chunks`` of them spread evenly over the episodes.

    The list of all chunks is cut into ``max_chunks`` equal stretches and one chunk is drawn from each, so
    that only the drawn ones are ever in memory.

    Raises:
        DataError: every episode is shorter than the horizon, or one cannot be read.
        UsageError: ``max_chunks`` below 1, or an episode that is not there.
    """
    chosen = select_episodes(dataset, episodes)
    spec.kept(dataset.info.action_dim)
    lengths = dataset.info.lengths[chosen]
    counts = np.array([spec.count(int(length)) for length in lengths], dtype=np.int64)
    if not counts.any():
        raise too_short(dataset, spec, chosen)
    picks = _stratified(int(counts.sum()), max_chunks, seed=seed)
    ends = np.cumsum(counts)
    parts = []
    for i, index in enumerate(chosen.tolist()):
        starts = None
        if picks is not None:
            first, last = np.searchsorted(picks, [ends[i] - counts[i], ends[i]])
            starts = (picks[first:last] - (ends[i] - counts[i])) * spec.stride
        if counts[i] and (starts is None or len(starts)):
            parts.append(cut_chunks(dataset.read(index, state=spec.needs_state), spec, starts=starts))
        if progress is not None:
            progress(i + 1, len(chosen))
    return ChunkSample(
        chunks=Chunks.concatenate(parts),
        total_chunks=int(ends[-1]),
        episodes_used=int((counts > 0).sum()),
        short_episodes=tuple(chosen[counts == 0].tolist()),
    )


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
    """The error for episodes that are all shorter than the horizon."""
    lengths = dataset.info.lengths[chosen]
    longest = int(np.argmax(lengths))
    return DataError(
        f"{dataset.info.uri}: every episode is shorter than the horizon of {spec.horizon} frames "
        f"(the longest, episode {chosen[longest]}, has {lengths[longest]}): use --horizon N, N at most "
        f"{lengths[longest]}"
    )


def _stratified(total: int, limit: int | None, *, seed: int) -> NDArray[np.int64] | None:
    """Rising indices below ``total``, one drawn from each of ``limit`` equal stretches; None means all."""
    if limit is not None and limit < 1:
        raise UsageError(f"at most {limit} chunks: 1 or more is needed")
    if limit is None or total <= limit:
        return None
    edges = np.arange(limit + 1, dtype=np.int64) * total // limit
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:])
