"""Damaged tokens: the damage done is what it says, and what comes back is measured."""

from __future__ import annotations

import numpy as np
import pytest

from fastki import FastTokenizer, open_dataset
from fastki.data import ChunkSpec, gather_chunks
from fastki.errors import UsageError
from fastki.tokenizer import FitOptions, FitSettings, RoundTripOptions, corruption_on_dataset, fit_on_dataset, roundtrip
from fastki.tokenizer.corruption import corrupt, corruption_study


def test_each_damage_does_what_it_says():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 50, size=10_000).astype(np.int32)
    substituted = corrupt(tokens, "substitution", 0.1, 50, rng)
    assert len(substituted) == len(tokens)
    assert 0.07 < (substituted != tokens).mean() < 0.12
    assert set(np.unique(substituted)) <= set(range(50))
    assert 8_800 < len(corrupt(tokens, "deletion", 0.1, 50, rng)) < 9_200
    np.testing.assert_array_equal(corrupt(tokens, "truncation", 0.25, 50, rng), tokens[:7_500])
    for damage in ("substitution", "deletion", "truncation"):
        np.testing.assert_array_equal(corrupt(tokens, damage, 0.0, 50, rng), tokens)


@pytest.fixture(scope="module")
def sample():
    return gather_chunks(open_dataset("synthetic:droid?episodes=6"), ChunkSpec(horizon=16)).chunks


def test_undamaged_tokens_give_the_round_trip_and_more_damage_more_error(sample):
    fitted = FastTokenizer.fit(sample, vocab_size=256, bins=40)
    rows = corruption_study({"ours": fitted}, sample, [0.0, 0.02, 0.5])
    assert len(rows) == 9
    for damage in ("substitution", "deletion", "truncation"):
        errors = [row.rmse for row in rows if row.damage == damage]
        assert errors[0] == pytest.approx(roundtrip(fitted, [sample]).rmse)
        assert errors[0] < errors[1] < errors[2]
    assert all(row.lost == 0 and row.repaired == 0 for row in rows if row.rate == 0)
    assert rows == corruption_study({"ours": fitted}, sample, [0.0, 0.02, 0.5])


def test_a_cut_end_costs_frequency_order_less(sample):
    orders = {order: FastTokenizer.fit(sample, vocab_size=256, bins=40, order=order) for order in ("freq", "dim")}
    cut = {row.label: row.rmse for row in corruption_study(orders, sample, [0.3]) if row.damage == "truncation"}
    assert cut["freq"] < 0.5 * cut["dim"]


def test_the_reference_answers_zeros_where_ours_degrades(sample, shared):
    published = FastTokenizer.load(shared / "golden" / "fast" / "h16_d8_scale10_vocab1024")
    ours = FastTokenizer.fit(sample, vocab_size=1024, scale=10)
    compared = {"ours": ours, "reference": published.with_normalizer(ours.normalizer)}
    lost = {row.label: row.lost for row in corruption_study(compared, sample, [0.1]) if row.damage == "deletion"}
    assert lost["reference"] > 0.5
    assert lost["ours"] < 0.5 * lost["reference"]


def test_on_a_dataset_the_other_order_is_fitted_alike():
    dataset = open_dataset("synthetic:droid?episodes=8")
    fitted = fit_on_dataset(dataset, FitOptions(FitSettings(vocab_size=200, bins=30))).tokenizer
    rows = corruption_on_dataset(fitted, dataset, RoundTripOptions(), [0.0, 0.05])
    assert {row.label for row in rows} == {"frequency-major", "dimension-major"}
    undamaged = [row.rmse for row in rows if row.rate == 0]
    assert max(undamaged) == pytest.approx(min(undamaged))


def test_a_rate_out_of_range_is_refused(sample):
    with pytest.raises(UsageError, match="--corrupt"):
        corruption_study({}, sample, [1.5])
