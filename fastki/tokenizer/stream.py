"""Quantised coefficients ⇄ symbol streams: the layer between the DCT and the BPE.

Axis letters: N chunks, H horizon (frequencies), A action dimensions, S symbols of all chunks.

**Alphabet.** With ``literals = m`` there is one symbol for each coefficient in [-m, m] and a few that carry
structure. Any integer fits, because a number ``q`` outside the literals is written in balanced base
``R = 2m + 1`` (digits in [-m, m], so no sign symbol is needed): ``k`` ESC symbols announce ``k + 1`` digits, most
significant first.

    literals m = 7, R = 15:   q = 5    →  [5]
                              q = 100  →  [ESC, 7, -5]           7·15 − 5 = 100
                              q = -120 →  [ESC, ESC, -1, 7, 0]   −225 + 7·15 + 0 = −120

**Order.** Neither writes what the reader, who knows H and A, can tell:

- ``freq`` (the FAST paper's): coefficients row by row, lowest frequency first, all dimensions of a frequency
  together, up to the last that is not zero. Before them, ``FINER d`` for each refinement of dimension ``d``.
- ``dim``: dimension by dimension, ``FINER`` for each of its refinements, its coefficients up to the last that is not
  zero, END; ENDs at the end of a chunk are left out.

A refinement halves the quantisation step of one dimension of one chunk: how an encoder keeps an error bound where
the common step can't.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError
from fastki.tokenizer.ragged import Ragged

Order = Literal["freq", "dim"]
ORDERS: tuple[Order, ...] = ("freq", "dim")

MAX_COEFFICIENT = 2**46
"""Largest magnitude of a quantised coefficient: far beyond any robot's range, exact in float64 with room."""

MAX_FINER = 32
"""Refinements of one dimension at most; a chunk has at most as many a dimension on average."""

MIN_LITERALS, MAX_LITERALS = 7, 8192


@dataclass(frozen=True)
class Alphabet:
    """The base symbols of a stream: ids 0 … 2m stand for the coefficients -m … m, then the structural ones.

    Attributes:
        literals: m, the largest magnitude that has a symbol of its own, in [7, 8192].
        order: of the coefficients; ``dim`` has the symbol END besides.
    """

    literals: int
    order: Order = "freq"

    def __post_init__(self) -> None:
        if not MIN_LITERALS <= self.literals <= MAX_LITERALS:
            raise UsageError(f"literals must lie in [{MIN_LITERALS}, {MAX_LITERALS}], not {self.literals}")
        if self.order not in ORDERS:
            raise UsageError(f"--order {self.order!r} is unknown: use {' or '.join(ORDERS)}")

    @property
    def radix(self) -> int:
        """R = 2m + 1, the base of escaped numbers and the number of literals."""
        return 2 * self.literals + 1

    @property
    def escape(self) -> int:
        """Id of ESC: one more digit follows."""
        return self.radix

    @property
    def finer(self) -> int:
        """Id of FINER: half the step for one dimension of this chunk."""
        return self.radix + 1

    @property
    def end(self) -> int | None:
        """Id of END, which closes a dimension; None in frequency order."""
        return self.radix + 2 if self.order == "dim" else None

    @property
    def size(self) -> int:
        """Number of base symbols."""
        return self.radix + (3 if self.order == "dim" else 2)

    @functools.cached_property
    def max_escapes(self) -> int:
        """The number of escapes that :data:`MAX_COEFFICIENT` needs; a reader accepts no more."""
        return self.escapes_of(MAX_COEFFICIENT)

    def escapes_of(self, magnitude: int) -> int:
        """Escapes that a number of this magnitude takes."""
        escapes, reach = 0, self.literals
        while reach < magnitude:
            escapes, reach = escapes + 1, reach * self.radix + self.literals
        return escapes

    def name(self, symbol: int) -> str:
        """What one base symbol is called in tables, for example ``-3`` or ``ESC``."""
        structural = ("ESC", "FINER", "END")
        return str(symbol - self.literals) if symbol < self.radix else structural[symbol - self.radix]


