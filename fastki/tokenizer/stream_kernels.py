"""Compiled loops of :mod:`fastki.tokenizer.stream`; arrays in, arrays out, no checks.

Axis letters: N chunks, H horizon (frequencies), A action dimensions, S symbols of all chunks.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

_jit = numba.njit(nogil=True, cache=True)

EXTRA, MISPLACED, UNFINISHED = 0, 1, 2


@_jit
def _put(value, literals, symbols, at):
    """Write one number at ``at``; returns the place after it."""
    radix = 2 * literals + 1
    escapes, reach = 0, literals
    magnitude = abs(value)
    while magnitude > reach:
        escapes += 1
        reach = reach * radix + literals
    end = at + 2 * escapes + 1
    for place in range(at, at + escapes):
        symbols[place] = radix
    # Digits from the least significant, which stands last.
    for place in range(end - 1, at + escapes - 1, -1):
        digit = (value + literals) % radix
        symbols[place] = digit
        value = (value - (digit - literals)) // radix
    return end


@_jit
def _write_frequencies(coefficients, finer, literals, symbols, at):
    """One chunk, frequency-major: a header a refinement, then rows up to the last non-zero coefficient."""
    horizon, dims = coefficients.shape
    for dim in range(dims):
        for _ in range(finer[dim]):
            symbols[at] = 2 * literals + 2
            at = _put(dim, literals, symbols, at + 1)
    last = horizon * dims - 1
    while last >= 0 and coefficients[last // dims, last % dims] == 0:
        last -= 1
    for index in range(last + 1):
        at = _put(coefficients[index // dims, index % dims], literals, symbols, at)
    return at


@_jit
def _write_dimensions(coefficients, finer, literals, symbols, at):
    """One chunk, dimension-major: refinements, coefficients up to the last non-zero one, END."""
    horizon, dims = coefficients.shape
    end_of_last = at
    for dim in range(dims):
        for _ in range(finer[dim]):
            symbols[at] = 2 * literals + 2
            at += 1
        last = horizon - 1
        while last >= 0 and coefficients[last, dim] == 0:
            last -= 1
        for index in range(last + 1):
            at = _put(coefficients[index, dim], literals, symbols, at)
        if last >= 0 or finer[dim] > 0:
            end_of_last = at
        symbols[at] = 2 * literals + 3
        at += 1
    return end_of_last  # What follows would be ENDs alone, which the reader implies.


@_jit
def write_symbols(coefficients, finer, literals, by_dimension, offsets, symbols):
    """Streams of coefficients [N, H, A] with refinements [N, A], end to end in ``symbols``, which is large enough.

    ``offsets`` [N + 1] receives where each begins and ends.
    """
    offsets[0] = 0
    for chunk in range(coefficients.shape[0]):
        mine, refined, at = coefficients[chunk], finer[chunk], offsets[chunk]
        if by_dimension:
            offsets[chunk + 1] = _write_dimensions(mine, refined, literals, symbols, at)
        else:
            offsets[chunk + 1] = _write_frequencies(mine, refined, literals, symbols, at)


@_jit
def _read_frequencies(symbols, literals, max_escapes, max_finer, coefficients, finer, mended):
    """One frequency-major stream into zeroed ``coefficients`` [H, A] and ``finer`` [A]."""
    radix = 2 * literals + 1
    horizon, dims = coefficients.shape
    size = horizon * dims
    filled, escapes, value, refined = 0, 0, 0, 0
    in_digits, in_header = False, False
    for symbol in symbols:
        if filled == size:
            mended[EXTRA] += 1
        elif symbol == radix:
            if in_digits or escapes == max_escapes:
                mended[MISPLACED] += 1
            else:
                escapes += 1
        elif symbol > radix:
            if filled or in_digits or escapes or in_header or refined == max_finer or symbol > radix + 1:
                mended[MISPLACED] += 1
            else:
                in_header = True
                refined += 1
        else:
            value = value * radix + (symbol - literals)
            in_digits = escapes > 0
            if in_digits:
                escapes -= 1
                continue
            if in_header:
                finer[value % dims] += 1
                in_header = False
            else:
                coefficients[filled // dims, filled % dims] = value
                filled += 1
            value = 0
    if escapes > 0 or in_digits or in_header:
        mended[UNFINISHED] += 1


@_jit
def _read_dimensions(symbols, literals, max_escapes, max_finer, coefficients, finer, mended):
    """One dimension-major stream into zeroed ``coefficients`` [H, A] and ``finer`` [A]."""
    radix = 2 * literals + 1
    horizon, dims = coefficients.shape
    dim, filled, escapes, value, refined = 0, 0, 0, 0, 0
    in_digits = False
    for symbol in symbols:
        if dim == dims:
            mended[EXTRA] += 1
        elif symbol == radix + 2:
            if in_digits or escapes > 0:
                mended[UNFINISHED] += 1
            dim, filled, escapes, value, in_digits = dim + 1, 0, 0, 0, False
        elif symbol == radix + 1:
            if filled or in_digits or escapes or refined == max_finer:
                mended[MISPLACED] += 1
            else:
                finer[dim] += 1
                refined += 1
        elif filled == horizon or (symbol == radix and (in_digits or escapes == max_escapes)):
            mended[MISPLACED] += 1
        elif symbol == radix:
            escapes += 1
        else:
            value = value * radix + (symbol - literals)
            in_digits = escapes > 0
            if in_digits:
                escapes -= 1
                continue
            coefficients[filled, dim] = value
            filled += 1
            value = 0
    if in_digits or escapes > 0:
        mended[UNFINISHED] += 1


@_jit
def synthesize(coefficients, finer, scale, matrix, chunks):
    """Fill zeroed ``chunks`` [N, H, A] with the inverse DCT of whole coefficients [N, H, A] and refinements [N, A].

    Most coefficients are zero, and only the others are multiplied; each value is a sum from the lowest frequency up, as
    the encoder's check of its bound sums it.
    """
    count, horizon, dims = coefficients.shape
    series = np.empty(horizon)
    for chunk in range(count):
        for dim in range(dims):
            step = 1.0 / (scale * 2.0 ** finer[chunk, dim])
            series[:] = 0.0
            for k in range(horizon):
                value = coefficients[chunk, k, dim]
                if value != 0:
                    factor = value * step
                    for index in range(horizon):
                        series[index] += matrix[k, index] * factor
            for index in range(horizon):
                chunks[chunk, index, dim] = series[index]


@_jit
def read_symbols(symbols, offsets, literals, by_dimension, max_escapes, max_finer, coefficients, finer, mended):
    """Fill zeroed ``coefficients`` [N, H, A], ``finer`` [N, A] and ``mended`` [N, 3] from streams."""
    for chunk in range(coefficients.shape[0]):
        stream = symbols[offsets[chunk] : offsets[chunk + 1]]
        target = coefficients[chunk]
        if by_dimension:
            _read_dimensions(stream, literals, max_escapes, max_finer, target, finer[chunk], mended[chunk])
        else:
            _read_frequencies(stream, literals, max_escapes, max_finer, target, finer[chunk], mended[chunk])
