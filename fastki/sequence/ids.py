"""Where FAST's ids stand among those of the text: at the top of its vocabulary, counted downwards.

FAST id ``i`` is text id ``text_vocab − 1 − skip − i``. openpi skips the last 128, which in PaliGemma's vocabulary are
``<seg000>`` … ``<seg127>``; below them are the 1,024 ``<loc0000>`` … ``<loc1023>``, and below those the characters
that its training text had least of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastki.errors import TokenizerError, UsageError
from fastki.sequence.options import SKIP
from fastki.sequence.pieces import phrase_ids
from fastki.sequence.text import ByteTokenizer, TextTokenizer
from fastki.tokenizer.base import Unknown

_MAX_VOCAB = 2**31 - 1


@dataclass(frozen=True)
class IdRow:
    """A row of the table for people: a run of text ids and what stands there.

    Attributes:
        what: in words.
        first, last: text ids, both included, ``first`` ≤ ``last``.
        fast_first, fast_last: the FAST ids at ``first`` and ``last``; None where there are none.
    """

    what: str
    first: int
    last: int
    fast_first: int | None = None
    fast_last: int | None = None

    @property
    def count(self) -> int:
        """How many ids."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class FastIds:
    """FAST ids ⇄ text ids; :meth:`onto` also looks whether the text needs the ids that it takes.

    >>> ids = FastIds(text_vocab=257_152, fast_vocab=1024)
    >>> ids.to_text([5, 0, 7, 1023]).tolist()
    [257018, 257023, 257016, 256000]
    >>> ids.to_fast([257018, 257023]).tolist()
    [5, 0]

    Attributes:
        text_vocab: ids of the text, those that FAST takes included.
        fast_vocab: ids of FAST.
        skip: ids at the top of the text's that stay free of FAST.

    Raises:
        UsageError: a number is out of range, or the ids do not fit.
    """

    text_vocab: int
    fast_vocab: int
    skip: int = SKIP

    def __post_init__(self) -> None:
        if self.fast_vocab < 1:
            raise UsageError(f"a FAST vocabulary of {self.fast_vocab} has no ids: it must be at least 1")
        if self.skip < 0:
            raise UsageError(f"{self.skip} ids cannot be skipped: give 0 or more")
        if self.text_vocab > _MAX_VOCAB:
            raise UsageError(f"a text vocabulary of {self.text_vocab:,} is above {_MAX_VOCAB:,}, the most for int32")
        if self.lowest < 0:
            raise UsageError(
                f"{self.fast_vocab:,} FAST ids and {self.skip:,} skipped ones do not fit in a text vocabulary of "
                f"{self.text_vocab:,}: it must have at least {self.fast_vocab + self.skip:,}"
            )

    @classmethod
    def onto(
        cls,
        tokenizer: TextTokenizer,
        fast_vocab: int,
        *,
        skip: int = SKIP,
        text_vocab: int | None = None,
        allow_overlap: bool = False,
    ) -> FastIds:
        """The mapping onto the ids of ``tokenizer``, unless it takes some that ordinary text uses.

        Args:
            tokenizer: of the text.
            fast_vocab: ids of FAST.
            skip: ids at the top that stay free of FAST.
            text_vocab: rows of the model's embedding table, where it has more than the tokenizer has ids.
            allow_overlap: take ids of ordinary text all the same: the model then reads one id as both.

        Raises:
            UsageError: it takes such ids, or the numbers do not fit; the message says which, and the mend.
        """
        size = tokenizer.vocab_size if text_vocab is None else text_vocab
        if size < tokenizer.vocab_size:
            raise UsageError(f"a text vocabulary of {size:,} is below the {tokenizer.vocab_size:,} of the tokenizer")
        if fast_vocab >= 1 and skip >= 0 and size < fast_vocab + skip:
            raise UsageError(
                f"{fast_vocab:,} FAST ids and {skip:,} skipped ones do not fit in a text vocabulary of {size:,}: "
                f"use {_larger(tokenizer, fast_vocab + skip)}, or fewer FAST ids"
            )
        ids = cls(size, fast_vocab, skip)
        overlap = ids.overlap(tokenizer)
        if len(overlap) and not allow_overlap:
            raise UsageError(
                f"{fast_vocab:,} FAST ids would take text ids {ids.lowest}–{ids.highest}, and {tokenizer.name} uses "
                f"{phrase_ids(overlap)} of them for ordinary text ({len(overlap):,}): {_mend(ids, tokenizer)}"
            )
        return ids

    @property
    def highest(self) -> int:
        """The text id of FAST id 0."""
        return self.text_vocab - 1 - self.skip

    @property
    def lowest(self) -> int:
        """The text id of the last FAST id."""
        return self.highest - self.fast_vocab + 1

    def to_text(self, ids: ArrayLike) -> NDArray[np.int32]:
        """The text ids of FAST ids, int32 of the same shape.

        Raises:
            TokenizerError: an id outside FAST's vocabulary.
            UsageError: no integers.
        """
        given = _integers(ids)
        self._require(given, 0, self.fast_vocab - 1, "FAST's vocabulary")
        return (self.highest - given.astype(np.int64)).astype(np.int32)

    def to_fast(self, ids: ArrayLike, *, on_unknown: Unknown = "error") -> NDArray[np.int32]:
        """The FAST ids of text ids, int32 of the same shape; with ``on_unknown="skip"`` ``[L]``, others left out.

        Raises:
            TokenizerError: an id that is none of FAST's, unless they are skipped.
            UsageError: no integers.
        """
        given = _integers(ids)
        if on_unknown == "skip":
            given = given[self.holds(given)]
        self._require(
            given, self.lowest, self.highest, "the text ids that FAST takes", ', or on_unknown="skip" leaves it out'
        )
        return (self.highest - given.astype(np.int64)).astype(np.int32)

    def holds(self, ids: ArrayLike) -> NDArray[np.bool_]:
        """Which of the text ids are FAST's, bool of the same shape.

        Raises:
            UsageError: no integers.
        """
        given = _integers(ids)
        return (given >= self.lowest) & (given <= self.highest)

    def overlap(self, tokenizer: TextTokenizer) -> NDArray[np.int64]:
        """The ids, ascending, that both FAST and the tokenizer's ordinary text use."""
        ordinary = tokenizer.ordinary_ids
        return ordinary[(ordinary >= self.lowest) & (ordinary <= self.highest)]

    def rows(self, tokenizer: TextTokenizer | None = None) -> tuple[IdRow, ...]:
        """The vocabulary from its top to its bottom, for a table; with the tokenizer, also what FAST runs into."""
        rows = [IdRow("skipped", self.highest + 1, self.text_vocab - 1)] if self.skip else []
        rows.append(IdRow("FAST", self.lowest, self.highest, self.fast_vocab - 1, 0))
        overlap = np.empty(0, np.int64) if tokenizer is None else self.overlap(tokenizer)
        if len(overlap):
            low, high = int(overlap[0]), int(overlap[-1])
            what = f"FAST over ordinary text ({len(overlap):,} ids)"
            rows.append(IdRow(what, low, high, self.highest - low, self.highest - high))
        if self.lowest:
            rows.append(IdRow("text", 0, self.lowest - 1))
        return tuple(rows)

    def _require(self, ids: NDArray[np.integer], low: int, high: int, what: str, mend: str = "") -> None:
        bad = (ids < low) | (ids > high)
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            raise TokenizerError(
                f"id {ids.flat[first]} at position {first} is outside {what}, {low} … {high}: "
                f"give ids of the same tokenizer and vocabulary{mend}"
            )


