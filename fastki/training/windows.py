"""Every window of a dataset by number: random access to examples, none of them read before it is asked for.

Axis letters: N windows, E episodes, B examples asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data import ChunkSpec, Dataset
from fastki.data.gather import Episodes, select_episodes, too_short
from fastki.data.options import Progress


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows numbered from 0, episode by episode.

    Attributes:
        episodes: int64 ``[E]``, indices in the dataset, of those that give a window.
        ends: int64 ``[E]``, windows up to and including each.
        stride: frames between the starts of two windows.
        starts: int32 ``[N]``, where idle windows are left out; else None, and starts are multiples of the stride.
    """

    episodes: NDArray[np.int64]
    ends: NDArray[np.int64]
    stride: int = 1
    starts: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        """N."""
        return int(self.ends[-1])

    @property
    def fingerprint(self) -> str:
        """Hex; the same for the same windows."""
        starts = b"" if self.starts is None else self.starts.tobytes()
        facts = (self.episodes.tobytes(), self.ends.tobytes(), str(self.stride).encode(), starts)
        return hashlib.sha256(b"".join(facts)).hexdigest()[:32]

    def at(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The episode and the first frame of windows, int64 ``[B]`` each.

        >>> windows = Windows(np.array([4, 7]), np.array([3, 5]), stride=2)
        >>> [array.tolist() for array in windows.at(np.array([2, 3]))]
        [[4, 7], [4, 0]]
        """
        owner = np.searchsorted(self.ends, places, side="right")
        if self.starts is not None:
            return self.episodes[owner], self.starts[places].astype(np.int64)
        before = np.concatenate([[0], self.ends])[owner]
        return self.episodes[owner], (places - before) * self.stride


def find_windows(
    dataset: Dataset, spec: ChunkSpec, *, episodes: Episodes | None = None, progress: Progress | None = None
) -> Windows:
    """The windows of ``episodes``, by default of all. Only a filter of idle frames needs to read the actions.

    Raises:
        DataError: no episode gives a window, or one cannot be read.
        UsageError: an episode that is not there.
    """
    chosen = select_episodes(dataset, episodes)
    counts = [spec.count(int(length)) for length in dataset.info.lengths[chosen].tolist()]
    starts = None
    if spec.idle is not None:
        moving = _moving_starts(dataset, spec, chosen, counts, progress)
        counts, starts = list(map(len, moving)), np.concatenate(moving)
    if not sum(counts):
        raise too_short(dataset, spec, chosen)
    used = np.flatnonzero(counts)
    return Windows(chosen[used], np.cumsum(np.array(counts, np.int64)[used]), spec.stride, starts)


def _moving_starts(
    dataset: Dataset, spec: ChunkSpec, chosen: NDArray[np.int64], counts: Sequence[int], progress: Progress | None
) -> list[NDArray[np.int32]]:
    """Where the windows of each episode begin, those at rest left out."""
    found = []
    for done, (index, count) in enumerate(zip(chosen.tolist(), counts, strict=True), 1):
        starts = spec.starts(dataset.read(index, state=False)) if count else np.zeros(0, np.int64)
        found.append(starts.astype(np.int32))
        if progress is not None:
            progress(done, len(chosen))
    return found
