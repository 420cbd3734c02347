"""Exact integer BPE: the merges and the ids of Hugging Face ``tokenizers``, without text.

Axis letters: N sequences, S symbols, L ids, M merges, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastki.errors import TokenizerError, UsageError
from fastki.tokenizer.bpe_checks import (
    check_ids,
    check_training,
    checked,
    checked_one,
    kernel_array,
    locate,
    num_threads,
    phrases,
    ranges,
)
from fastki.tokenizer.bpe_code import decode_kernel, encode_kernel, expand_kernel, index_kernel
from fastki.tokenizer.bpe_train import CANCEL, MADE, train_kernel
from fastki.tokenizer.ragged import Ragged

_MAX_TEXT = 2**26  # symbols that all tokens of a vocabulary together may stand for
_DENSE = 32  # symbols that stage 1 of training may pass over for each place that it merges
_PARALLEL = 2**18  # symbols from which on threads are worth starting
_POLL = 0.05  # seconds between two calls of `progress`


@dataclass(frozen=True, eq=False)
class Bpe:
    """A trained BPE over the base symbols 0 … ``num_symbols`` − 1, which are also their ids.

    Attributes:
        num_symbols: base symbols, at least 1.
        merges: int32 ``[M, 2]``, the pair of ids that each merge joins, in rank order. Of a pair that comes
            twice the later rank counts.
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
        object.__setattr__(self, "merges", kernel_array(np.asarray(self.merges).reshape(-1, 2), np.int32))
        object.__setattr__(self, "merged", kernel_array(np.asarray(self.merged).reshape(-1), np.int32))
        check_ids(self.num_symbols, self.merges, self.merged)
        distinct = len(set(phrases(self.expansions)))
        if distinct < self.vocab_size:
            raise TokenizerError(f"{self.vocab_size - distinct} ids stand for what another id stands for")

    @cached_property
    def vocab_size(self) -> int:
        """V: base symbols and the distinct ids that merges make."""
        return max(self.num_symbols, int(self.merged.max(initial=-1)) + 1)

    @cached_property
    def expansions(self) -> Ragged:
        """The base symbols that each id stands for, V sequences."""
        text, at, bad = expand_kernel(self.num_symbols, self.merges, self.merged, self.vocab_size, _MAX_TEXT)
        if bad == len(self.merges):
            raise TokenizerError(f"the tokens stand for more than {_MAX_TEXT:,} symbols in all")
        if bad >= 0:
            left, right = self.merges[bad].tolist()
            raise TokenizerError(
                f"merge {bad} makes id {self.merged[bad]} of ids {left} and {right}, but that id is not made of "
                "smaller ids only, or stands for other symbols elsewhere in the table"
            )
        return Ragged(text, at)

    @cached_property
    def _tables(self) -> tuple[Any, ...]:
        tables: tuple[Any, ...] = index_kernel(self.merges, self.merged, self.vocab_size)
        return tables

    def encode(self, sequences: Ragged, *, threads: int | None = None) -> Ragged:
        """Ids of each sequence of base symbols.

        Args:
            sequences: N sequences of symbols.
            threads: how many to use at most; by default the processors that this process may run on.

        Raises:
            TokenizerError: a symbol is not a base symbol.
            UsageError: ``threads`` is below 1, or the sequences' offsets contradict their values.
        """
        return self._encode(sequences, self.num_symbols, threads)

    def encode_more(self, tokens: Ragged, *, threads: int | None = None) -> Ragged:
        """What :meth:`encode` gives of the base symbols behind ``tokens``, which a :meth:`prefix` of this BPE made.

        Encoding applies the lowest-ranked merge there is, and of a trained table no merge makes room for one of lower
        rank: a larger vocabulary begins where a smaller one has ended.

        Raises:
            TokenizerError: an id is not in the vocabulary.
            UsageError: as :meth:`encode`.
        """
        return self._encode(tokens, self.vocab_size, threads)

    def _encode(self, sequences: Ragged, num_symbols: int, threads: int | None) -> Ragged:
        values, offsets = checked(sequences)
        most = num_threads(threads)
        parts = ranges(offsets, most if len(values) >= _PARALLEL else 1)
        if len(parts) == 1:
            results = [encode_kernel(values, offsets, num_symbols, *self._tables)]
        else:
            tables = num_symbols, *self._tables
            with ThreadPoolExecutor(len(parts)) as pool:
                results = list(pool.map(lambda part: encode_kernel(values, offsets[part], *tables), parts))
        ends = np.zeros(len(offsets), dtype=np.int64)
        for part, (_, part_ends, bad) in zip(parts, results, strict=True):
            if bad >= 0:
                raise TokenizerError(f"{locate(offsets, bad)} is {values[bad]}, {self._names(num_symbols)}")
            ends[part.start + 1 : part.stop] = part_ends + ends[part.start]
        ids = results[0][0] if len(results) == 1 else np.concatenate([result[0] for result in results])
        return Ragged(ids, ends)

    def encode_one(self, symbols: ArrayLike) -> NDArray[np.int32]:
        """Ids of one sequence of base symbols, int32 ``[L]``; same errors as :meth:`encode`."""
        values, offsets = checked_one(symbols)
        ids, _, bad = encode_kernel(values, offsets, self.num_symbols, *self._tables)
        if bad >= 0:
            raise TokenizerError(f"position {bad} is {values[bad]}, {self._names(self.num_symbols)}")
        return ids  # type: ignore[no-any-return]

    def decode(self, tokens: Ragged) -> Ragged:
        """Base symbols of each sequence of ids.

        Raises:
            TokenizerError: an id is not in the vocabulary; names sequence, position and id.
        """
        values, offsets = checked(tokens)
        text = self.expansions
        symbols, ends, bad = decode_kernel(values, offsets, text.values, text.offsets)
        if bad >= 0:
            raise TokenizerError(f"{locate(offsets, bad)} is {values[bad]}, not an id (0 … {self.vocab_size - 1})")
        return Ragged(symbols, ends)

    def decode_one(self, tokens: ArrayLike) -> NDArray[np.int32]:
        """Base symbols of one sequence of ids, int32 ``[S]``; same errors as :meth:`decode`."""
        values, offsets = checked_one(tokens)
        text = self.expansions
        symbols, _, bad = decode_kernel(values, offsets, text.values, text.offsets)
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

    def _names(self, num_symbols: int) -> str:
        """What a symbol outside [0, num_symbols) is not."""
        what = "a base symbol" if num_symbols == self.num_symbols else "an id"
        return f"not {what} (0 … {num_symbols - 1})"

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
    values, offsets = checked(sequences)
    check_training(len(values) + len(offsets), num_symbols, vocab_size, min_count)
    if len(values) and (values.min() < 0 or values.max() >= num_symbols):
        bad = int(np.argmax((values < 0) | (values >= num_symbols)))
        raise TokenizerError(f"{locate(offsets, bad)} is {values[bad]}, not a base symbol (0 … {num_symbols - 1})")
    state = np.zeros(2, dtype=np.int64)
    arguments = (values, offsets, num_symbols, vocab_size, max(1, min_count), _DENSE, state)
    codes = train_kernel(*arguments) if progress is None else _train_watched(arguments, progress)
    merges = np.stack([codes >> 16 & 0xFFFF, codes & 0xFFFF], axis=1).astype(np.int32)
    return Bpe(num_symbols, merges, np.arange(num_symbols, num_symbols + len(codes), dtype=np.int32))


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
