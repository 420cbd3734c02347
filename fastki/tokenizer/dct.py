"""The orthonormal DCT-II along time, as one small matrix product.

Axis letters: N chunks, H horizon, A action dimensions.

A chunk is short (H of 8 to 100), so the H × H product costs less than the set-up of a fast transform, gives the
same result for a chunk alone and in a batch, and is as easy to write down elsewhere as here.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray


@functools.lru_cache(maxsize=64)
def dct_matrix(horizon: int) -> NDArray[np.float64]:
    """Orthonormal DCT-II matrix, float64 ``[H, H]``, row = frequency (read-only).

    ``C[k, n] = sqrt((2 - [k = 0]) / H) · cos(π (2n + 1) k / 2H)`` (Ahmed, Natarajan and Rao, "Discrete Cosine
    Transform", 1974). ``C @ C.T`` is the identity. The angle is reduced in integers first, so that high
    frequencies lose no precision.
    """
    frequency = np.arange(horizon)[:, None]
    quarter_turns = (2 * np.arange(horizon)[None, :] + 1) * frequency % (4 * horizon)
    matrix: NDArray[np.float64] = np.cos(np.pi / (2 * horizon) * quarter_turns) * np.sqrt(2 / horizon)
    matrix[0] = np.sqrt(1 / horizon)
    matrix.setflags(write=False)
    return matrix


@functools.lru_cache(maxsize=64)
def _inverse_matrix(horizon: int) -> NDArray[np.float64]:
    """The transpose of :func:`dct_matrix`, laid out in memory as itself: a product with a view costs twice as much."""
    matrix = np.ascontiguousarray(dct_matrix(horizon).T)
    matrix.setflags(write=False)
    return matrix


def dct(chunks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients float64 ``[N, H, A]`` of chunks ``[N, H, A]``; axis 1 becomes frequency."""
    product: NDArray[np.float64] = np.matmul(dct_matrix(chunks.shape[1]), chunks)
    return product


def idct(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chunks float64 ``[N, H, A]`` of coefficients ``[N, H, A]``: the inverse of :func:`dct`."""
    product: NDArray[np.float64] = np.matmul(_inverse_matrix(coefficients.shape[1]), coefficients)
    return product
