"""Compiled loops of :mod:`fastki.study.ngram`: counting and scoring one chain of contexts.

A chain names what a symbol's contexts are made of, longest last: ``(1, 2, 3)`` are the symbols one, two and three
places back, ``POSITION`` is the place in the chunk. Its contexts form a tree: the root has seen nothing, a child has
seen one feature more. A tree is five arrays:

* ``contexts``: int64 ``[capacity, 2]``, (parent · features + feature, child), open addressing;
* ``entries``: int64 ``[capacity, 2]``, (node · symbols + symbol, count), open addressing;
* ``nodes``: int32 ``[capacity, 5]``, see the columns below; node 0 is the root;
* ``used``: int64 ``[2]``, contexts and entries so far.

Axis letters: K features of a chain, N chunks.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

from __future__ import annotations

import numpy as np
from numba import njit

POSITION = 0
"""The feature that is the symbol's place in its chunk; any other number is how far back a symbol stands."""

FREE = -1
KEY, VALUE = 0, 1  # columns of both tables
TOTAL, ONCE, TWICE, OFTEN, DEPTH = range(5)  # columns of nodes: sum of counts, kinds by count 1, 2, ≥ 3, features seen
CONTEXTS, ENTRIES = 0, 1  # cells of used

helper = njit(nogil=True, error_model="numpy")  # without a cache file: goes into the kernels'


@helper
def _row(table, key):
    """Row of a key, or the free row where it belongs."""
    mask = np.uint64(table.shape[0] - 1)
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    row = (mixed ^ (mixed >> np.uint64(32))) & mask
    while table[row, KEY] != key and table[row, KEY] != FREE:
        row = (row + np.uint64(1)) & mask
    return row


@helper
def _with_room(table, rows):
    """The table, or a larger copy, that so many rows fill by half at most."""
    capacity = table.shape[0]
    while capacity < 2 * rows:
        capacity *= 2
    if capacity == table.shape[0]:
        return table
    larger = np.full((capacity, 2), FREE, np.int64)
    for old in range(table.shape[0]):
        if table[old, KEY] != FREE:
            row = _row(larger, table[old, KEY])
            larger[row, KEY] = table[old, KEY]
            larger[row, VALUE] = table[old, VALUE]
    return larger


@helper
def _with_nodes(nodes, rows):
    if rows <= nodes.shape[0]:
        return nodes
    larger = np.zeros((2 * rows, nodes.shape[1]), np.int32)
    larger[: nodes.shape[0]] = nodes
    return larger


@helper
def _feature(values, start, at, back, before):
    """What a chain sees for the symbol at ``at``; ``before`` stands for symbols before the chunk's first."""
    if back == POSITION:
        return np.int64(at - start)
    return np.int64(values[at - back]) if at - back >= start else np.int64(before)


@njit(nogil=True, error_model="numpy", cache=True)
def count_chunks(values, offsets, chain, sizes, tree):
    """Count the symbols of chunks into ``tree``; returns the tree.

    A context hears of a symbol only when it is new to the context one feature longer: the counts of Kneser and Ney.

    ``sizes`` is (symbols, features, end): the last symbol closes each chunk if ``end`` is 1.
    """
    contexts, entries, nodes, used = tree
    symbols, features, end = sizes
    depth = chain.shape[0]
    path = np.zeros(depth + 1, np.int64)
    for chunk in range(offsets.shape[0] - 1):
        start, stop = offsets[chunk], offsets[chunk + 1]
        most = (stop - start + 1) * (depth + 1)
        contexts = _with_room(contexts, used[CONTEXTS] + most)
        entries = _with_room(entries, used[ENTRIES] + most)
        nodes = _with_nodes(nodes, used[CONTEXTS] + most + 1)
        for at in range(start, stop + end):
            symbol = values[at] if at < stop else symbols - 1
            for level in range(depth):
                key = path[level] * features + _feature(values, start, at, chain[level], features - 1)
                row = _row(contexts, key)
                if contexts[row, KEY] == FREE:
                    used[CONTEXTS] += 1
                    contexts[row, KEY] = key
                    contexts[row, VALUE] = used[CONTEXTS]
                    nodes[used[CONTEXTS], DEPTH] = level + 1
                path[level + 1] = contexts[row, VALUE]
            for level in range(depth, -1, -1):
                node = path[level]
                key = node * symbols + symbol
                row = _row(entries, key)
                new = entries[row, KEY] == FREE
                if new:
                    used[ENTRIES] += 1
                    entries[row, KEY] = key
                    entries[row, VALUE] = 0
                before = entries[row, VALUE]
                entries[row, VALUE] = before + 1
                nodes[node, TOTAL] += 1
                if 0 < before < OFTEN:
                    nodes[node, before] -= 1
                if before < OFTEN:
                    nodes[node, before + 1] += 1
                if not new:
                    break
    return contexts, entries, nodes, used


@njit(nogil=True, error_model="numpy", cache=True)
def tally_counts(tree, symbols, depth):
    """How many entries each level of contexts has with count 1, 2, 3 and 4, int64 ``[K + 1, 4]``."""
    _, entries, nodes, _ = tree
    tally = np.zeros((depth + 1, 4), np.int64)
    for row in range(entries.shape[0]):
        count = entries[row, VALUE]
        if entries[row, KEY] != FREE and count <= 4:
            tally[nodes[entries[row, KEY] // symbols, DEPTH], count - 1] += 1
    return tally


@njit(nogil=True, error_model="numpy", cache=True)
def score_chunks(values, offsets, chain, sizes, tree, discounts, scores):
    """Fill ``scores`` with the probability of each symbol, the end included if ``sizes`` says so.

    ``discounts`` is float64 ``[K + 1, 4]``: what is taken off a count of 0, 1, 2, ≥ 3.
    """
    contexts, entries, nodes, _ = tree
    symbols, features, end = sizes
    depth = chain.shape[0]
    scored = 0
    for chunk in range(offsets.shape[0] - 1):
        start, stop = offsets[chunk], offsets[chunk + 1]
        for at in range(start, stop + end):
            symbol = values[at] if at < stop else symbols - 1
            share, node = 1.0 / symbols, np.int64(0)
            for level in range(depth + 1):
                row = _row(entries, node * symbols + symbol)
                count = entries[row, VALUE] if entries[row, KEY] != FREE else 0
                freed = 0.0
                for kind in range(ONCE, OFTEN + 1):
                    freed += discounts[level, kind] * nodes[node, kind]
                kept = count - discounts[level, min(count, OFTEN)]
                share = (kept + freed * share) / nodes[node, TOTAL]
                if level == depth:
                    break
                row = _row(contexts, node * features + _feature(values, start, at, chain[level], features - 1))
                if contexts[row, KEY] == FREE:
                    break
                node = contexts[row, VALUE]
            scores[scored] = share
            scored += 1
