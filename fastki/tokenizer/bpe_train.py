"""BPE training on integers: the same merges as the trainer of Hugging Face ``tokenizers``.

Each step merges the commonest pair everywhere, left to right; among equals the smallest pair. Three facts keep
the tables small:

* A phrase is only ever made in one way. (Where no merge has crossed the ends of a phrase, the merges inside it
  ran as in the phrase alone, so it is cut alike wherever it stands.) So each merge makes a new token.
* Hence all occurrences of a pair appear in one step, the one that made the younger of its two ids, and from then
  on its count only falls. A pair that starts below the least count never matters and is not kept.
* For the same reason a heap may hold old counts: whatever comes to its top is brought up to date first.

Training runs in two stages. While the top pair is common, stage 1 passes over all symbols and squeezes them in
place, which soon shrinks quantised DCT coefficients by an order of magnitude. Then stage 2 notes where each pair
stands, and visits only those places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from fastki.tokenizer.bpe_pairs import (
    CODE,
    COUNT,
    LENGTH,
    NO_CODE,
    PAIRS,
    PLACES,
    START,
    TOKENS,
    Int,
    Ints,
    Longs,
    copy_table,
    count_pairs,
    heap_key,
    helper,
    pair_code,
    push,
    recount,
    row_of,
    settle_top,
    take_top,
)

MADE, CANCEL = 0, 1  # cells of the progress array, which other threads see

_kernel: Callable[[Any], Any] = njit(nogil=True, error_model="numpy", cache=True)


# -- stage 1: passes over everything -------------------------------------------------------------------------


@helper
def _squeeze(source: Ints, ends: Longs, target: Ints, code: Int, token: Int, tally: Ints) -> None:
    """Merge one pair everywhere, left to right, moving the ends; `target` may be `source`."""
    a, b, made = np.int32((code >> 16) & 0xFFFF), np.int32(code & 0xFFFF), np.int32(token)
    half = len(tally) // 2
    one = np.uint64(1)  # Unsigned, so that no index is tested for being negative: a third faster.
    write, end = np.uint64(0), np.uint64(0)
    for word in range(len(ends) - 1):
        read, end = end, np.uint64(ends[word + 1])
        first = write
        while read < end:
            symbol = source[read]
            read += one
            if symbol == a and read < end and source[read] == b:
                read += one
                symbol = made
                if write > first:
                    tally[target[write - one]] += 1
                if read < end:
                    tally[half + source[read]] += 1
            target[write] = symbol
            write += one
        ends[word + 1] = write


@helper
def _squeeze_stage(values: Ints, ends: Longs, table: Ints, heap: Longs, state: Longs, merges: Ints, limits: Any) -> Any:
    """Merge while the top count times `dense` is at least what is left. Returns (symbols, table, heap)."""
    num_symbols, vocab_size, floor, dense, progress = limits
    symbols = np.empty(len(values), np.int32)
    tally = np.zeros(2 * vocab_size, np.int32)
    touched, cursors = np.empty(2 * vocab_size, np.int32), np.empty(2 * vocab_size, np.int32)
    source = values
    while state[TOKENS] < vocab_size and progress[CANCEL] == 0:
        if settle_top(heap, state, table, floor) * dense <= ends[-1]:
            break
        code, _ = take_top(heap, state, table)
        _squeeze(source, ends, symbols, code, state[TOKENS], tally)
        source = symbols
        size = 0
        for group in range(len(tally)):
            if tally[group] != 0:
                touched[size] = group
                size += 1
        table, heap = recount(table, heap, state, tally, touched[:size], cursors, code, floor)
        merges[state[TOKENS] - num_symbols] = code
        state[TOKENS] += 1
        progress[MADE] = state[TOKENS]
    return source, table, heap


# -- stage 2: visits to the places of one pair ---------------------------------------------------------------
#
# Cells: one per squeezed symbol, and a boundary before, between and after the words. A token that covers k > 1
# cells has its id in the first, -k in the second and in the last, and negative numbers between, so that both
# its neighbours are one step away.


@helper
def _lay_out(symbols: Ints, ends: Longs, boundary: Int) -> Any:
    cells = np.empty(ends[-1] + len(ends), np.int32)
    cells[0] = boundary
    for word in range(len(ends) - 1):
        for i in range(ends[word], ends[word + 1]):
            cells[i + word + 1] = symbols[i]
        cells[ends[word + 1] + word + 1] = boundary
    return cells


@helper
def _find_places(cells: Ints, boundary: Int, table: Ints, state: Longs) -> Any:
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
            code = pair_code(cells[i], cells[i + 1])
            row = row_of(table, code)
            if table[row, CODE] == code:
                places[table[row, START] + table[row, LENGTH]] = i
                table[row, LENGTH] += 1
    return places


@helper
def _step(cells: Ints, at: Int, edge: Int, forward: Int) -> Any:
    """The token after (`forward` 1) or before (-1) the one at `at`, whose cell next to that one is `edge`."""
    mark = np.int64(cells[edge])
    return np.uint64(np.int64(at) - forward * (mark if mark < 0 else -1))


@helper
def _note(tally: Ints, touched: Ints, size: Int, log: Ints, row: Int, group: Int, place: Int) -> Any:
    """Count one neighbour and log the place of the pair it is now in; returns how many groups are touched."""
    log[row, 0], log[row, 1] = group, place
    touched[size] = group
    size += tally[group] == 0
    tally[group] += 1
    return size


@helper
def _merge_places(
    cells: Ints, boundary: Int, places: Ints, code: Int, token: Int, tally: Ints, touched: Ints, log: Ints
) -> Any:
    """Merge a pair at its places, in order, where it still is. Returns (groups touched, rows of `log` used)."""
    a, b = np.int32((code >> 16) & 0xFFFF), np.int32(code & 0xFFFF)
    half = len(tally) // 2
    one = np.uint64(1)  # Unsigned, so that no index is tested for being negative.
    groups, rows = np.int64(0), np.uint64(0)
    for place in places:
        at = np.uint64(place)
        if cells[at] != a:
            continue
        middle = _step(cells, at, at + one, 1)
        if cells[middle] != b:
            continue
        after = _step(cells, middle, middle + one, 1)
        before = _step(cells, at, at - one, -1)
        left, right = cells[before], cells[after]
        cells[at] = token
        cells[middle] = cells[at + one] = cells[after - one] = np.int64(at) - np.int64(after)
        if left != boundary:
            groups = _note(tally, touched, groups, log, rows, left, before)
            rows += one
        if right != boundary:
            groups = _note(tally, touched, groups, log, rows, half + right, at)
            rows += one
    return groups, np.int64(rows)


@helper
def _visit_stage(cells: Ints, table: Ints, heap: Longs, state: Longs, merges: Ints, limits: Any) -> None:
    num_symbols, vocab_size, floor, _, progress = limits
    places = _find_places(cells, vocab_size, table, state)
    tally = np.zeros(2 * vocab_size, np.int32)
    touched, cursors = np.empty(2 * vocab_size + 1, np.int32), np.empty(2 * vocab_size, np.int32)
    log = np.empty((0, 2), np.int32)
    while state[TOKENS] < vocab_size and progress[CANCEL] == 0:
        if settle_top(heap, state, table, floor) == 0:
            break
        code, pair = take_top(heap, state, table)
        here = places[pair[START] : pair[START] + pair[LENGTH]]
        if len(log) < 2 * len(here):
            log = np.empty((4 * len(here), 2), np.int32)
        token = state[TOKENS]
        size, rows = _merge_places(cells, vocab_size, here, code, token, tally, touched, log)
        table, heap = recount(table, heap, state, tally, touched[:size], cursors, code, floor)
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
    values: Ints, offsets: Longs, num_symbols: Int, vocab_size: Int, floor: Int, dense: Int, progress: Longs
) -> Any:
    """The merged pairs' codes, int32 [M], in order; merge m makes id ``num_symbols + m``.

    ``floor`` (at least 1) is the least count to merge. Stage 1 lasts while the top count times ``dense`` exceeds
    the number of symbols left. ``progress[MADE]`` follows the vocabulary; set ``progress[CANCEL]`` to stop.
    """
    state = np.zeros(4, np.int64)
    state[TOKENS] = num_symbols
    merges = np.empty(vocab_size - num_symbols, np.int32)
    counts = count_pairs(values, offsets, state)
    table = copy_table(counts, counts.shape[0], floor)
    heap = np.empty(1024, np.int64)
    state[PAIRS] = 0
    for row in range(table.shape[0]):
        if table[row, CODE] != NO_CODE:
            state[PAIRS] += 1
            heap = push(heap, state, heap_key(table[row, COUNT], table[row, CODE]))
    limits = (num_symbols, vocab_size, floor, dense, progress)
    ends = offsets.copy()
    symbols, table, heap = _squeeze_stage(values, ends, table, heap, state, merges, limits)
    cells = _lay_out(symbols, ends, vocab_size)
    _visit_stage(cells, table, heap, state, merges, limits)
    return merges[: state[TOKENS] - num_symbols].copy()
