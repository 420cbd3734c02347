"""Exact integer BPE: the merges and the ids of Hugging Face ``tokenizers``, without text.

Axis letters: N sequences, S symbols, L ids, M merges, V vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastki.errors import TokenizerError, UsageError
from fastki.tokenizer.bpe_code import decode_kernel, encode_kernel, expand_kernel, index_kernel
from fastki.tokenizer.bpe_kernels import kernels_are_compiled
from fastki.tokenizer.bpe_train import CANCEL, MADE, train_kernel
from fastki.tokenizer.ragged import Ragged

__all__ = ["MAX_VOCAB_SIZE", "Bpe", "kernels_are_compiled", "train_bpe", "warm_up"]

MAX_VOCAB_SIZE = 65_536  # a pair of ids fits in 32 bits

_MAX_SYMBOLS = 2**29  # of a training set: three places a symbol are counted in 31 bits
_MAX_TEXT = 2**26  # symbols that all tokens of a vocabulary together may stand for
_DENSE = 16  # one visit to a noted place costs about as much as passing over this many symbols
_PARALLEL = 2**18  # symbols from which on threads are worth starting
_POLL = 0.05  # seconds between two calls of `progress`


@dataclass(frozen=True, eq=False)
class Bpe:
    """A trained BPE over the base symbols 0 … ``num_symbols`` − 1, which are also their ids.

    Attributes:
        num_symbols: base symbols, at least 1.
        merges: int32 ``[M, 2]``, the pair of ids that each merge joins, in rank order. Of a pair that comes twice
            the later rank counts.
        merged: int32 ``[M]``, the id that each merge makes; several merges may make the same one. What
            :func:`train_bpe` returns makes ``num_symbols``, ``num_symbols + 1``, … in turn.

    Raises:
        TokenizerError: an id is out of range, is not made from smaller ids, or stands for two different phrases;
            two ids stand for the same one; or the vocabulary has more than 65,536 ids.
    """

    num_symbols: int
    merges: NDArray[np.int32]
    merged: NDArray[np.int32]

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_symbols", int(self.num_symbols))
        object.__setattr__(self, "merges", _as(np.asarray(self.merges).reshape(-1, 2), np.int32))
        object.__setattr__(self, "merged", _as(np.asarray(self.merged).reshape(-1), np.int32))
        _check_ids(self.num_symbols, self.merges, self.merged)
        phrases = set(_phrases(self.expansions))
        if len(phrases) < self.vocab_size:
            raise TokenizerError(f"{self.vocab_size - len(phrases)} ids stand for what another id stands for")

    @cached_property
    def vocab_size(self) -> int:
        """V: base symbols and the distinct ids that merges make."""
        return max(self.num_symbols, int(self.merged.max(initial=-1)) + 1)

    @cached_property
    def expansions(self) -> Ragged:
        """The base symbols that each id stands for, V sequences."""
        text, at, bad = expand_kernel(self.num_symbols, self.merges, self.merged, self.vocab_size, _MAX_TEXT)
        if bad == len(self.merges):
            raise TokenizerError(f"the tokens stand for more than {_MAX_TEXT:,} symbols: no such BPE was trained")
        if bad >= 0:
            left, right = self.merges[bad].tolist()
            raise TokenizerError(
                f"merge {bad} makes id {self.merged[bad]} of ids {left} and {right}, but that id is not made of "
                "smaller ids only, or stands for other symbols elsewhere in the table"
            )
        return Ragged(text, at)

    @cached_property
    def _tables(self) -> tuple[Any, ...]:
        return self.num_symbols, *index_kernel(self.merges, self.merged, self.vocab_size)

    def encode(self, sequences: Ragged, *, threads: int | None = None) -> Ragged:
        """Ids of each sequence of base symbols.

        Args:
            sequences: N sequences of symbols.
            threads: how many to use at most; by default the processors that this process may run on.

        Raises:
            TokenizerError: a symbol is not a base symbol.
        """
        values, offsets = _checked(sequences)
        threads = _num_threads(threads)
        parts = _ranges(offsets, threads if len(values) >= _PARALLEL else 1)
        if len(parts) == 1:
            results = [encode_kernel(values, offsets, *self._tables)]
        else:
            tables = self._tables
            with ThreadPoolExecutor(len(parts)) as pool:
                results = list(pool.map(lambda part: encode_kernel(values, offsets[part], *tables), parts))
        ends = np.zeros(len(offsets), dtype=np.int64)
        for part, (_, part_ends, bad) in zip(parts, results, strict=True):
            if bad >= 0:
                raise TokenizerError(f"{_locate(offsets, bad)} is {values[bad]}, not a base symbol ({self._span})")
            ends[part.start + 1 : part.stop] = part_ends + ends[part.start]
        ids = results[0][0] if len(results) == 1 else np.concatenate([result[0] for result in results])
        return Ragged(ids, ends)

    def encode_one(self, symbols: ArrayLike) -> NDArray[np.int32]:
        """Ids of one sequence of base symbols, int32 ``[L]``; same errors as :meth:`encode`."""
        values = _as(symbols, np.int32)
        ids, _, bad = encode_kernel(values, np.array([0, values.size]), *self._tables)
        if bad >= 0:
            raise TokenizerError(f"position {bad} is {values[bad]}, not a base symbol ({self._span})")
        return ids  # type: ignore[no-any-return]

    def decode(self, tokens: Ragged) -> Ragged:
        """Base symbols of each sequence of ids.

        Raises:
            TokenizerError: an id is not in the vocabulary; names sequence, position and id.
        """
        values, offsets = _checked(tokens)
        text = self.expansions
        symbols, ends, bad = decode_kernel(values, offsets, text.values, text.offsets)
        if bad >= 0:
            raise TokenizerError(f"{_locate(offsets, bad)} is {values[bad]}, not an id (0 … {self.vocab_size - 1})")
        return Ragged(symbols, ends)

    def decode_one(self, tokens: ArrayLike) -> NDArray[np.int32]:
        """Base symbols of one sequence of ids, int32 ``[S]``; same errors as :meth:`decode`."""
        values = _as(tokens, np.int32)
        text = self.expansions
        symbols, _, bad = decode_kernel(values, np.array([0, values.size]), text.values, text.offsets)
        if bad >= 0:
            raise TokenizerError(f"position {bad} is {values[bad]}, not an id (0 … {self.vocab_size - 1})")
        return symbols  # type: ignore[no-any-return]

    def prefix(self, vocab_size: int) -> Bpe:
        """The BPE that training with a smaller ``vocab_size`` would have given; itself if it is not smaller.

        Raises:
            UsageError: ``vocab_size`` is smaller than ``num_symbols``.
        """
        if vocab_size < self.num_symbols:
            raise UsageError(f"vocab_size {vocab_size} is below the {self.num_symbols} base symbols")
        if vocab_size >= self.vocab_size:
            return self
        # Training stops with the merge that fills the vocabulary, before one that makes a known id again.
        cut = int(np.argmax(self.merged == vocab_size - 1)) + 1 if vocab_size > self.num_symbols else 0
        return Bpe(self.num_symbols, self.merges[:cut], self.merged[:cut])

    @property
    def _span(self) -> str:
        return f"0 … {self.num_symbols - 1}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bpe):
            return NotImplemented
        return (
            self.num_symbols == other.num_symbols
            and np.array_equal(self.merges, other.merges)
            and np.array_equal(self.merged, other.merged)
        )

    def __hash__(self) -> int:
        return hash((self.num_symbols, self.merges.tobytes(), self.merged.tobytes()))

    def __reduce__(self) -> tuple[Any, ...]:
        return Bpe, (self.num_symbols, self.merges, self.merged)


def train_bpe(
    sequences: Ragged,
    *,
    num_symbols: int,
    vocab_size: int,
    min_count: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Bpe:
    """Learn merges as Hugging Face's ``BpeTrainer`` does from the same words.

    Args:
        sequences: N sequences of base symbols; no merge crosses from one to the next.
        num_symbols: how many base symbols there are, whether they occur or not.
        vocab_size: base symbols and merges at most; fewer where pairs run out.
        min_count: how often a pair must occur to be merged.
        progress: called with (ids so far, ``vocab_size``) some times a second and once at the end.

    Raises:
        UsageError: a size is out of range.
        TokenizerError: a symbol is not a base symbol.
    """
    values, offsets = _checked(sequences)
    _check_training(len(values), num_symbols, vocab_size, min_count)
    if len(values) and (values.min() < 0 or values.max() >= num_symbols):
        bad = int(np.argmax((values < 0) | (values >= num_symbols)))
        raise TokenizerError(
            f"{_locate(offsets, bad)} is {values[bad]}, not a base symbol (0 … {num_symbols - 1})"
        )
    state = np.zeros(2, dtype=np.int64)
    arguments = (values, offsets, num_symbols, vocab_size, max(1, min_count), _DENSE, state)
    codes = train_kernel(*arguments) if progress is None else _train_watched(arguments, progress)
    merges = np.stack([codes >> 16 & 0xFFFF, codes & 0xFFFF], axis=1).astype(np.int32)
    return Bpe(num_symbols, merges, np.arange(num_symbols, num_symbols + len(codes), dtype=np.int32))


def warm_up() -> None:
    """Compile all kernels, or load them from Numba's cache on disk."""
    sequences = Ragged.from_list([[0, 1, 0, 1, 2]])
    bpe = train_bpe(sequences, num_symbols=3, vocab_size=4)
    bpe.decode(bpe.encode(sequences))