def _integers(ids: ArrayLike) -> NDArray[np.integer]:
    array = np.asarray(ids)
    if array.size == 0:
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise UsageError(f"token ids are integers, not {array.dtype}")
    return array


def _mend(ids: FastIds, tokenizer: TextTokenizer) -> str:
    """What a user can do about an overlap: only what would work."""
    ordinary = tokenizer.ordinary_ids
    mends = []
    below = ordinary[ordinary <= ids.highest]
    room = ids.highest - int(below[-1]) if len(below) else 0
    if room:
        mends.append(f"a FAST vocabulary of at most {room:,}")
    mends.append(_larger(tokenizer, ids.skip + ids.fast_vocab))
    skip = _other_skip(ids, ordinary)
    if skip is not None:
        mends.append(f"skip {skip:,} instead of {ids.skip:,}")
    return f"use {', '.join(mends)}, or allow_overlap=True in Python"


def _larger(tokenizer: TextTokenizer, ids: int) -> str:
    """A text vocabulary with so many ids above those of ordinary text."""
    size = int(tokenizer.ordinary_ids[-1]) + 1 + ids
    return f"a text vocabulary of at least {size:,}" + (
        f" (byte:{size})" if isinstance(tokenizer, ByteTokenizer) else ""
    )


def _other_skip(ids: FastIds, ordinary: NDArray[np.int64]) -> int | None:
    """The fewest skipped ids with which FAST would take none of ordinary text; None if there is no such number."""
    used = np.concatenate([[-1], ordinary[ordinary < ids.text_vocab], [ids.text_vocab]])
    gaps = np.flatnonzero(np.diff(used) > ids.fast_vocab)
    return ids.text_vocab - int(used[gaps[-1] + 1]) if len(gaps) else None
