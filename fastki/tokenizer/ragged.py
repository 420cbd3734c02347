"""Many integer sequences of unequal length, end to end in one array.

Axis letters: N sequences, S symbols of all sequences together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ragged:
    """``values[offsets[i]:offsets[i + 1]]`` is sequence ``i``.

    Attributes:
        values: int32 ``[S]``.
        offsets: int64 ``[N + 1]``, ascending from 0 to S.
    """

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def from_list(cls, sequences: Iterable[Sequence[int] | NDArray[np.integer]]) -> Ragged:
        """Put sequences of integers end to end."""
        arrays = list(sequences)
        if len(arrays) == 1:  # A control loop's case: nothing to put together.
            values = np.asarray(arrays[0], dtype=np.int32).reshape(-1)
            return cls(values, np.array([0, values.size]))
        whole = np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.int32)
        return cls.from_lengths(whole.astype(np.int32, copy=False), map(len, arrays))

    @classmethod
    def from_lengths(cls, values: NDArray[np.int32], lengths: Iterable[int]) -> Ragged:
        """Sequences of the given lengths, end to end in ``values``."""
        offsets = np.fromiter(itertools.chain((0,), lengths), dtype=np.int64)
        return cls(values, np.cumsum(offsets, out=offsets))

    @classmethod
    def concatenate(cls, parts: Sequence[Ragged]) -> Ragged:
        """The sequences of all parts, in order."""
        if not parts:
            return cls.from_list([])
        starts = np.cumsum([0] + [len(part.values) for part in parts])
        offsets = [part.offsets[1:] + start for part, start in zip(parts, starts, strict=False)]
        return cls(
            np.concatenate([part.values for part in parts]),
            np.concatenate([np.zeros(1, dtype=np.int64), *offsets]),
        )

    def every(self, first: int, step: int) -> Ragged:
        """Sequences ``first``, ``first + step``, …"""
        return Ragged.from_list([self[index] for index in range(first, len(self), step)])

    def take(self, places: NDArray[np.int64]) -> Ragged:
        """The sequences at ``places``, in that order."""
        lengths = self.lengths[places]
        ends = np.cumsum(lengths)
        shift = np.repeat(self.offsets[:-1][places] - (ends - lengths), lengths)
        return Ragged(self.values[np.arange(len(shift)) + shift], np.concatenate([np.zeros(1, dtype=np.int64), ends]))

    def part(self, start: int, stop: int) -> Ragged:
        """Sequences ``start`` … ``stop − 1``, sharing memory."""
        offsets = self.offsets[start : stop + 1]
        return Ragged(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each sequence, int64 ``[N]``."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        index %= len(self)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        return (self[index] for index in range(len(self)))