def _train_watched(arguments: tuple[Any, ...], progress: Callable[[int, int], None]) -> NDArray[np.int32]:
    """Train in another thread while this one reports; an error or an interrupt here ends the training."""
    vocab_size, state = arguments[3], arguments[6]
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(train_kernel, *arguments)
        try:
            while not future.done():
                try:
                    future.exception(timeout=_POLL)
                except TimeoutError:
                    progress(max(int(state[MADE]), arguments[2]), vocab_size)
        finally:
            state[CANCEL] = 1
    codes: NDArray[np.int32] = future.result()
    progress(arguments[2] + len(codes), vocab_size)
    return codes


def _check_training(symbols: int, num_symbols: int, vocab_size: int, min_count: int) -> None:
    if num_symbols < 1:
        raise UsageError(f"num_symbols {num_symbols} is below 1")
    if vocab_size < num_symbols:
        raise UsageError(f"vocab_size {vocab_size} is below the {num_symbols} base symbols")
    if vocab_size > MAX_VOCAB_SIZE:
        raise UsageError(f"vocab_size {vocab_size} is above {MAX_VOCAB_SIZE}")
    if min_count < 0:
        raise UsageError(f"min_count {min_count} is below 0")
    if symbols > _MAX_SYMBOLS:
        raise UsageError(f"{symbols:,} symbols are more than {_MAX_SYMBOLS:,}: train on a sample of the sequences")


