"""B-spline coefficients, quantised."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import make_lsq_spline

from fastki.errors import TokenizerError, UsageError
from fastki.tokenizer.bspline import BsplineTokenizer, basis


def fit(chunks: np.ndarray, *, bins: int = 256, points: int = 6) -> BsplineTokenizer:
    return BsplineTokenizer.fit(chunks, bins=bins, control_points=points)


def test_the_basis_is_clamped_and_sums_to_one():
    matrix = basis(16, 6)
    assert matrix.shape == (16, 6)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    assert matrix[0].tolist() == [1, 0, 0, 0, 0, 0]
    assert matrix[-1].tolist() == [0, 0, 0, 0, 0, 1]


def test_finely_quantised_it_is_the_least_squares_spline(walks):
    decoded = (tokenizer := fit(walks, bins=65536)).decode_normalized(tokenizer.encode_normalized(walks))
    steps = np.linspace(0, 1, 16)
    knots = np.concatenate([np.zeros(4), [1 / 3, 2 / 3], np.ones(4)])
    expected = np.stack([make_lsq_spline(steps, chunk, knots, k=3)(steps) for chunk in walks[:50]])
    np.testing.assert_allclose(decoded[:50], expected, atol=2e-4)


def test_as_many_points_as_steps_interpolate(walks):
    tokenizer = fit(walks, bins=65536, points=16)
    decoded = tokenizer.decode_normalized(tokenizer.encode_normalized(walks))
    assert np.abs(decoded - walks).max() < 2e-3


def test_the_error_falls_with_bins_and_points(walks):
    def rmse(**options):
        tokenizer = fit(walks, **options)
        return np.sqrt(np.mean((tokenizer.decode_normalized(tokenizer.encode_normalized(walks)) - walks) ** 2))

    assert rmse(bins=8) > rmse(bins=32) > rmse(bins=256)
    assert rmse(points=4) > rmse(points=8) > rmse(points=12)


def test_every_chunk_has_equally_many_tokens(walks):
    tokenizer = fit(walks, points=5)
    tokens = tokenizer.encode_normalized(walks)
    assert {len(row) for row in tokens} == {5 * 4}
    assert (tokenizer.method, tokenizer.vocab_size, tokenizer.horizon, tokenizer.action_dim) == ("bspline", 256, 16, 4)
    assert min(row.min() for row in tokens) == 0
    assert max(row.max() for row in tokens) == 255


def test_what_lies_outside_the_fitted_range_is_clipped(walks):
    tokenizer = fit(walks)
    wild = tokenizer.encode_normalized(walks[:1] + 100)[0]
    assert set(wild.tolist()) == {255}


def test_a_dimension_that_never_moves_comes_back(walks):
    still = walks.copy()
    still[:, :, 1] = 0.3
    tokenizer = fit(still)
    np.testing.assert_allclose(tokenizer.decode_normalized(tokenizer.encode_normalized(still))[:, :, 1], 0.3)


def test_it_decodes_on_another_grid_of_steps(walks):
    tokenizer = fit(walks)
    tokens = tokenizer.encode_normalized(walks[:3])
    assert tokenizer.decode_normalized(tokens, horizon=31)[:, ::2].shape == (3, 16, 4)
    np.testing.assert_allclose(
        tokenizer.decode_normalized(tokens, horizon=31)[:, ::2], tokenizer.decode_normalized(tokens)
    )


def test_damaged_sequences_are_mended_and_counted(walks):
    tokenizer = fit(walks)
    tokens = tokenizer.encode_normalized(walks[:2])
    report = tokenizer.decode_normalized_report([tokens[0][:-2], [*tokens[1], 7]])
    assert report.repairs.unfinished.tolist() == [2, 0]
    assert report.repairs.extra.tolist() == [0, 1]
    np.testing.assert_array_equal(report.actions[1], tokenizer.decode_normalized(tokens)[1])
    with pytest.raises(TokenizerError, match="id 256"):
        tokenizer.decode_normalized([[256]])


@pytest.mark.parametrize("points", [3, 17, 0, -1])
def test_points_that_cannot_be(walks, points):
    with pytest.raises(UsageError, match=f"4 to 16 control points, not {points}"):
        fit(walks, points=points)


def test_wrong_shapes_and_numbers_are_refused(walks):
    tokenizer = fit(walks)
    with pytest.raises(UsageError, match=r"fitted for \[N, 16, 4\]"):
        tokenizer.encode_normalized(walks[:, :8])
    with pytest.raises(UsageError, match="4 action dimensions"):
        tokenizer.decode_normalized([[0]], action_dim=3)
    with pytest.raises(UsageError, match="no chunk"):
        fit(walks[:0])
    with pytest.raises(TokenizerError, match="nan"):
        tokenizer.encode_normalized(np.full((1, 16, 4), np.nan))