@dataclass(frozen=True)
class Repairs:
    """What a reader had to mend, int64 ``[N]`` each; all zero for a stream that a writer made.

    Attributes:
        extra: symbols after the last coefficient, cut off.
        misplaced: symbols where none such may stand, skipped.
        unfinished: escaped numbers that lack digits, left out.
        unknown: token ids outside the vocabulary, skipped.
        zeroed: 1 where nothing could be read and the chunk is all zeros (published tokenizers only).
    """

    extra: NDArray[np.int64]
    misplaced: NDArray[np.int64]
    unfinished: NDArray[np.int64]
    unknown: NDArray[np.int64]
    zeroed: NDArray[np.int64]

    @classmethod
    def none(cls, chunks: int, **counts: NDArray[np.int64]) -> Repairs:
        """No repairs of N chunks but those in ``counts``."""
        zeros = np.zeros(chunks, dtype=np.int64)
        return cls(**{field.name: counts.get(field.name, zeros) for field in dataclasses.fields(cls)})

    @classmethod
    def concatenate(cls, parts: Sequence[Repairs]) -> Repairs:
        """Those of all parts, in order."""
        if not parts:
            return cls.none(0)
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    @property
    def total(self) -> NDArray[np.int64]:
        """Number of repairs of each chunk, int64 ``[N]``."""
        return self.extra + self.misplaced + self.unfinished + self.unknown + self.zeroed

    def describe(self, chunk: int) -> str:
        """The repairs of one chunk in words, for example ``2 extra symbols cut, 1 unfinished escape``."""
        parts = {
            "extra symbols cut": self.extra[chunk],
            "misplaced symbols skipped": self.misplaced[chunk],
            "unfinished escapes left out": self.unfinished[chunk],
            "unknown ids skipped": self.unknown[chunk],
            "chunk of the wrong length read as zeros": self.zeroed[chunk],
        }
        return ", ".join(f"{count} {what}" for what, count in parts.items() if count) or "none"


def write_stream(
    coefficients: NDArray[np.int64], alphabet: Alphabet, *, finer: NDArray[np.int32] | None = None
) -> Ragged:
    """Symbols of quantised coefficients.

    Args:
        coefficients: int64 ``[N, H, A]``, each of magnitude at most :data:`MAX_COEFFICIENT`.
        alphabet: the base symbols and the order.
        finer: refinements int32 ``[N, A]``, 0 to :data:`MAX_FINER`; none if None.

    Returns:
        One int32 symbol sequence for each chunk.
    """
    from fastki.tokenizer.stream_kernels import write_symbols

    chunks, horizon, dims = coefficients.shape
    peak, refinements = (max(int(coefficients.max()), -int(coefficients.min())) if coefficients.size else 0), 0
    if finer is None:
        finer = np.zeros((chunks, dims), dtype=np.int32)
    else:
        refinements = int(finer.sum())
    # Room for the longest that these streams can be: one pass over the coefficients instead of two.
    number = 2 * alphabet.escapes_of(peak) + 1
    header = 2 * alphabet.escapes_of(dims) + 2
    room = np.empty(chunks * (horizon * number + 1) * dims + refinements * header, dtype=np.int32)
    offsets = np.empty(chunks + 1, dtype=np.int64)
    # One memory layout, so that the kernel is compiled once.
    arrays = np.ascontiguousarray(coefficients), np.ascontiguousarray(finer)
    write_symbols(*arrays, alphabet.literals, alphabet.order == "dim", offsets, room)
    return Ragged(room[: offsets[-1]].copy(), offsets)


def read_stream(
    symbols: Ragged, alphabet: Alphabet, *, horizon: int, action_dim: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], Repairs]:
    """Coefficients of symbol sequences: the inverse of :func:`write_stream`, total on every input.

    Returns:
        int64 ``[N, H, A]``, refinements int32 ``[N, A]``, and what had to be mended (``unknown`` is all zero: ids
        are the BPE's business).
    """
    from fastki.tokenizer.stream_kernels import read_symbols

    coefficients = np.zeros((len(symbols), horizon, action_dim), dtype=np.int64)
    finer = np.zeros((len(symbols), action_dim), dtype=np.int32)
    mended = np.zeros((len(symbols), 3), dtype=np.int64)
    read_symbols(
        symbols.values,
        symbols.offsets,
        alphabet.literals,
        alphabet.order == "dim",
        alphabet.max_escapes,
        MAX_FINER * action_dim,
        coefficients,
        finer,
        mended,
    )
    extra, misplaced, unfinished = mended.T
    nothing = np.zeros(len(symbols), dtype=np.int64)
    return coefficients, finer, Repairs(extra, misplaced, unfinished, unknown=nothing, zeroed=nothing)
