"""Which example stands at each place of an endless run: a pure function of the place and the seed.

Windows and lines of co-training each go round in epochs, shuffled anew in every epoch, so that each comes once before
any comes again. Co-training is dealt out in hands of :data:`HAND` places: its share of each hand is exact but for
rounding, its places in the hand are drawn.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HAND = 1024
_WINDOWS, _LINES, _HANDS = 0, 1, 2


@dataclass(frozen=True)
class Order:
    """The order of a run.

    Attributes:
        windows: how many there are, 1 or more.
        lines: of co-training; 0 for none.
        weight: expected share of co-training, 0 to 1; without effect where there are no lines.
        seed: of the order, 0 or more.
    """

    windows: int
    lines: int = 0
    weight: float = 0.0
    seed: int = 0

    def windows_before(self, place: int) -> int:
        """How many of the first ``place`` examples are windows."""
        hand, offset = divmod(place, HAND)
        return place - self._lines_before(hand) - int(np.count_nonzero(self._hand(hand)[:offset]))

    def at(self, first: int, count: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """The ``count`` examples from place ``first`` on.

        Returns:
            bool ``[count]``, which are lines of co-training, and int64 ``[count]``, the number of each line or window.
        """
        places = np.arange(first, first + count)
        if not self._share:
            return np.zeros(count, bool), self._shuffled(_WINDOWS, places)
        hands = range(first // HAND, (first + count - 1) // HAND + 1)
        dealt = np.concatenate([self._hand(hand) for hand in hands])
        before = self._lines_before(hands.start) + np.cumsum(dealt) - dealt
        part = slice(first - hands.start * HAND, first - hands.start * HAND + count)
        is_line, lines_before = dealt[part], before[part]
        numbers = np.empty(count, np.int64)
        numbers[is_line] = self._shuffled(_LINES, lines_before[is_line])
        numbers[~is_line] = self._shuffled(_WINDOWS, (places - lines_before)[~is_line])
        return is_line, numbers

    @property
    def _share(self) -> float:
        return self.weight if self.lines else 0.0

    def _lines_before(self, hand: int) -> int:
        return int(hand * HAND * self._share)

    def _hand(self, hand: int) -> NDArray[np.bool_]:
        """Which of a hand's places are co-training's, bool ``[HAND]``."""
        count = self._lines_before(hand + 1) - self._lines_before(hand)
        return _dealt(self.seed, hand, count)

    def _shuffled(self, what: int, turns: NDArray[np.int64]) -> NDArray[np.int64]:
        """What comes at each of ``turns``, counted over all epochs."""
        if not len(turns):
            return np.zeros(0, np.int64)
        size = self.lines if what == _LINES else self.windows
        epochs, places = np.divmod(turns, size)
        numbers = np.empty(len(turns), np.int64)
        for epoch in np.unique(epochs).tolist():
            now = epochs == epoch
            numbers[now] = _epoch(self.seed, what, epoch, size)[places[now]]
        return numbers


@functools.lru_cache(maxsize=8)
def _dealt(seed: int, hand: int, count: int) -> NDArray[np.bool_]:
    return np.random.default_rng([seed, _HANDS, hand]).permutation(HAND) < count


@functools.lru_cache(maxsize=6)  # An epoch and the next one, of both kinds, and one to spare.
def _epoch(seed: int, what: int, epoch: int, size: int) -> NDArray[np.uint32]:
    """An epoch's order; four bytes a number, as there may be many millions.

    Grain's shuffle would need no memory, but takes milliseconds a number where there are few, as of co-training.
    """
    return np.random.default_rng([seed, what, epoch]).permuted(np.arange(size, dtype=np.uint32))
