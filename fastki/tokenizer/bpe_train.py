"""BPE training on integers: the same merges as the trainer of Hugging Face ``tokenizers``.

Each step merges the commonest pair everywhere, left to right; among equals the smallest pair. Three facts keep the
tables small:

* A phrase is only ever made in one way. (Where no merge has crossed the ends of a phrase, the merges inside it ran
  as in the phrase alone, so it is cut alike wherever it stands.) So each merge makes a new token.
* Hence all occurrences of a pair appear in one step, the one that made the younger of its two ids, and from then on
  its count only falls. A pair that starts below the least count never matters and is not kept.
* For the same reason a heap may hold old counts: whatever comes to its top is brought up to date first.

Training runs in two stages. While the top pair is common, stage 1 passes over all symbols and squeezes them in
place; a few dozen merges shrink quantised DCT coefficients by an order of magnitude. Then stage 2 notes where each
pair stands, and visits only those places.

All helpers are in this file because Numba's cache does not notice a change in another one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

# A pair (a, b) of ids below 65,536 travels as one int32 whose bits are a (high half) and b (low half).
CODE, COUNT, START, LENGTH = 0, 1, 2, 3  # columns of a pair table; the last two are the pair's places
NO_CODE = -1  # the pair (65535, 65535): the last id of the largest vocabulary is made last and joins nothing
TOKENS, PAIRS, HEAP, PLACES = 0, 1, 2, 3  # cells of the state: how many of each there are
MADE, CANCEL = 0, 1  # cells of the progress array, which other threads see

_helper = njit(nogil=True, error_model="numpy")
_kernel = njit(nogil=True, error_model="numpy", cache=True)


# -- pair table: int32 [capacity, 4], open addressing, capacity a power of two -------------------------------


@_helper
def _code(a: int, b: int) -> Any:
    return np.int32((a << 16) | b)


@_helper
def _new_table(capacity: int) -> Any:
    table = np.zeros((capacity, 4), np.int32)
    for row in range(capacity):
        table[row, CODE] = NO_CODE
    return table


@_helper
def _row(table: Ints, code: int) -> int:
    """Row of a pair, or the free row where it belongs."""
    mask = np.uint64(table.shape[0] - 1)
    row = ((np.uint64(code) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while table[row, CODE] != code and table[row, CODE] != NO_CODE:
        row = (row + np.uint64(1)) & mask
    return row


@_helper
def _copy_table(table: Ints, capacity: int, floor: int) -> Ints:
    """The pairs with at least `floor` occurrences in a table of another capacity."""
    copy = _new_table(capacity)
    for old in range(table.shape[0]):
        if table[old, CODE] != NO_CODE and table[old, COUNT] >= floor:
            row = _row(copy, table[old, CODE])
            for column in range(4):
                copy[row, column] = table[old, column]
    return copy


@_helper
def _with_room(table: Ints, pairs: int) -> Ints:
    """The table, or a larger copy, that `pairs` pairs fill by half at most."""
    capacity = table.shape[0]
    while capacity < 2 * pairs:
        capacity *= 2
    return table if capacity == table.shape[0] else _copy_table(table, capacity, -(2**31))


@_helper
def _count_pairs(values: Ints, offsets: Longs, state: Longs) -> Ints:
    """Table of all neighbouring pairs, overlapping ones included."""
    table = _new_table(4096)
    for word in range(len(offsets) - 1):
        start, end = offsets[word], offsets[word + 1]
        table = _with_room(table, state[PAIRS] + end - start)
        for i in range(start, end - 1):
            code = _code(values[i], values[i + 1])
            row = _row(table, code)
            if table[row, CODE] == NO_CODE:
                table[row, CODE] = code
                state[PAIRS] += 1
            table[row, COUNT] += 1
    return table


# -- heap of pairs: int64 keys, the count in the high word, the pair's complement in the low one -------------


@_helper
def _key(count: int, code: int) -> int:
    return (np.int64(count) << 32) | (0xFFFFFFFF - (np.int64(code) & 0xFFFFFFFF))


@_helper
def _key_code(key: int) -> Any:
    return np.int32(0xFFFFFFFF - (key & 0xFFFFFFFF))


@_helper
def _sift_down(heap: Longs, size: int, key: int) -> None:
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


@_helper
def _push(heap: Longs, state: Longs, key: int) -> Longs:
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


@_helper
def _settle_top(heap: Longs, state: Longs, table: Ints, floor: int) -> int:
    """Bring stale keys up to date until the top one is right. Returns the top count, 0 to stop."""
    while state[HEAP] > 0:
        key = heap[0]
        code = _key_code(key)
        count = np.int64(table[_row(table, code), COUNT])
        if count == key >> 32:
            return count
        if count >= floor:
            _sift_down(heap, state[HEAP], _key(count, code))
        else:
            _drop_top(heap, state)
    return 0


@_helper
def _drop_top(heap: Longs, state: Longs) -> None:
    state[HEAP] -= 1
    _sift_down(heap, state[HEAP], heap[state[HEAP]])


@_helper
def _take_top(heap: Longs, state: Longs, table: Ints) -> tuple[int, Ints]:
    """Remove the top pair, which is then counted no more. Returns (code, row of the table)."""
    code = _key_code(heap[0])
    _drop_top(heap, state)
    row = table[_row(table, code)]
    row[COUNT] = 0
    return code, row


# -- what a merge does to the counts -------------------------------------------------------------------------
#
# Groups: group p < vocab_size is "p stands before a merged pair", group vocab_size + q is "q stands after one".
# A tally counts each group in one merge; a merged pair right after another one has the new token before it.


@_helper
def _take(table: Ints, code: int, count: int) -> None:
    row = _row(table, code)
    if table[row, CODE] == code:
        table[row, COUNT] -= count


@_helper
def _form(table: Ints, heap: Longs, state: Longs, code: int, count: int, places: int) -> Longs:
    row = _row(table, code)
    table[row, CODE], table[row, COUNT] = code, count
    table[row, START], table[row, LENGTH] = state[PLACES], places
    state[PAIRS] += 1
    state[PLACES] += places
    return _push(heap, state, _key(count, code))


@_helper
def _recount(
    table: Ints, heap: Longs, state: Longs, tally: Ints, touched: Ints, cursors: Ints, code: int, floor: int
) -> Any:
    """Move the neighbours' counts from the merged pair to the new token, and clear the tally.

    Leaves in `cursors` where the places of each group's new pair begin, -1 if it is too rare to keep.
    Returns (table, heap), which may have moved.
    """
    a, b = (code >> 16) & 0xFFFF, code & 0xFFFF
    token, half = state[TOKENS], len(tally) // 2
    chained = tally[token]  # times that a pair followed a pair: its (token, a) was formed and gone again
    table = _with_room(table, state[PAIRS] + len(touched))
    for group in touched:
        if group < half:
            old, new, count = _code(group, a), _code(group, token), tally[group]
        else:
            old, new, count = _code(b, group - half), _code(token, group - half), tally[group]
        places = count
        if group != token:
            _take(table, old, count)
        if group == half + a:
            count -= chained
        cursors[group] = -1
        if count >= floor:
            cursors[group] = state[PLACES]
            heap = _form(table, heap, state, new, count, places)
    for group in touched:
        tally[group] = 0
    return table, heap


# -- stage 1: passes over everything -------------------------------------------------------------------------


@_helper
def _squeeze(source: Ints, ends: Longs, target: Ints, code: int, token: int, tally: Ints) -> None:
    """Merge one pair everywhere, left to right, moving the ends; `target` may be `source`."""
    a, b = (code >> 16) & 0xFFFF, code & 0xFFFF
    half = len(tally) // 2
    write, end = 0, ends[0]
    for word in range(len(ends) - 1):
        read, end = end, ends[word + 1]
        first = write
        while read < end:
            symbol = source[read]
            read += 1
            if symbol == a and read < end and source[read] == b:
                read += 1
                symbol = token
                if write > first:
                    tally[target[write - 1]] += 1
                if read < end:
                    tally[half + source[read]] += 1
            target[write] = symbol
            write += 1
        ends[word + 1] = write


@_helper
def _squeeze_stage(
    values: Ints, ends: Longs, table: Ints, heap: Longs, state: Longs, merges: Ints, limits: Any
) -> Any:
    """Merge while the top count times `dense` is at least what is left. Returns (symbols, table, heap)."""
    num_symbols, vocab_size, floor, dense, progress = limits
    symbols = np.empty(len(values), np.int32)
    tally = np.zeros(2 * vocab_size, np.int32)
    touched, cursors = np.empty(2 * vocab_size, np.int32), np.empty(2 * vocab_size, np.int32)
    source = values
    while state[TOKENS] < vocab_size and progress[CANCEL] == 0:
        if _settle_top(heap, state, table, floor) * dense <= ends[-1]:
            break
        code, _ = _take_top(heap, state, table)
        _squeeze(source, ends, symbols, code, state[TOKENS], tally)
        source = symbols
        size = 0
        for group in range(len(tally)):
            if tally[group] != 0:
                touched[size] = group
                size += 1
        table, heap = _recount(table, heap, state, tally, touched[:size], cursors, code, floor)
        merges[state[TOKENS] - num_symbols] = code
        state[TOKENS] += 1
        progress[MADE] = state[TOKENS]
    return source, table, heap


# -- stage 2: visits to the places of one pair ---------------------------------------------------------------
#
# Cells: one per squeezed symbol, and a boundary before, between and after the words. A token that covers k > 1
# cells has its id in the first, -k in the second and in the last, and negative numbers between, so that both its
# neighbours are one step away.


@_helper
def _lay_out(symbols: Ints, ends: Longs, boundary: int) -> Ints:
    cells = np.empty(ends[-1] + len(ends), np.int32)
    cells[0] = boundary
    for word in range(len(ends) - 1):
        for i in range(ends[word], ends[word + 1]):
            cells[i + word + 1] = symbols[i]
        cells[ends[word + 1] + word + 1] = boundary
    return cells


@_helper
def _find_places(cells: Ints, boundary: int, table: Ints, state: Longs) -> Ints:
    """Give each pair its places. Returns them, with room for all that can follow.

    A merge at one place forms at most two pairs and removes one token, so three places a cell are enough.
    """
    places = np.empty(3 * len(cells), np.int32)
    state[PLACES] = 0
    for row in range(table.shape[0]):
        table[row, START], table[row, LENGTH] = state[PLACES], 0
        if table[row, CODE] != NO_CODE:
            state[PLACES] += max(0, table[row, COUNT])  # a merged pair (a, a) is below 0
    for i in range(1, len(cells) - 1):
        if cells[i] != boundary and cells[i + 1] != boundary:
            code = _code(cells[i], cells[i + 1])
            row = _row(table, code)
            if table[row, CODE] == code:
                places[table[row, START] + table[row, LENGTH]] = i
                table[row, LENGTH] += 1
    return places


@_helper
def _next(cells: Ints, at: int) -> int:
    return at - cells[at + 1] if cells[at + 1] < 0 else at + 1


@_helper
def _note(tally: Ints, touched: Ints, size: int, log: Ints, row: int, group: int, place: int) -> int:
    """Count one neighbour and log the place of the pair it is now in; returns how many groups are touched."""
    log[row, 0], log[row, 1] = group, place
    tally[group] += 1
    touched[size] = group
    return size + (tally[group] == 1)


@_helper
def _merge_places(
    cells: Ints, boundary: int, places: Ints, code: int, token: int, tally: Ints, touched: Ints, log: Ints
) -> Any:
    """Merge a pair at its places, in order, where it still is. Returns (touched groups, rows of `log` used)."""
    a, b = (code >> 16) & 0xFFFF, code & 0xFFFF
    half = len(tally) // 2
    groups = rows = 0
    for at in places:
        if cells[at] != a:
            continue
        middle = _next(cells, at)
        if cells[middle] != b:
            continue
        before, after = at - 1, _next(cells, middle)
        if cells[before] < 0:
            before = at + cells[before]
        cells[at] = token
        cells[middle] = cells[at + 1] = cells[after - 1] = at - after
        if cells[before] != boundary:
            groups = _note(tally, touched, groups, log, rows, cells[before], before)
            rows += 1
        if cells[after] != boundary:
            groups = _note(tally, touched, groups, log, rows, half + cells[after], at)
            rows += 1
    return groups, rows


@_helper
def _visit_stage(
    cells: Ints, table: Ints, heap: Longs, state: Longs, merges: Ints, limits: Any
) -> None:
    num_symbols, vocab_size, floor, _, progress = limits
    places = _find_places(cells, vocab_size, table, state)
    tally = np.zeros(2 * vocab_size, np.int32)
    touched, cursors = np.empty(2 * vocab_size + 1, np.int32), np.empty(2 * vocab_size, np.int32)
    log = np.empty((0, 2), np.int32)
    while state[TOKENS] < vocab_size and progress[CANCEL] == 0:
        if _settle_top(heap, state, table, floor) == 0:
            break
        code, pair = _take_top(heap, state, table)
        here = places[pair[START] : pair[START] + pair[LENGTH]]
        if len(log) < 2 * len(here):
            log = np.empty((4 * len(here), 2), np.int32)
        token = state[TOKENS]
        size, rows = _merge_places(cells, vocab_size, here, code, token, tally, touched, log)
        table, heap = _recount(table, heap, state, tally, touched[:size], cursors, code, floor)
        for i in range(rows):
            group = log[i, 0]
            if cursors[group] >= 0:
                places[cursors[group]] = log[i, 1]
                cursors[group] += 1
        merges[token - num_symbols] = code
        state[TOKENS] += 1
        progress[MADE] = state[TOKENS]


@_kernel
def train_kernel(
    values: Ints, offsets: Longs, num_symbols: int, vocab_size: int, floor: int, dense: int, progress: Longs
) -> Ints:
    """The merged pairs' codes, int32 [M], in order; merge m makes id ``num_symbols + m``.

    ``floor`` (at least 1) is the least count to merge. Stage 1 lasts while the top count times ``dense`` exceeds
    the number of symbols left. ``progress[MADE]`` follows the vocabulary; set ``progress[CANCEL]`` to stop.
    """
    state = np.zeros(4, np.int64)
    state[TOKENS] = num_symbols
    merges = np.empty(vocab_size - num_symbols, np.int32)
    counts = _count_pairs(values, offsets, state)
    table = _copy_table(counts, counts.shape[0], floor)
    heap = np.empty(1024, np.int64)
    state[PAIRS] = 0
    for row in range(table.shape[0]):
        if table[row, CODE] != NO_CODE:
            state[PAIRS] += 1
            heap = _push(heap, state, _key(table[row, COUNT], table[row, CODE]))
    limits = (num_symbols, vocab_size, floor, dense, progress)
    ends = offsets.copy()
    symbols, table, heap = _squeeze_stage(values, ends, table, heap, state, merges, limits)
    cells = _lay_out(symbols, ends, vocab_size)
    _visit_stage(cells, table, heap, state, merges, limits)
    return merges[: state[TOKENS] - num_symbols].copy()
