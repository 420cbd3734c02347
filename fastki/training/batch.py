"""What a training step is given: a batch, where each of its examples is from, and what was cut off.

Axis letters: B batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastki.sequence.batch import Batch

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """A batch with what a loop needs to know of it.

    Attributes:
        batch: what the model sees.
        has_actions: bool ``[B]``, False for an example of co-training: no flow loss there.
        episodes: int64 ``[B]``, index of the episode in its dataset; for co-training the line in its file, from 1.
        starts: int64 ``[B]``, frame of the episode at which the chunk begins; 0 for co-training.
        fast_lost, other_lost: int64 ``[B]``, tokens with and without loss that truncation cost.
        end: examples of the run, of all its processes, up to and including this batch.
    """

    batch: Batch
    has_actions: NDArray[np.bool_]
    episodes: NDArray[np.int64]
    starts: NDArray[np.int64]
    fast_lost: NDArray[np.int64]
    other_lost: NDArray[np.int64]
    end: int = 0

    def __len__(self) -> int:
        """B."""
        return len(self.episodes)

    def origin(self, row: int) -> str:
        """Where an example is from, in words: for the message about a loss that is not finite."""
        if self.has_actions[row]:
            return f"episode {self.episodes[row]}, frame {self.starts[row]}"
        return f"line {self.episodes[row]} of the co-training file"


def woven(parts: Sequence[TrainingBatch], rows: Sequence[NDArray[np.int64]]) -> TrainingBatch:
    """One batch of several: row ``rows[i][j]`` of it is row ``j`` of part ``i``; each row is given once.

    All parts have the same shapes but for B.
    """
    return parts[0] if len(parts) == 1 else _woven(parts, rows, sum(map(len, rows)))


def _woven(parts: Sequence[Any], rows: Sequence[NDArray[np.int64]], count: int) -> Any:
    first = parts[0]
    if isinstance(first, np.ndarray):
        result = np.empty((count, *first.shape[1:]), first.dtype)
        for part, places in zip(parts, rows, strict=True):
            result[places] = part
        return result
    if isinstance(first, Mapping):
        return {key: _woven([part[key] for part in parts], rows, count) for key in first}
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in dataclasses.fields(first)]
        return type(first)(**{name: _woven([getattr(part, name) for part in parts], rows, count) for name in names})
    return first


@dataclass
class Tally:
    """What a run has been given so far.

    Attributes:
        examples: how many.
        cotrained: how many of them are of co-training.
        truncated: how many lost text.
        fast_lost: tokens to be predicted that were cut off.
        other_lost: other tokens that were.
    """

    examples: int = 0
    cotrained: int = 0
    truncated: int = 0
    fast_lost: int = 0
    other_lost: int = 0

    def add(self, given: TrainingBatch) -> None:
        """Count a batch in."""
        self.examples += len(given)
        self.cotrained += int(np.count_nonzero(~given.has_actions))
        self.truncated += int(np.count_nonzero(given.fast_lost + given.other_lost))
        self.fast_lost += int(given.fast_lost.sum())
        self.other_lost += int(given.other_lost.sum())

    def report(self) -> str:
        """In words, for a log."""
        if not self.truncated:
            return f"{self.examples:,} examples, none truncated"
        return (
            f"{self.examples:,} examples, {self.truncated:,} truncated ({self.truncated / self.examples:.2%}): "
            f"{self.fast_lost:,} tokens with loss and {self.other_lost:,} others lost"
        )
