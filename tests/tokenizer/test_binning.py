"""Per-dimension binning: RT-2's and OpenVLA's way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastki.data import Normalizer
from fastki.errors import DecodeError, TokenizerError, UsageError
from fastki.tokenizer.binning import BinningTokenizer


def make(bins: int = 256, horizon: int = 16, dims: int = 4, **options) -> BinningTokenizer:
    return BinningTokenizer(bins, horizon, dims, **options)


def test_one_token_a_value_step_by_step():
    chunk = np.array([[[-1.0, 1.0], [0.0, 0.49], [-7.0, 7.0]]])
    tokenizer = make(4, 3, 2)
    assert [row.tolist() for row in tokenizer.encode_normalized(chunk)] == [[0, 3, 2, 2, 0, 3]]
    assert tokenizer.decode_normalized([[0, 3, 2, 2, 0, 3]])[0].tolist() == [[-0.75, 0.75], [0.25, 0.25], [-0.75, 0.75]]
    assert (tokenizer.method, tokenizer.vocab_size, tokenizer.horizon, tokenizer.action_dim) == ("binning", 4, 3, 2)


@settings(deadline=None, max_examples=40)
@given(bins=st.integers(2, 65536), seed=st.integers(0, 99))
def test_inside_the_range_the_error_is_at_most_half_a_bin(bins, seed):
    chunks = np.random.default_rng(seed).uniform(-1, 1, size=(5, 3, 2))
    tokenizer = make(bins, 3, 2)
    tokens = tokenizer.encode_normalized(chunks)
    assert all(row.dtype == np.int32 and row.min() >= 0 and row.max() < bins for row in tokens)
    assert np.abs(tokenizer.decode_normalized(tokens) - chunks).max() <= 1 / bins * (1 + 1e-9)
    assert [row.tolist() for row in tokenizer.encode_normalized(tokenizer.decode_normalized(tokens))] == [
        row.tolist() for row in tokens
    ]


def test_native_units_pass_through_the_normaliser(walks):
    native = walks * 3 + 5
    tokenizer = make(normalizer=Normalizer.fit(native.reshape(-1, 4), method="minmax"))
    error = np.abs(tokenizer.decode(tokenizer.encode(native)) - native) / tokenizer.normalizer.scale
    assert error.max() <= 1 / 256 * (1 + 1e-9)


def test_damaged_sequences_are_mended_and_counted():
    tokenizer = make(4, 1, 3)
    report = tokenizer.decode_normalized_report([[0, 1], [0, 1, 2, 3, 3], [0, 9, 1, 2]], on_unknown="skip")
    assert report.actions.reshape(3, 3).tolist() == [[-0.75, -0.25, 0], [-0.75, -0.25, 0.25], [-0.75, -0.25, 0.25]]
    assert report.repairs.unfinished.tolist() == [1, 0, 0]
    assert report.repairs.extra.tolist() == [0, 2, 0]
    assert report.repairs.unknown.tolist() == [0, 0, 1]
    with pytest.raises(TokenizerError, match="id 9"):
        tokenizer.decode_normalized([[0, 9, 1]])
    with pytest.raises(DecodeError, match="chunk 0"):
        tokenizer.decode_normalized([[0]], strict=True)


@pytest.mark.parametrize("bins", [1, 0, -3, 65537, 2.5, float("nan")])
def test_a_number_of_bins_that_cannot_be(bins):
    with pytest.raises(UsageError, match="bins must be a whole number"):
        make(bins)


def test_nan_has_no_token():
    with pytest.raises(TokenizerError, match="chunk 0, step 1, dimension 0 is nan"):
        make(4, 2, 1).encode_normalized(np.array([[[0.0], [np.nan]]]))
