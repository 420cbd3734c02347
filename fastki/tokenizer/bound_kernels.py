"""Compiled loops of :mod:`fastki.tokenizer.bound`; arrays in, arrays out, no checks.

Axis letters: N chunks, H horizon, A action dimensions. One *series* is one dimension of one chunk, ``[H]``.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

_jit = numba.njit(nogil=True, cache=True)

MAX_MOVES, MAX_COMPENSATIONS = 64, 4


@_jit
def _largest(error):
    peak = 0.0
    for value in error:
        peak = max(peak, abs(value))
    return peak


@_jit
def _badness(error, row, step, unit, limit):
    """Sum of ``|(error + step · row) / unit|`` to the eighth power: nearly the largest, yet it feels the others.

    Gives up, with what it has, once that is beyond ``limit``.
    """
    total = 0.0
    for index in range(error.shape[0]):
        square = (error[index] + step * row[index]) / unit
        square *= square
        square *= square
        total += square * square
        if total > limit:
            break
    return total


@_jit
def _shift(error, row, step):
    for index in range(error.shape[0]):
        error[index] += step * row[index]


@_jit
def _repair(quantized, error, matrix, step, bound, end, moves, only_nonzero):
    """Move coefficients below ``end`` by ±1, the best one at a time, until the series is within ``bound``.

    False if it isn't after ``moves`` of them, or none helps any more. With ``only_nonzero`` zeros stay zeros. A move
    away from zero, which costs more symbols, must be clearly better than one towards it.
    """
    if _largest(error) <= bound:
        return True
    for _ in range(moves):
        best = _badness(error, matrix[0], 0.0, bound, np.inf)
        best_k, best_sign = -1, 0
        for k in range(end):
            if only_nonzero and quantized[k] == 0:
                continue
            for sign in (-1, 1):
                handicap = 1.001 if quantized[k] * sign >= 0 else 1.0
                candidate = handicap * _badness(error, matrix[k], sign * step, bound, best)
                if candidate < best:
                    best, best_k, best_sign = candidate, k, sign
        if best_k < 0:
            return False
        quantized[best_k] += best_sign
        _shift(error, matrix[best_k], best_sign * step)
        if _largest(error) <= bound:
            return True
    return False


@_jit
def _thin(quantized, error, matrix, step, bound, trial, trial_error):
    """Spend what is left of the bound: drop ±1 coefficients, from the highest frequency down.

    What a dropped one leaves beyond the bound, up to four moves of the coefficients below it may take back.
    """
    for k in range(error.shape[0] - 1, 0, -1):
        if abs(quantized[k]) != 1:
            continue
        trial[:] = quantized
        trial_error[:] = error
        trial[k] = 0
        _shift(trial_error, matrix[k], -quantized[k] * step)
        if _repair(trial, trial_error, matrix, step, bound, k, MAX_COMPENSATIONS, True):
            quantized[:] = trial
            error[:] = trial_error


@_jit
def _exact_error(quantized, series, matrix, step, error):
    """Error of the series as a decoder will see it, computed anew: sums of moves gather rounding."""
    error[:] = 0.0
    for k in range(series.shape[0]):
        if quantized[k] != 0:
            _shift(error, matrix[k], quantized[k] * step)
    for index in range(series.shape[0]):
        error[index] -= series[index]


@_jit
def _quantize_series(series, spectrum, matrix, scale, bound, quantized, error, trial, trial_error):
    """Coefficients of one series at one scale; True if they keep it within ``bound``."""
    step = 1.0 / scale
    for k in range(series.shape[0]):
        quantized[k] = np.int64(np.rint(spectrum[k] * scale))
    _exact_error(quantized, series, matrix, step, error)
    if not _repair(quantized, error, matrix, step, bound, series.shape[0], MAX_MOVES, False):
        return False
    _thin(quantized, error, matrix, step, bound, trial, trial_error)
    _exact_error(quantized, series, matrix, step, error)
    return _largest(error) <= bound


@_jit
def quantize_within(chunks, spectra, matrix, scale, atol, max_finer, limit, quantized, finer):
    """Coefficients [N, H, A] and refinements [N, A] of chunks [N, H, A], every value within ``atol``.

    Returns the first (chunk, dimension) that no refinement brings within it, or (-1, -1).
    """
    horizon, dims = chunks.shape[1], chunks.shape[2]
    series, spectrum = np.empty(horizon), np.empty(horizon)
    error, trial_error = np.empty(horizon), np.empty(horizon)
    mine, trial = np.empty(horizon, dtype=np.int64), np.empty(horizon, dtype=np.int64)
    for chunk in range(chunks.shape[0]):
        for dim in range(dims):
            series[:] = chunks[chunk, :, dim]
            spectrum[:] = spectra[chunk, :, dim]
            peak = _largest(spectrum)
            # Room for the rounding of the decoder's own sums.
            bound = atol * (1 - 1e-9) - 1e-15 * horizon * peak
            done, level = False, 0
            while bound > 0 and peak * scale * 2.0**level <= limit and level <= max_finer:
                fine = scale * 2.0**level
                if _quantize_series(series, spectrum, matrix, fine, bound, mine, error, trial, trial_error):
                    done = True
                    break
                level += 1
            if not done:
                return chunk, dim
            finer[chunk, dim] = level
            quantized[chunk, :, dim] = mine
    return -1, -1
