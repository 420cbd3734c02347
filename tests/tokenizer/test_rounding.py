"""Other ways to integers than the nearest, and chunks relative to the action before."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fastki import FastTokenizer, open_dataset
from fastki.data import ChunkSpec, gather_chunks
from fastki.errors import UsageError
from fastki.tokenizer import roundtrip
from fastki.tokenizer.rounding import round_for_rate, round_with_dead_zone, zero_shares


def test_dead_zone_by_hand():
    scaled = np.array([0.55, -0.65, 1.4, -1.6, 0.2]).reshape(1, 5, 1)
    assert round_with_dead_zone(scaled, 0.1).ravel().tolist() == [0, -1, 1, -2, 0]
    assert round_with_dead_zone(scaled, 0.0).ravel().tolist() == [1, -1, 1, -2, 0]


def test_zero_shares_stay_inside_the_open_interval():
    shares = zero_shares(np.array([[[1, 2], [0, 0]], [[3, 4], [0, 5]]]))
    assert shares == (1 / 6, 4 / 6)


@pytest.mark.parametrize("order", ["freq", "dim"])
@pytest.mark.parametrize("price", [0.01, 0.1, 0.5])
def test_rounding_for_rate_is_the_best_of_all_choices(order, price):
    """Against every combination of floor, ceiling and zero, and every end, of small chunks."""
    rng = np.random.default_rng(0)
    zero = (0.3, 0.6, 0.8)
    for scaled in rng.normal(size=(10, 1, 3, 2)) * 1.5:
        got = round_for_rate(scaled, price, zero, order)
        assert price_of(got, scaled, price, zero, order) == pytest.approx(
            min(
                price_of(np.array(values).reshape(scaled.shape), scaled, price, zero, order)
                for values in itertools.product(*[(np.floor(c), np.ceil(c), 0.0) for c in scaled.ravel()])
            )
        )


def price_of(values, scaled, price, zero, order):
    """Squared error and price of the bits of one chunk's values [1, H, A], ending after the last that is not zero."""
    bits = 0.0
    streams = [values[0].ravel()] if order == "freq" else list(values[0].T)
    shares = [np.repeat(zero, 2)] if order == "freq" else [np.array(zero)] * 2
    for stream, share in zip(streams, shares, strict=True):
        end = np.flatnonzero(stream)[-1] + 1 if stream.any() else 0
        for value, p in zip(stream[:end], share[:end], strict=True):
            bits += -np.log2(p) if value == 0 else -np.log2(1 - p) + 2 + 2 * np.log2(abs(value))
    return np.square(scaled - values).sum() + price * bits


def test_a_higher_price_buys_shorter_streams_for_more_error(walks):
    fits = [FastTokenizer.fit(walks, vocab_size=256, bins=60, rdo=price) for price in (0.0, 0.1, 1.0)]
    lengths = [sum(len(row) for row in fitted.encode(walks)) for fitted in fits]
    errors = [np.square(fitted.decode(fitted.encode(walks)) - walks).mean() for fitted in fits]
    assert lengths == sorted(lengths, reverse=True)
    assert errors == sorted(errors)
    assert lengths[2] < 0.8 * lengths[0]


@pytest.fixture(scope="module")
def sample():
    return gather_chunks(open_dataset("synthetic:droid?episodes=6"), ChunkSpec(horizon=12)).chunks


def test_chunks_relative_to_the_action_before_come_back_exactly_as_absolute_ones_do(sample):
    fitted = FastTokenizer.fit(sample, vocab_size=512, atol=0.01, reference="previous")
    tokens = fitted.encode(sample.actions, previous=sample.previous)
    decoded = fitted.decode(tokens, previous=sample.previous)
    assert (np.abs(decoded - sample.actions) / fitted.normalizer.scale).max() <= 0.01 * (1 + 1e-9)
    moved = fitted.decode(tokens, previous=sample.previous + 1.0)
    np.testing.assert_allclose(moved, decoded + 1.0, atol=1e-9)
    absolute = FastTokenizer.fit(sample, vocab_size=512, atol=0.01)
    assert roundtrip(fitted, [sample]).tokens_mean < roundtrip(absolute, [sample]).tokens_mean


def test_a_missing_or_misshapen_reference_is_named(sample):
    with pytest.raises(UsageError, match="fit on Chunks"):
        FastTokenizer.fit(sample.actions, reference="previous")
    fitted = FastTokenizer.fit(sample, vocab_size=128, bins=20, reference="previous")
    with pytest.raises(UsageError, match="give previous="):
        fitted.encode(sample.actions[:2])
    with pytest.raises(UsageError, match=r"previous must be finite actions \[2, 8\]"):
        fitted.encode(sample.actions[:2], previous=sample.previous[:3])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"deadzone": 0.1}, "--atol and --deadzone"),
        ({"rdo": 0.1, "deadzone": 0.1, "bins": 20}, "--deadzone and --rdo"),
        ({"rdo": -1, "bins": 20}, "--rdo must be 0 or more"),
        ({"deadzone": 0.6, "bins": 20}, r"--deadzone must lie in \[0, 0\.5\]"),
        ({"reference": "next"}, "use none or previous"),
        ({"order": "time"}, "use freq or dim"),
    ],
)
def test_contradictions_are_refused(walks, options, match):
    with pytest.raises(UsageError, match=match):
        FastTokenizer.fit(walks, **options)
