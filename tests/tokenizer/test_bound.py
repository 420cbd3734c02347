"""The error bound: kept on every value of every chunk, whatever the input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastki import FastTokenizer
from fastki.errors import TokenizerError
from fastki.tokenizer import Codec
from fastki.tokenizer.bound import quantize_within
from fastki.tokenizer.dct import dct


def chunks_of(kind: str, rng: np.random.Generator, shape: tuple[int, int, int], magnitude: float) -> np.ndarray:
    made = {
        "noise": lambda: rng.uniform(-1, 1, size=shape),
        "walk": lambda: np.cumsum(rng.normal(size=shape), axis=1),
        "constant": lambda: np.broadcast_to(rng.uniform(-1, 1, size=(shape[0], 1, shape[2])), shape),
        "spike": lambda: (rng.random(shape) < 0.05) * 1.0,
        "step": lambda: np.where(np.arange(shape[1])[:, None] < shape[1] // 2, -1.0, 1.0) * np.ones(shape),
    }[kind]()
    return made / max(np.abs(made).max(), 1e-9) * magnitude


@given(
    kind=st.sampled_from(["noise", "walk", "constant", "spike", "step"]),
    seed=st.integers(0, 2**32 - 1),
    horizon=st.sampled_from([1, 2, 3, 8, 16, 50]),
    dims=st.sampled_from([1, 2, 7]),
    magnitude=st.sampled_from([1e-3, 1.0, 30.0, 1e3]),
    atol=st.sampled_from([1e-4, 1e-3, 0.01, 0.3]),
    coarseness=st.sampled_from([0.05, 0.6, 3.0]),
    order=st.sampled_from(["freq", "dim"]),
)
@settings(deadline=None, max_examples=150)
def test_no_value_ever_misses_the_bound(kind, seed, horizon, dims, magnitude, atol, coarseness, order):
    chunks = chunks_of(kind, np.random.default_rng(seed), (4, horizon, dims), magnitude)
    codec = Codec(horizon, dims, coarseness / atol, 15, order, atol)
    decoded, repairs = codec.read(codec.write(chunks))
    assert repairs.total.sum() == 0
    assert np.abs(decoded - chunks).max() <= atol


@pytest.mark.parametrize(("horizon", "dims", "scale"), [(512, 2, 2.0), (512, 1, 32_768.0), (3, 128, 50.0)])
@pytest.mark.parametrize("atol", [1e-4, 0.01])
def test_the_far_corners_of_shape_and_precision(horizon, dims, scale, atol):
    rng = np.random.default_rng(0)
    chunks = np.concatenate([chunks_of(kind, rng, (1, horizon, dims), 1e3) for kind in ("noise", "step")])
    codec = Codec(horizon, dims, scale, 7, "freq", atol)
    decoded, _ = codec.read(codec.write(chunks))
    assert np.abs(decoded - chunks).max() <= atol


@given(
    seed=st.integers(0, 2**32 - 1),
    vocab_size=st.sampled_from([64, 300, 65_536]),
    bins=st.sampled_from([4, 77, 65_536]),
    horizon=st.sampled_from([1, 5, 40, 512]),
    dims=st.sampled_from([1, 6, 128]),
    order=st.sampled_from(["freq", "dim"]),
)
@settings(deadline=None, max_examples=12)
def test_every_vocabulary_precision_and_shape_round_trips(seed, vocab_size, bins, horizon, dims, order):
    rng = np.random.default_rng(seed)
    chunks = np.cumsum(rng.normal(size=(4, horizon, dims)), axis=1)
    fitted = FastTokenizer.fit(chunks, vocab_size=vocab_size, bins=bins, order=order)
    far = chunks * rng.choice([1.0, 100.0])
    decoded = fitted.decode_normalized(fitted.encode(far), strict=True)
    target = fitted.normalizer.normalize(far)
    # Rounding moves H coefficients by half a step each, and a basis vector's values are at most √(2/H).
    assert np.abs(decoded - target).max() <= np.sqrt(2 * horizon) / bins + 1e-9 * np.abs(target).max()


def test_through_the_whole_tokenizer_in_native_units(walks):
    units = np.array([1.0, 1000.0, 1e-3, 5.0])
    for order in ("freq", "dim"):
        fitted = FastTokenizer.fit(walks[::2] * units, vocab_size=256, atol=0.004, order=order)
        unseen = walks[1::2] * units * 3
        error = np.abs(fitted.decode(fitted.encode(unseen)) - unseen) / fitted.normalizer.scale
        assert error.max() <= 0.004 * (1 + 1e-9)


def test_the_bound_costs_fewer_tokens_than_the_precision_that_keeps_it_by_rounding(walks):
    from fastki.tokenizer.precision import coarsest_bins

    bounded = FastTokenizer.fit(walks, vocab_size=256, atol=0.01)
    rounded = FastTokenizer.fit(walks, vocab_size=256, bins=coarsest_bins(bounded.normalizer.normalize(walks), 0.01))
    mean = [np.mean([len(row) for row in fitted.encode(walks)]) for fitted in (bounded, rounded)]
    assert mean[0] < 0.92 * mean[1]


def test_what_already_fits_is_only_thinned():
    # H = 2, scale 1, coefficients (0.9, -0.9): rounding gives (1, -1), errors 0.2·(1/√2) and 0; dropping the second
    # would leave 0.9/√2 ± 0.1/√2 = 0.71 and 0.57, more than 0.5, so it stays; with atol 0.75 it goes.
    matrix = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    chunk = (matrix.T @ np.array([0.9, -0.9])).reshape(1, 2, 1)
    np.testing.assert_allclose(dct(chunk).ravel(), [0.9, -0.9])
    assert quantize_within(chunk, 1.0, 0.5)[0].ravel().tolist() == [1, -1]
    assert quantize_within(chunk, 1.0, 0.75)[0].ravel().tolist() == [1, 0]


def test_a_series_that_the_step_cannot_reach_is_refined_alone():
    chunks = np.zeros((1, 16, 2))
    chunks[0, :, 1] = np.random.default_rng(0).uniform(-1, 1, size=16)
    quantized, finer = quantize_within(chunks, 0.5, 0.01)
    assert finer[0, 0] == 0
    assert finer[0, 1] > 3
    assert not quantized[0, :, 0].any()


def test_a_bound_that_float64_cannot_keep_is_refused_with_its_place():
    chunks = np.zeros((2, 4, 3))
    chunks[1, 2, 1] = 1e9
    with pytest.raises(TokenizerError, match=r"chunk 1, step 2, dimension 1 .* within 1e-09"):
        quantize_within(chunks, 1e9, 1e-9)


def test_real_chunks_held_out(shared):
    from fastki import open_dataset
    from fastki.tokenizer import FitOptions, FitSettings, RoundTripOptions, fit_on_dataset, roundtrip_on_dataset

    dataset = open_dataset(shared / "data" / "g1_pick_bottle")
    fitted = fit_on_dataset(dataset, FitOptions(FitSettings(vocab_size=1024), dims="0:8", max_chunks=3000))
    measured = roundtrip_on_dataset(fitted.tokenizer, dataset, RoundTripOptions(atol=0.01))
    assert measured.result.passed
    assert measured.result.within_atol == 1.0
    assert measured.part == "heldout"