def _check_ids(num_symbols: int, merges: NDArray[np.int32], merged: NDArray[np.int32]) -> None:
    if num_symbols < 1:
        raise TokenizerError(f"num_symbols {num_symbols} is below 1")
    if len(merges) != len(merged):
        raise TokenizerError(f"{len(merges)} merges make {len(merged)} ids: the numbers must agree")
    vocab_size = num_symbols + len(np.unique(merged))
    if vocab_size > MAX_VOCAB_SIZE:
        raise TokenizerError(f"the vocabulary has {vocab_size} ids, more than {MAX_VOCAB_SIZE}")
    wrong = (merged < num_symbols) | (merged >= vocab_size)
    wrong |= (merges.min(axis=1) < 0) | (merges.max(axis=1) >= vocab_size)
    if wrong.any():
        bad = int(np.argmax(wrong))
        left, right = merges[bad].tolist()
        raise TokenizerError(
            f"merge {bad} makes id {merged[bad]} of ids {left} and {right}, but ids must run without a gap from "
            f"0 to {vocab_size - 1}, and merges make those from {num_symbols} on"
        )


def _as(array: ArrayLike, dtype: type[np.signedinteger[Any]]) -> NDArray[Any]:
    """A flat copy fit for the kernels, or the array itself if it is; Numba compiles anew for read-only ones."""
    given = np.asarray(array)
    if given.dtype == dtype and given.flags.carray:
        return given
    fit = np.array(given, dtype=dtype, order="C")
    if fit.size and not np.array_equal(fit, given):
        raise TokenizerError(f"the values do not fit in {np.dtype(dtype).name}")
    return fit


def _checked(sequences: Ragged) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Values and offsets that a kernel can trust."""
    values, offsets = _as(sequences.values, np.int32), _as(sequences.offsets, np.int64)
    if offsets[0] != 0 or offsets[-1] != len(values) or (offsets[1:] < offsets[:-1]).any():
        raise UsageError(f"offsets do not ascend from 0 to the number of values, {len(values)}")
    return values, offsets


def _num_threads(threads: int | None) -> int:
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads < 1:
        raise UsageError(f"threads {threads} is below 1")
    return threads


def _ranges(offsets: NDArray[np.int64], threads: int) -> list[slice]:
    """Slices of `offsets`, neighbours sharing a cell, with about equally many symbols."""
    goals = np.linspace(0, offsets[-1], threads + 1)[1:-1]
    cuts = np.unique([0, *np.searchsorted(offsets, goals), len(offsets) - 1])
    if len(cuts) < 2:
        return [slice(0, len(offsets))]
    return [slice(int(a), int(b) + 1) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


def _phrases(expansions: Ragged) -> Iterator[bytes]:
    text, at = expansions.values.tobytes(), (expansions.offsets * expansions.values.itemsize).tolist()
    return (text[start:end] for start, end in pairwise(at))


def _locate(offsets: NDArray[np.int64], index: int) -> str:
    sequence = int(np.searchsorted(offsets, index, side="right")) - 1
    return f"sequence {sequence}, position {index - offsets[sequence]}"
