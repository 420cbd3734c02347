"""The DCT against SciPy's and against its own definition."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft

from fastki.tokenizer.dct import dct, dct_matrix, idct


@pytest.mark.parametrize("horizon", [1, 2, 16, 50, 511])
def test_equals_scipy_and_inverts(horizon):
    chunks = np.random.default_rng(horizon).normal(size=(5, horizon, 3))
    coefficients = dct(chunks)
    np.testing.assert_allclose(coefficients, scipy.fft.dct(chunks, axis=1, norm="ortho"), atol=1e-12)
    np.testing.assert_allclose(idct(coefficients), chunks, atol=1e-12)
    np.testing.assert_allclose(dct_matrix(horizon) @ dct_matrix(horizon).T, np.eye(horizon), atol=1e-12)


def test_by_hand():
    # H = 2: rows (1, 1)/√2 and (cos 45°, cos 135°) = (1, −1)/√2.
    np.testing.assert_allclose(dct(np.array([[[3.0], [1.0]]])).ravel(), [4 / np.sqrt(2), 2 / np.sqrt(2)])


def test_a_chunk_alone_and_in_a_batch_give_the_same_bits():
    chunks = np.random.default_rng(0).normal(size=(64, 50, 26))
    alone = np.concatenate([dct(chunk[None]) for chunk in chunks])
    assert np.array_equal(alone, dct(chunks))
