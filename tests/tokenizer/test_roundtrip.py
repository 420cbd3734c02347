"""What ``roundtrip`` measures, checked by hand on a tokenizer that anyone can run in their head."""

from __future__ import annotations

import numpy as np
import pytest

from fastki import FastTokenizer, Normalizer
from fastki.data import Chunks, ChunkSpec, NormStats
from fastki.errors import UsageError
from fastki.tokenizer import ActionTokenizer, Decoded, roundtrip
from fastki.tokenizer.roundtrip import ATOL_SLACK

HALF = Normalizer(
    "quantile",
    NormStats(np.zeros(2), np.ones(2), np.array([-2.0, -5.0]), np.array([2.0, 5.0]) - 1e-6),
)
"""Dimension 0: 2 native units in a normalised one; dimension 1: 5."""


class Tenths(ActionTokenizer):
    """Rounds normalised values to tenths, one token a value: its tenths plus 100; trailing noughts are left out."""

    method, vocab_size, horizon, action_dim = "tenths", 201, 2, 2

    def __init__(self, normalizer):
        self.normalizer = normalizer

    def encode_normalized(self, actions, *, previous=None):
        rows = np.rint(np.asarray(actions) * 10).astype(np.int32).reshape(len(actions), -1)
        return [np.trim_zeros(row, "b") + 100 for row in rows]

    def decode_normalized_report(self, tokens, **options):
        actions = np.zeros((len(tokens), 4))
        for row, ids in zip(actions, tokens, strict=True):
            row[: len(ids)] = (ids - 100) / 10
        return Decoded(actions.reshape(-1, 2, 2), None)


def chunks_of(actions, *, episode=None, start=None):
    actions = np.asarray(actions, dtype=np.float64)
    count = len(actions)
    nothing = np.zeros((count, actions.shape[2]))
    return Chunks(
        actions,
        nothing,
        nothing,
        np.zeros(count, np.int32) if episode is None else np.array(episode, np.int32),
        np.arange(count, dtype=np.int32) if start is None else np.array(start, np.int32),
        ChunkSpec(horizon=actions.shape[1]),
    )


NORMALIZED = np.array(
    [
        [[0.50, 0.10], [0.20, 0.00]],  # exact; 3 tokens
        [[0.53, 0.10], [0.20, 0.31]],  # off by 0.03 and 0.01; 4 tokens
        [[0.00, 0.00], [0.00, 0.00]],  # exact; no token
        [[0.50, 0.14], [-0.2, 0.10]],  # off by 0.04 in dimension 1; 4 tokens
    ]
)


@pytest.fixture(scope="module")
def measured():
    chunks = chunks_of(HALF.unnormalize(NORMALIZED), episode=[3, 3, 5, 8], start=[0, 4, 2, 6])
    return roundtrip(Tenths(HALF), [chunks], atol=0.03, names=("x", "y"), units=("m", None))


def test_errors_in_normalised_units(measured):
    assert measured.max_abs_error == pytest.approx(0.04)
    assert measured.rmse == pytest.approx(np.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 16))
    x, y = measured.per_dim
    assert (x.name, x.unit, y.name, y.unit) == ("x", "m", "y", None)
    assert (x.max_abs_error, y.max_abs_error) == (pytest.approx(0.03), pytest.approx(0.04))
    assert x.rmse == pytest.approx(np.sqrt(0.03**2 / 8))
    assert y.rmse == pytest.approx(np.sqrt((0.01**2 + 0.04**2) / 8))
    assert measured.worst_dimension is y


def test_errors_in_native_units(measured):
    x, y = measured.per_dim
    assert (x.unit_scale, y.unit_scale) == (pytest.approx(2), pytest.approx(5))
    assert (x.max_abs_error_native, y.max_abs_error_native) == (pytest.approx(0.06), pytest.approx(0.2))
    assert x.rmse_native == pytest.approx(2 * x.rmse)


def test_tokens(measured):
    assert measured.token_counts.tolist() == [3, 4, 0, 4]
    assert measured.tokens_mean == 11 / 4
    assert (measured.tokens_p50, measured.tokens_max) == (3.5, 4)
    assert measured.tokens_p99 == pytest.approx(np.percentile([3, 4, 0, 4], 99))
    assert measured.compression == pytest.approx(4 / (11 / 4))
    # 105 101 102, 105 101 102 103, none, 105 101 98 101
    used = {int(token): int(measured.token_use[token]) for token in np.flatnonzero(measured.token_use)}
    assert used == {98: 1, 101: 4, 102: 2, 103: 1, 105: 3}
    assert measured.vocab_used == 5


def test_counts_and_the_bound(measured):
    assert (measured.chunks, measured.episodes) == (4, 3)
    assert (measured.atol, measured.passed) == (0.03, False)
    assert measured.within_atol == 0.75  # The second chunk is at the bound but for the last bits of a double.


