"""Compiled loop of :mod:`fastki.tokenizer.grammar`.

Axis letters: P places, V vocabulary, S symbols of all expansions.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

from __future__ import annotations

import numba

NEXT, REFINEMENTS, FIRST, ENDS, INNER, LAST, TAIL = range(7)


@numba.njit(nogil=True, cache=True)
def tabulate(symbols, offsets, moves, completes, open_value, radix, most, tables):
    """Fill ``tables`` [7, P, V] with what each token does from each place; counts end at ``most``."""
    escape, finer, end = radix, radix + 1, radix + 2
    for place in range(moves.shape[0]):
        for token in range(offsets.shape[0] - 1):
            at, segment = place, 0
            refinements, first, ends, inner, tail = 0, 0, 0, 0, 0
            for index in range(offsets[token], offsets[token + 1]):
                symbol = symbols[index]
                after = moves[at, symbol]
                if after < 0:
                    at = -1
                    break
                tail = 1
                if symbol == finer:
                    refinements += 1
                elif symbol == end:
                    first = segment if ends == 0 else first
                    inner = inner if ends == 0 else max(inner, segment)
                    ends += 1
                    segment, tail = 0, 0
                elif symbol != escape and completes[at] == 1:
                    segment += 1
                at = after
            tables[NEXT, place, token] = at
            if at < 0:
                continue
            if open_value[at]:
                segment += 1
            tables[REFINEMENTS, place, token] = min(refinements, most)
            tables[FIRST, place, token] = min(segment if ends == 0 else first, most)
            tables[ENDS, place, token] = min(ends, most)
            tables[INNER, place, token] = min(inner, most)
            tables[LAST, place, token] = min(segment if ends > 0 else 0, most)
            tables[TAIL, place, token] = tail
