"""Quantisation that keeps every value of a chunk within an error bound, verified chunk by chunk.

Axis letters: N chunks, H horizon, A action dimensions.

Rounding each DCT coefficient to the nearest step leaves the time-domain error of most series (one dimension of one
chunk) well within the bound and that of a few beyond it. For those, single coefficients move by ±1 until the largest
error fits (:func:`repair <fastki.tokenizer.bound_kernels._repair>`); where that fails, the series gets half the step,
and the stream says so. What room is left afterwards is spent: ±1 coefficients go, from the highest frequency down, as
long as the bound holds or a few moves of the others restore it. The error is computed anew at the end, as a decoder
computes it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastki.errors import TokenizerError
from fastki.tokenizer.dct import dct, dct_matrix
from fastki.tokenizer.stream import MAX_COEFFICIENT, MAX_FINER


def quantize_within(
    chunks: NDArray[np.float64], scale: float, atol: float, *, transformed: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Coefficients int64 ``[N, H, A]`` and refinements int32 ``[N, A]`` that decode to within ``atol``.

    Args:
        chunks: finite, normalised units, float64 ``[N, H, A]``.
        scale: γ before any refinement.
        atol: bound on every value's absolute error, normalised units.
        transformed: the DCT of the chunks, where a caller has it already.

    Raises:
        TokenizerError: a series is so large that float64 or the stream can't keep the bound.
    """
    from fastki.tokenizer import bound_kernels

    quantized = np.zeros(chunks.shape, dtype=np.int64)
    finer = np.zeros((chunks.shape[0], chunks.shape[2]), dtype=np.int32)
    chunk, dim = bound_kernels.quantize_within(
        chunks,
        dct(chunks) if transformed is None else np.ascontiguousarray(transformed),
        dct_matrix(chunks.shape[1]),
        scale,
        atol,
        MAX_FINER,
        float(MAX_COEFFICIENT),
        quantized,
        finer,
    )
    if chunk >= 0:
        step = int(np.abs(chunks[chunk, :, dim]).argmax())
        raise TokenizerError(
            f"chunk {chunk}, step {step}, dimension {dim} is {chunks[chunk, step, dim]:.4g} in normalised units, too "
            f"large to keep within {atol:g}: check the units of the data against the normaliser's statistics"
        )
    return quantized, finer