def test_the_worst_chunk_is_shown_in_native_units(measured):
    worst = measured.worst
    assert (worst.episode, worst.start, worst.tokens) == (8, 6, 4)
    np.testing.assert_allclose(worst.original, HALF.unnormalize(NORMALIZED[3]))
    np.testing.assert_allclose(worst.decoded, HALF.unnormalize(np.array([[0.5, 0.1], [-0.2, 0.1]])))


def test_the_median_chunk_is_one_of_the_middle(measured):
    errors = sorted([0, 0.03, 0, 0.04])
    assert errors[1] <= measured.median.max_abs_error + 1e-9 <= errors[2] + 1e-6


def test_energy_is_the_mean_square_coefficient(measured):
    # The orthonormal DCT of two values is their sum and their difference, over the square root of 2.
    first, second = NORMALIZED[:, 0], NORMALIZED[:, 1]
    np.testing.assert_allclose(measured.energy[0], np.mean((first + second) ** 2 / 2, axis=0))
    np.testing.assert_allclose(measured.energy[1], np.mean((first - second) ** 2 / 2, axis=0))


def test_a_bound_is_met_to_the_last_bits():
    chunks = chunks_of(HALF.unnormalize(np.full((1, 2, 2), 0.53)))
    assert roundtrip(Tenths(HALF), [chunks], atol=0.03 * ATOL_SLACK).passed
    assert not roundtrip(Tenths(HALF), [chunks], atol=0.0299).passed
    without = roundtrip(Tenths(HALF), [chunks])
    assert (without.passed, without.within_atol, without.atol) == (None, None, None)
    assert [dim.name for dim in without.per_dim] == ["dim 0", "dim 1"]


@pytest.mark.parametrize("spread", [1.0, 1e-6])
def test_p99_is_right_to_a_third_of_a_percent(spread):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2000, 2, 2)) * spread
    normalizer = Normalizer("none", NormStats(np.zeros(2), np.ones(2), None, None))
    tokenizer = Tenths(normalizer)
    measured = roundtrip(tokenizer, [chunks_of(values)])
    error = np.abs(values - tokenizer.decode(tokenizer.encode(values)))
    exact = np.percentile(error, 99, method="inverted_cdf")
    assert exact <= measured.p99_abs_error <= exact * 1.003
    for dim in range(2):
        exact = np.percentile(error[..., dim], 99, method="inverted_cdf")
        assert exact <= measured.per_dim[dim].p99_abs_error <= exact * 1.003
    assert measured.error_histogram.sum() == error.size


def test_batches_and_one_batch_measure_the_same():
    rng = np.random.default_rng(1)
    values = rng.uniform(-1, 1, size=(100, 2, 2))
    whole = roundtrip(Tenths(HALF), [chunks_of(values)], atol=0.02)
    parts = [
        chunks_of(values[part], start=np.arange(100)[part]) for part in (slice(0, 7), slice(7, 60), slice(60, 100))
    ]
    pieces = roundtrip(Tenths(HALF), iter(parts), atol=0.02)
    for name in ("chunks", "max_abs_error", "tokens_mean", "tokens_p99", "within_atol", "vocab_used", "p99_abs_error"):
        assert getattr(pieces, name) == getattr(whole, name), name
    assert pieces.rmse == pytest.approx(whole.rmse)
    assert (pieces.worst.start, pieces.worst.max_abs_error) == (whole.worst.start, whole.worst.max_abs_error)


def test_what_clipping_loses_counts_as_error():
    values = np.zeros((4, 2, 2))
    values[1, 0, 1] = 3.0  # Normalised 3 in dimension 1, clipped to 1.
    native = HALF.unnormalize(values)
    clipped = Normalizer("quantile", HALF.stats, clip=True)
    kept, lost = (roundtrip(Tenths(normalizer), [chunks_of(native)]) for normalizer in (HALF, clipped))
    assert kept.max_abs_error == pytest.approx(0, abs=1e-9)
    assert lost.max_abs_error == pytest.approx(2)
    assert lost.per_dim[1].max_abs_error_native == pytest.approx(10)
    assert kept.outside == lost.outside == 1 / 16
    assert (lost.per_dim[0].outside, lost.per_dim[1].outside) == (0, 1 / 8)


def test_nothing_to_measure_is_an_error():
    with pytest.raises(UsageError, match="no chunk"):
        roundtrip(Tenths(HALF), [])
    with pytest.raises(UsageError, match="no normaliser"):
        roundtrip(Tenths(None), [chunks_of(np.zeros((1, 2, 2)))])


def test_it_agrees_with_encoding_and_decoding_by_hand(walks):
    tokenizer = FastTokenizer.fit(walks, vocab_size=128, bins=30)
    measured = roundtrip(tokenizer, [chunks_of(walks)], atol=0.1)
    tokens = tokenizer.encode(walks)
    error = np.abs(tokenizer.decode(tokens) - walks) / tokenizer.normalizer.scale
    assert measured.max_abs_error == error.max()
    assert measured.rmse == pytest.approx(np.sqrt(np.square(error).mean()))
    assert measured.tokens_mean == np.mean([len(row) for row in tokens])
    assert measured.within_atol == np.mean(error.max(axis=(1, 2)) <= 0.1)
