"""The pairs of BPE training: a table of their counts and places, and a heap of the commonest.

Every function here is compiled into the kernel of :mod:`fastki.tokenizer.bpe_train`. A pair (a, b) of ids
below 65,536 travels as one int32 ``code`` whose bits are a (high half) and b (low half).
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

CODE, COUNT, START, LENGTH = 0, 1, 2, 3  # columns of a pair table; the last two are the pair's places
NO_CODE = -1  # the pair (65535, 65535): the last id of the largest vocabulary is made last and joins nothing
TOKENS, PAIRS, HEAP, PLACES = 0, 1, 2, 3  # cells of the state: how many of each there are

helper: Callable[[Any], Any] = njit(nogil=True, error_model="numpy")  # without a cache file: goes into the kernel's


# -- pair table: int32 [capacity, 4], open addressing, capacity a power of two -------------------------------


@helper
def pair_code(a: Int, b: Int) -> Any:
    return np.int32((a << 16) | b)


@helper
def new_table(capacity: Int) -> Any:
    table = np.zeros((capacity, 4), np.int32)
    for row in range(capacity):
        table[row, CODE] = NO_CODE
    return table


@helper
def row_of(table: Ints, code: Int) -> Any:
    """Row of a pair, or the free row where it belongs."""
    mask = np.uint64(table.shape[0] - 1)
    row = ((np.uint64(code) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while table[row, CODE] != code and table[row, CODE] != NO_CODE:
        row = (row + np.uint64(1)) & mask
    return row


@helper
def copy_table(table: Ints, capacity: Int, floor: Int) -> Any:
    """The pairs with at least `floor` occurrences in a table of another capacity."""
    copy = new_table(capacity)
    for old in range(table.shape[0]):
        if table[old, CODE] != NO_CODE and table[old, COUNT] >= floor:
            row = row_of(copy, table[old, CODE])
            for column in range(4):
                copy[row, column] = table[old, column]
    return copy


@helper
def with_room(table: Ints, pairs: Int) -> Any:
    """The table, or a larger copy, that `pairs` pairs fill by half at most."""
    capacity = table.shape[0]
    while capacity < 2 * pairs:
        capacity *= 2
    return table if capacity == table.shape[0] else copy_table(table, capacity, -(2**31))


@helper
def count_pairs(values: Ints, offsets: Longs, state: Longs) -> Any:
    """Table of all neighbouring pairs, overlapping ones included."""
    table = new_table(4096)
    for word in range(len(offsets) - 1):
        start, end = offsets[word], offsets[word + 1]
        table = with_room(table, state[PAIRS] + end - start)
        last, row, run = np.int32(NO_CODE), np.uint64(0), 0
        for i in range(start, end - 1):
            code = pair_code(values[i], values[i + 1])
            if code != last:  # In runs of zeros the pair stays the same.
                table[row, COUNT] += run
                last, row, run = code, row_of(table, code), 0
                if table[row, CODE] == NO_CODE:
                    table[row, CODE] = code
                    state[PAIRS] += 1
            run += 1
        table[row, COUNT] += run
    return table


# -- heap of pairs: int64 keys, the count in the high word, the pair's complement in the low one -------------


@helper
def heap_key(count: Int, code: Int) -> Any:
    return (np.int64(count) << 32) | (0xFFFFFFFF - (np.int64(code) & 0xFFFFFFFF))


@helper
def key_code(key: Int) -> Any:
    return np.int32(0xFFFFFFFF - (key & 0xFFFFFFFF))


@helper
def sift_down(heap: Longs, size: Int, key: Int) -> None:
    """Put `key` in place of the top."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key


@helper
def push(heap: Longs, state: Longs, key: Int) -> Any:
    """Add a key; returns the heap, moved if it had to grow."""
    at = state[HEAP]
    if at == len(heap):
        larger = np.empty(2 * at, np.int64)
        for i in range(at):
            larger[i] = heap[i]
        heap = larger
    state[HEAP] += 1
    while at > 0 and heap[(at - 1) >> 1] < key:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = key
    return heap


@helper
def settle_top(heap: Longs, state: Longs, table: Ints, floor: Int) -> Any:
    """Bring stale keys up to date until the top one is right. Returns the top count, 0 to stop."""
    while state[HEAP] > 0:
        key = heap[0]
        code = key_code(key)
        count = np.int64(table[row_of(table, code), COUNT])
        if count == key >> 32:
            return count
        if count >= floor:
            sift_down(heap, state[HEAP], heap_key(count, code))
        else:
            drop_top(heap, state)
    return 0


@helper
def drop_top(heap: Longs, state: Longs) -> None:
    state[HEAP] -= 1
    sift_down(heap, state[HEAP], heap[state[HEAP]])


@helper
def take_top(heap: Longs, state: Longs, table: Ints) -> Any:
    """Remove the top pair, which is then counted no more. Returns (code, row of the table)."""
    code = key_code(heap[0])
    drop_top(heap, state)
    row = table[row_of(table, code)]
    row[COUNT] = 0
    return code, row


# -- what a merge does to the counts -------------------------------------------------------------------------
#
# Group p < vocab_size is "p stands before a merged pair", group vocab_size + q is "q stands after one". A tally
# counts each group in one merge; a merged pair right after another one has the new token before it.


@helper
def take_away(table: Ints, code: Int, count: Int) -> None:
    row = row_of(table, code)
    if table[row, CODE] == code:
        table[row, COUNT] -= count


@helper
def form_pair(table: Ints, heap: Longs, state: Longs, code: Int, count: Int, places: Int) -> Any:
    row = row_of(table, code)
    table[row, CODE], table[row, COUNT] = code, count
    table[row, START], table[row, LENGTH] = state[PLACES], places
    state[PAIRS] += 1
    state[PLACES] += places
    return push(heap, state, heap_key(count, code))


@helper
def recount(
    table: Ints, heap: Longs, state: Longs, tally: Ints, touched: Ints, cursors: Ints, code: Int, floor: Int
) -> Any:
    """Move the neighbours' counts from the merged pair to the new token, and clear the tally.

    Leaves in `cursors` where the places of each group's new pair begin, -1 if it is too rare to keep.
    Returns (table, heap), which may have moved.
    """
    a, b = (code >> 16) & 0xFFFF, code & 0xFFFF
    token, half = state[TOKENS], len(tally) // 2
    chained = tally[token]  # times that a pair followed a pair: its (token, a) was formed and gone again
    table = with_room(table, state[PAIRS] + len(touched))
    for group in touched:
        if group < half:
            old, new, count = pair_code(group, a), pair_code(group, token), tally[group]
        else:
            old, new, count = pair_code(b, group - half), pair_code(token, group - half), tally[group]
        places = count
        if group != token:
            take_away(table, old, count)
        if group == half + a:
            count -= chained
        cursors[group] = -1
        if count >= floor:
            cursors[group] = state[PLACES]
            heap = form_pair(table, heap, state, new, count, places)
    for group in touched:
        tally[group] = 0
    return table, heap
