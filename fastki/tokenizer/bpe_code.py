"""BPE encoding and decoding of many sequences in one call.

To encode is to apply, again and again, the lowest-ranked merge that fits, leftmost first, as Hugging Face's
``tokenizers`` does. Where no merge that involves the id made has a lower rank, all places of a rank can go in
one pass from left to right; that is so for every merge of a trained table. The sequences at hand are short and
mostly zeros, so passes over an array that shrinks fast beat a heap of places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Int = Any  # an integer of Python or, inside a kernel, of the machine

_EMPTY = -1
_NO_RANK = np.int32(2**31 - 1)

_helper: Callable[[Any], Any] = njit(nogil=True, error_model="numpy")
_kernel: Callable[[Any], Any] = njit(nogil=True, error_model="numpy", cache=True)


# -- which merge a pair has ----------------------------------------------------------------------------------


@_helper
def _find(table: Longs, code: Int) -> Any:
    """Where a pair's entry is, or the empty cell where it belongs."""
    mask = np.uint64(len(table) - 1)
    at = ((np.uint64(code) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & mask
    while table[at] >> 32 != code and table[at] != _EMPTY:
        at = (at + np.uint64(1)) & mask
    return at


@_helper
def _rank(table: Longs, code: Int) -> Any:
    """Rank of a pair's merge, _NO_RANK without one: the low word of an empty cell is 31 ones."""
    return np.int32(table[_find(table, code)] & 0x7FFFFFFF)


@_helper
def _code(a: Int, b: Int) -> Any:
    return (np.int64(a) << 16) | np.int64(b)


@_kernel
def index_kernel(merges: Ints, merged: Ints, vocab_size: Int) -> tuple[Longs, Ints]:
    """What :func:`encode_kernel` needs of a table of merges.

    Returns a hash table from pair to rank, int64 [a power of two], with the pair (two uint16) in the high word and
    the rank in the low one, of a pair that comes twice the later rank; and int32 [M], what each rank makes: the
    id, or its complement where the merge must go one place at a time.
    """
    size = 16
    while size < 3 * len(merges):
        size *= 2
    table = np.full(size, _EMPTY, np.int64)
    first_use = np.full(vocab_size, len(merges), np.int64)
    for rank in range(len(merges)):
        a, b = merges[rank, 0], merges[rank, 1]
        code = _code(a, b)
        table[_find(table, code)] = (code << 32) | rank
        first_use[a], first_use[b] = min(first_use[a], rank), min(first_use[b], rank)
    made = merged.copy()
    for rank in range(len(merges)):
        if first_use[merged[rank]] < rank:
            made[rank] = ~merged[rank]
    return table, made


# -- passes over one sequence --------------------------------------------------------------------------------


@_helper
def _first_ranks(ids: Ints, ranks: Ints, size: Int, table: Longs) -> None:
    """Rank of each neighbouring pair; none for the last id."""
    last_code, last_rank = np.int64(-1), _NO_RANK
    for i in range(size - 1):
        code = _code(ids[i], ids[i + 1])
        if code != last_code:  # In runs of zeros the pair stays the same.
            last_code, last_rank = code, _rank(table, code)
        ranks[i] = last_rank
    ranks[size - 1] = _NO_RANK


@_helper
def _lowest(ranks: Ints, size: Int) -> Any:
    lowest = _NO_RANK
    for i in range(size):
        lowest = min(lowest, ranks[i])
    return lowest


@_helper
def _pass(ids: Ints, ranks: Ints, size: Int, rank: Int, token: Int, once: bool, table: Longs) -> Any:
    """Merge the places of one rank, which there are, from left to right. Returns the new size."""
    read = 0
    while ranks[read] != rank:
        read += 1
    write = read
    last_code, last_rank = np.int64(-1), _NO_RANK
    while read < size:
        if ranks[read] == rank:
            read += 2
            ids[write] = token
            if write > 0:
                code = _code(ids[write - 1], token)
                if code != last_code:
                    last_code, last_rank = code, _rank(table, code)
                ranks[write - 1] = last_rank
            if once:
                rank = -1  # No other place has it.
            if read == size:
                ranks[write] = _NO_RANK
            elif ranks[read] != rank:  # Else the next token changes as well, and then this pair is looked up.
                ranks[write] = _rank(table, _code(token, ids[read]))
        else:
            ids[write], ranks[write] = ids[read], ranks[read]
            read += 1
        write += 1
    return write


@_kernel
def encode_kernel(values: Ints, offsets: Longs, num_symbols: Int, table: Longs, made: Ints) -> Any:
    """(ids int32 [L], where each sequence's ids end int64 [N], index of a bad symbol in `values` or -1)."""
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    ranks = np.empty(longest, np.int32)
    out = np.empty(offsets[-1] - offsets[0], np.int32)
    ends = np.empty(len(offsets) - 1, np.int64)
    done = 0
    for i in range(len(offsets) - 1):
        size = offsets[i + 1] - offsets[i]
        ids = out[done:]
        for k in range(size):
            symbol = values[offsets[i] + k]
            if symbol < 0 or symbol >= num_symbols:
                return out[:0].copy(), ends, offsets[i] + k
            ids[k] = symbol
        if size > 0:
            _first_ranks(ids, ranks, size, table)
            rank = _lowest(ranks, size)
            while rank != _NO_RANK:
                token = made[rank]
                size = _pass(ids, ranks, size, rank, max(token, ~token), token < 0, table)
                rank = _lowest(ranks, size)
        done += size
        ends[i] = done
    return out[:done].copy(), ends, np.int64(-1)


# -- back to symbols -----------------------------------------------------------------------------------------


@_kernel
def decode_kernel(ids: Ints, offsets: Longs, text: Ints, at: Longs) -> Any:
    """(symbols int32 [S], offsets int64 [N + 1], index of an unknown id in `ids` or -1).

    Id k reads ``text[at[k]:at[k + 1]]``.
    """
    ends = np.zeros(len(offsets), np.int64)
    size = 0
    for i in range(len(offsets) - 1):
        for read in range(offsets[i], offsets[i + 1]):
            token = ids[read]
            if token < 0 or token >= len(at) - 1:
                return text[:0].copy(), ends, read
            size += at[token + 1] - at[token]
        ends[i + 1] = size
    symbols = np.empty(size, np.int32)
    write = 0
    for read in range(offsets[0], offsets[-1]):
        token = ids[read]
        for k in range(at[token], at[token + 1]):
            symbols[write] = text[k]
            write += 1
    return symbols, ends, np.int64(-1)


@_kernel
def expand_kernel(num_symbols: Int, merges: Ints, merged: Ints, vocab_size: Int, limit: Int) -> Any:
    """(text int32 [T], at int64 [vocab_size + 1], index of a merge that contradicts the others or -1).

    Each id must be made at least once from smaller ones, and always stand for the same symbols. Gives up with
    index M where the text is longer than `limit`.
    """
    at = np.zeros(vocab_size + 1, np.int64)
    maker = np.full(vocab_size, -1, np.int64)
    for m in range(len(merges)):
        if maker[merged[m]] < 0 and max(merges[m, 0], merges[m, 1]) < merged[m]:
            maker[merged[m]] = m
    nothing = np.zeros(0, np.int32)
    for m in range(len(merges)):
        if maker[merged[m]] < 0:
            return nothing, at, np.int64(m)
    for token in range(vocab_size):
        length = np.int64(1)
        if token >= num_symbols:
            a, b = merges[maker[token], 0], merges[maker[token], 1]
            length = at[a + 1] - at[a] + at[b + 1] - at[b]
        at[token + 1] = at[token] + length
        if at[token + 1] > limit:
            return nothing, at, np.int64(len(merges))
    text = np.empty(at[-1], np.int32)
    for token in range(num_symbols):
        text[token] = token
    for token in range(num_symbols, vocab_size):
        _spell(text, at, merges[maker[token]], token, True)
    for m in range(len(merges)):
        if not _spell(text, at, merges[m], merged[m], False):
            return nothing, at, np.int64(m)
    return text, at, np.int64(-1)


@_helper
def _spell(text: Ints, at: Longs, pair: Ints, token: Int, write: bool) -> Any:
    """Whether `token` reads as the pair does, after making it so if `write`."""
    to = at[token]
    for part in pair:
        for k in range(at[part], at[part + 1]):
            if to >= at[token + 1]:
                return False
            if write:
                text[to] = text[k]
            if text[to] != text[k]:
                return False
            to += 1
    return to == at[token + 1]
