"""The state's own normaliser: as openpi, the state and the actions each have their statistics."""

from __future__ import annotations

from fastki.data import Dataset, Normalizer
from fastki.data.gather import Episodes, select_episodes
from fastki.data.normalize import Method
from fastki.data.options import Progress
from fastki.data.stats import RunningStats
from fastki.errors import DataError


def fit_state_normalizer(
    dataset: Dataset,
    *,
    episodes: Episodes | None = None,
    method: Method = "quantile",
    progress: Progress | None = None,
) -> Normalizer:
    """The normaliser of the state, over all frames of ``episodes`` (by default all), one episode in memory at a time.

    Raises:
        DataError: the data have no state, or an episode can't be read.
        UsageError: an unknown method, or an episode that is not there.
    """
    if dataset.info.state_key is None:
        raise DataError(f"{dataset.info.uri} has no state: choose one with --state-key KEY")
    stats = RunningStats()
    chosen = select_episodes(dataset, episodes)
    for done, index in enumerate(chosen.tolist(), 1):
        state = dataset.read(index).state
        assert state is not None, "the data say that they have a state"
        stats.update(state)
        if progress is not None:
            progress(done, len(chosen))
    if not stats.count:
        raise DataError(f"{dataset.info.uri}: every episode is empty, so the state has no statistics")
    return Normalizer.from_summary(stats.summary(), method=method, clip=False)
