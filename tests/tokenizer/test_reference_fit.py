"""The reference algorithm, fitted in the library: the golden merges, and prefixes that are fits of their own."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastki.data import ChunkSpec, gather_chunks, open_dataset
from fastki.errors import TokenizerError
from fastki.tokenizer.dct import dct
from fastki.tokenizer.reference import RangeError, coefficient_range, fit_reference


def model(tokenizer) -> dict:
    return json.loads(tokenizer.bpe.to_str())["model"]


def test_it_learns_the_golden_merges(shared):
    folder = shared / "golden" / "fast" / "h16_d8_scale10_vocab1024"
    dataset = open_dataset(str(shared / "data" / "g1_pick_bottle"))
    quantiles = np.load(folder.parent / "g1_quantiles.npz")
    low, high = quantiles["q01"][:8], quantiles["q99"][:8]
    spec = ChunkSpec(horizon=16, dims=tuple(range(8)))
    windows = gather_chunks(dataset, spec, episodes=range(60)).chunks.actions[::5]
    chunks = np.clip(2 * (windows - low) / (high - low) - 1, -1, 1).astype(np.float32).astype(np.float64)
    fitted = fit_reference(chunks, scale=10, vocab_size=1024).tokenizer
    golden = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    assert model(fitted)["merges"] == golden["merges"]
    assert model(fitted)["vocab"] == golden["vocab"]


def test_a_prefix_is_a_fit_with_a_smaller_vocabulary(walks):
    whole = fit_reference(walks, scale=10, vocab_size=1024)
    for vocab_size in (128, 400):
        small = fit_reference(walks, scale=10, vocab_size=vocab_size).tokenizer
        assert model(whole.prefix(vocab_size)) == model(small)
        assert whole.prefix(vocab_size).vocab_size == vocab_size


def test_it_decodes_what_it_encodes(walks):
    tokenizer = fit_reference(walks, scale=20, vocab_size=512).tokenizer
    decoded = tokenizer.decode_normalized(tokenizer.encode_normalized(walks))
    assert np.abs(dct(decoded) - dct(walks)).max() <= 0.5 / 20 * (1 + 1e-9)


def test_a_transform_that_is_there_already_changes_nothing(walks):
    plain, given = (
        fit_reference(walks, scale=10, vocab_size=256, transformed=transformed).tokenizer
        for transformed in (None, dct(walks))
    )
    assert model(plain) == model(given)


def test_a_range_beyond_the_vocabulary_fails(walks):
    low, high = coefficient_range(dct(walks), 40)
    with pytest.raises(RangeError, match=rf"coefficients in \[{low}, {high}\] exceed a vocabulary of 64") as caught:
        fit_reference(walks, scale=40, vocab_size=64)
    assert isinstance(caught.value, TokenizerError)
    with pytest.raises(RangeError, match="exceed a vocabulary of 64"):
        fit_reference(walks, scale=40, vocab_size=1024).prefix(64)
