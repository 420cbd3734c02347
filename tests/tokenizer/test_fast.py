"""The tokenizer as its users meet it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastki import FastTokenizer, Normalizer
from fastki.errors import DecodeError, TokenizerError, UsageError

PROPERTY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(scope="module")
def tokenizer():
    rng = np.random.default_rng(0)
    chunks = np.cumsum(rng.normal(size=(400, 16, 4)), axis=1) * np.array([1.0, 50.0, 0.01, 3.0])
    return FastTokenizer.fit(chunks, vocab_size=512, bins=40)


def test_native_units_in_and_out(walks, max_error):
    units = np.array([1.0, 1000.0, 1e-3, 5.0])
    fitted = FastTokenizer.fit(walks * units, vocab_size=256, scale=50)
    decoded = fitted.decode(fitted.encode(walks * units))
    error = np.abs(decoded - walks * units) / fitted.normalizer.scale
    assert error.max() == pytest.approx(max_error(fitted.normalizer.normalize(walks * units), 50), rel=1e-6)


def test_the_normalised_pair_lies_beneath(tokenizer, walks):
    normalized = tokenizer.normalizer.normalize(walks)
    ids = tokenizer.encode(walks)
    assert [row.tolist() for row in ids] == [row.tolist() for row in tokenizer.encode_normalized(normalized)]
    np.testing.assert_array_equal(
        tokenizer.decode(ids), tokenizer.normalizer.unnormalize(tokenizer.decode_normalized(ids))
    )


def test_one_chunk_many_chunks_and_threads_agree(tokenizer, walks):
    many = np.concatenate([walks] * 30)
    ids = tokenizer.encode_normalized(many)
    alone = [tokenizer.encode_normalized(chunk)[0] for chunk in walks]
    assert [row.tolist() for row in ids[: len(walks)]] == [row.tolist() for row in alone]
    assert [row.tolist() for row in ids[-len(walks) :]] == [row.tolist() for row in alone]
    assert all(row.dtype == np.int32 for row in ids)
    assert tokenizer.encode_normalized(walks[:0]) == []
    assert tokenizer.decode_normalized([]).shape == (0, 16, 4)


def test_fitting_is_deterministic(walks):
    first, second = (FastTokenizer.fit(walks, vocab_size=300, bins=30) for _ in range(2))
    np.testing.assert_array_equal(first.bpe.merges, second.bpe.merges)
    assert first.codec == second.codec


@pytest.mark.parametrize("vocab_size", [64, 100, 1024, 5000])
@pytest.mark.parametrize("bins", [4, 256, 4096])
def test_any_vocabulary_from_64_works_at_any_precision(walks, vocab_size, bins):
    fitted = FastTokenizer.fit(walks, vocab_size=vocab_size, bins=bins)
    assert fitted.vocab_size <= vocab_size
    ids = fitted.encode(walks * 20)  # far outside the fitted range
    assert max(row.max(initial=0) for row in ids) < fitted.vocab_size
    coefficients = fitted.codec.quantize(fitted.normalizer.normalize(walks * 20))[0]
    back = fitted.codec.quantize(fitted.decode_normalized(ids))[0]
    np.testing.assert_array_equal(back, coefficients)


def test_a_larger_vocabulary_takes_no_more_tokens(walks):
    lengths = [sum(map(len, FastTokenizer.fit(walks, vocab_size=v, bins=40).encode(walks))) for v in (64, 256, 1024)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1]


def test_atol_holds_on_every_fitted_value(walks):
    fitted = FastTokenizer.fit(walks, vocab_size=256, atol=0.02)
    error = fitted.decode_normalized(fitted.encode(walks)) - fitted.normalizer.normalize(walks)
    assert np.abs(error).max() <= 0.02
    assert FastTokenizer.fit(walks, vocab_size=256).codec.atol == 0.01


@given(data=st.lists(st.lists(st.integers(0, 511), max_size=200), max_size=4))
@PROPERTY
def test_any_valid_ids_of_any_length_decode(tokenizer, data):
    ids = [[i % tokenizer.vocab_size for i in row] for row in data]
    decoded = tokenizer.decode_report(ids)
    assert decoded.actions.shape == (len(ids), 16, 4)
    assert np.isfinite(decoded.actions).all()
    assert decoded.repairs.total.shape == (len(ids),)


@given(seed=st.integers(0, 2**32 - 1), magnitude=st.sampled_from([1e-3, 1.0, 1e3, 1e6]))
@PROPERTY
def test_any_input_comes_back_within_the_quantisation_error(tokenizer, seed, magnitude):
    chunks = np.random.default_rng(seed).normal(size=(3, 16, 4)) * magnitude
    decoded = tokenizer.decode_normalized(tokenizer.encode_normalized(chunks), strict=True)
    assert np.abs(decoded - chunks).max() <= np.sqrt(16) / tokenizer.codec.bins + 1e-9 * magnitude


def test_repairs_are_reported_and_strict_refuses(tokenizer, walks):
    ids = tokenizer.encode(walks[:2])
    broken = [np.concatenate([ids[0]] * 40), ids[1]]
    report = tokenizer.decode_report(broken)
    assert report.repairs.extra[0] > 0
    assert report.repairs.total[1] == 0
    with pytest.raises(DecodeError, match=r"chunk 0 are malformed .*extra symbols cut"):
        tokenizer.decode(broken, strict=True)


def test_an_unknown_id_is_an_error_or_skipped(tokenizer, walks):
    ids = tokenizer.encode(walks[:2])
    bad = [ids[0], np.insert(ids[1], 1, tokenizer.vocab_size)]
    with pytest.raises(TokenizerError, match="token 1 of chunk 1 is id"):
        tokenizer.decode(bad)
    skipped = tokenizer.decode_report(bad, on_unknown="skip")
    np.testing.assert_array_equal(skipped.actions, tokenizer.decode(ids))
    assert skipped.repairs.unknown.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda t: t.encode(np.zeros((2, 15, 4))), r"fitted for \[N, 16, 4\]"),
        (lambda t: t.encode(np.zeros(4)), "not of shape"),
        (lambda t: t.decode([1, 2, 3]), "list of integer sequences"),
        (lambda t: t.decode([[0.5]]), "list of integer sequences"),
    ],
)
def test_wrong_shapes_are_named(tokenizer, call, match):
    with pytest.raises(UsageError, match=match):
        call(tokenizer)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"vocab_size": 63}, r"\[64, "),
        ({"bins": 3}, "bins must be at least 4"),
        ({"bins": 20, "scale": 10}, "give one of them"),
        ({"scale": -1}, "scale must be a positive"),
        ({"atol": 0}, "atol must be"),
    ],
)
def test_fit_refuses_what_makes_no_sense(walks, options, match):
    with pytest.raises(UsageError, match=match):
        FastTokenizer.fit(walks, **options)


def test_fit_names_a_nan_and_refuses_no_chunks(walks):
    holed = walks.copy()
    holed[7, 3, 2] = np.nan
    with pytest.raises(TokenizerError, match="chunk 7, step 3, dimension 2"):
        FastTokenizer.fit(holed, normalizer=Normalizer.fit(walks.reshape(-1, 4)))
    with pytest.raises(UsageError, match="no chunk"):
        FastTokenizer.fit(walks[:0])


def test_chunks_without_motion_fit(walks):
    fitted = FastTokenizer.fit(np.full((50, 16, 3), 2.5), vocab_size=64)
    np.testing.assert_allclose(fitted.decode(fitted.encode(np.full((1, 16, 3), 2.5))), 2.5, atol=0.01)
