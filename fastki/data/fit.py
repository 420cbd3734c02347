"""Fitting the normaliser on a dataset, one episode in memory at a time."""

from __future__ import annotations

import numpy as np

from fastki.data.chunks import ChunkSpec, cut_chunks
from fastki.data.episode import Dataset
from fastki.data.gather import Episodes, Progress, select_episodes, too_short
from fastki.data.normalize import Method, Normalizer
from fastki.data.stats import RunningStats


def fit_normalizer(
    dataset: Dataset,
    spec: ChunkSpec,
    *,
    episodes: Episodes | None = None,
    method: Method = "quantile",
    clip: bool = False,
    progress: Progress | None = None,
) -> Normalizer:
    """The normaliser of the actions that ``spec`` keeps.

    Absolute dimensions count each frame of ``episodes`` (default all) once. Delta dimensions exist only in
    chunks: they count each value of each chunk.

    Raises:
        DataError: no chunk at all for delta dimensions, or an episode that cannot be read.
        UsageError: an unknown method, or an episode or dimension that is not there.
    """
    chosen = select_episodes(dataset, episodes)
    dims = spec.kept(dataset.info.action_dim)
    is_delta = np.isin(dims, spec.delta)
    frames, windows = RunningStats(), RunningStats()
    for done, index in enumerate(chosen.tolist(), 1):
        episode = dataset.read(index, state=spec.needs_state)
        frames.update(episode.actions[:, list(dims)])
        if is_delta.any():
            windows.update(cut_chunks(episode, spec).actions[..., is_delta].reshape(-1, int(is_delta.sum())))
        if progress is not None:
            progress(done, len(chosen))
    summary = frames.summary()
    if is_delta.any():
        if not windows.count:
            raise too_short(dataset, spec, chosen)
        for name, part in vars(windows.summary()).items():
            getattr(summary, name)[is_delta] = part
    return Normalizer.from_summary(summary, method=method, clip=clip)
