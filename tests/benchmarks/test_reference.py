"""The benchmarks' reference is the public algorithm: its ids, its decode, its merges."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("transformers")

from benchmarks.reference import RangeError, ReferenceFast
from fastki.data import ChunkSpec, gather_chunks, open_dataset

STRIDES = {16: 5, 50: 11}


@pytest.fixture(
    scope="module",
    params=["h16_d8_scale10_vocab1024", "h16_d8_scale40_vocab1024", "h50_d26_scale10_vocab2048"],
)
def folder(request, shared):
    return shared / "golden" / "fast" / request.param


@pytest.fixture(scope="module")
def fitted(folder, shared) -> ReferenceFast:
    """A fit on the chunks that the golden tokenizer was fitted on."""
    config = json.loads((folder / "processor_config.json").read_text())
    horizon, dims = config["time_horizon"], config["action_dim"]
    dataset = open_dataset(str(shared / "data" / "g1_pick_bottle"))
    quantiles = np.load(folder.parent / "g1_quantiles.npz")
    low, high = quantiles["q01"][:dims], quantiles["q99"][:dims]
    spec = ChunkSpec(horizon=horizon, dims=tuple(range(dims)))
    windows = gather_chunks(dataset, spec, episodes=range(60)).chunks.actions[:: STRIDES[horizon]]
    chunks = np.clip(2 * (windows - low) / (high - low) - 1, -1, 1).astype(np.float32)
    return ReferenceFast.fit(chunks, scale=config["scale"], vocab_size=config["vocab_size"])


def test_golden_ids_and_decode(folder):
    vectors = np.load(folder / "vectors.npz")
    expected = np.split(vectors["token_ids"], np.cumsum(vectors["token_lens"])[:-1])
    reference = ReferenceFast.load(folder)
    ids = reference.encode(vectors["chunks"])
    assert ids == [row.tolist() for row in expected]
    np.testing.assert_allclose(reference.decode(ids), vectors["decoded"], atol=1e-9, rtol=0)


def test_fit_learns_the_golden_merges(folder, fitted):
    golden = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    assert fitted.min_token == json.loads((folder / "processor_config.json").read_text())["min_token"]
    assert fitted.model["vocab"] == golden["vocab"]
    assert fitted.model["merges"] == golden["merges"]


def test_a_prefix_is_a_fit_with_a_smaller_vocabulary(walks):
    whole = ReferenceFast.fit(walks, scale=10, vocab_size=1024)
    for vocab_size in (128, 400, 512):
        small = ReferenceFast.fit(walks, scale=10, vocab_size=vocab_size)
        assert whole.prefix(vocab_size).model == small.model
        assert whole.prefix(vocab_size).encode(walks[:50]) == small.encode(walks[:50])


def test_a_range_beyond_the_vocabulary_is_refused(walks):
    with pytest.raises(RangeError, match="exceed a vocabulary of 64"):
        ReferenceFast.fit(walks, scale=40, vocab_size=64)
    with pytest.raises(RangeError, match="exceed a vocabulary of 64"):
        ReferenceFast.fit(walks, scale=40, vocab_size=1024).prefix(64)


def test_a_text_of_the_wrong_length_is_zeros(walks):
    reference = ReferenceFast.fit(walks, scale=10, vocab_size=256)
    ids = reference.encode(walks[:1])[0]
    assert np.abs(reference.decode([ids])).max() > 0
    assert not reference.decode([ids[:-1], []]).any()
