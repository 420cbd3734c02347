"""Normalised chunks to streams and back; the search for a precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastki.errors import TokenizerError, UsageError
from fastki.tokenizer.codec import Codec
from fastki.tokenizer.precision import coarsest_bins


def codec(**changes) -> Codec:
    return Codec(**{"horizon": 16, "action_dim": 4, "scale": 10.0, "literals": 31, **changes})


def test_coefficients_are_the_rounded_scaled_dct(walks):
    from scipy.fft import dct

    expected = np.rint(dct(walks, axis=1, norm="ortho") * 10).astype(int)
    np.testing.assert_array_equal(codec().quantize(walks)[0], expected)
    assert codec().bins == 20


def test_constant_chunk_by_hand():
    # The mean alone: 0.5 · √16 · 10 = 20, every other frequency is zero and is not written.
    stream = codec(action_dim=1).write(np.full((1, 16, 1), 0.5))
    assert stream[0].tolist() == [31 + 20]


@pytest.mark.parametrize("literals", [7, 63])
@pytest.mark.parametrize("magnitude", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("bins", [4, 256, 65_536])
def test_constants_and_walks_of_any_magnitude_are_lossless_as_coefficients(literals, magnitude, bins):
    rng = np.random.default_rng(1)
    constants = np.broadcast_to(rng.uniform(-1, 1, size=(20, 1, 4)), (20, 16, 4))
    walk = np.cumsum(rng.normal(size=(20, 16, 4)), axis=1)
    chunks = np.concatenate([constants, walk / np.abs(walk).max()]) * magnitude
    wide = codec(literals=literals, scale=bins / 2)
    back, repairs = wide.read(wide.write(chunks))
    np.testing.assert_array_equal(wide.quantize(back)[0], wide.quantize(chunks)[0])
    assert repairs.total.sum() == 0
    # Rounding moves each of H coefficients by half a step at most, so a value by √H halves of a step.
    assert np.abs(back - chunks).max() <= np.sqrt(16) / bins + 1e-9 * magnitude


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e20])
def test_what_has_no_tokens_is_named(value):
    chunks = np.zeros((3, 16, 4))
    chunks[1, 5, 2] = value
    with pytest.raises(TokenizerError, match="chunk 1, step 5, dimension 2"):
        codec().write(chunks)


@pytest.mark.parametrize("bad", [{"scale": 0.0}, {"scale": np.nan}, {"horizon": 0}, {"action_dim": 0}])
def test_parameters_out_of_range(bad):
    with pytest.raises(UsageError, match="must"):
        codec(**bad)


@pytest.mark.parametrize("atol", [0.3, 0.05, 0.01, 0.002])
def test_coarsest_bins_pass_and_no_coarser_ones_of_their_octave_do(walks, max_error, atol):
    bins = coarsest_bins(walks, atol)
    assert max_error(walks, bins / 2) <= atol
    if bins <= 512:
        below = range(max(4, bins // 2 + 1) if bins > 4 else 4, bins)
        octave = [b for b in below if b > 2 ** int(np.ceil(np.log2(bins))) // 2]
        assert all(max_error(walks, b / 2) > atol for b in octave)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.01, 1e-3]))
@settings(max_examples=20, deadline=None)
def test_coarsest_bins_keep_the_bound_on_random_data(max_error, seed, atol):
    chunks = np.random.default_rng(seed).normal(size=(8, 10, 3))
    assert max_error(chunks, coarsest_bins(chunks, atol) / 2) <= atol


@pytest.mark.parametrize("atol", [0.0, -1.0, np.nan])
def test_atol_must_be_positive(walks, atol):
    with pytest.raises(UsageError, match="atol"):
        coarsest_bins(walks, atol)


def test_an_unreachable_bound_says_so(walks):
    with pytest.raises(UsageError, match="larger atol"):
        coarsest_bins(walks[:4] * 1e6, 1e-12)
