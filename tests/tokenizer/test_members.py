"""Tokenizers of mixtures: shares, a normaliser for each dataset, and folders that keep both."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastki.data import ChunkSpec, fit_normalizer, load_norm_stats, open_dataset, split_episodes
from fastki.errors import UsageError
from fastki.tokenizer import (
    FitOptions,
    FitSettings,
    RoundTripOptions,
    fit_on_dataset,
    fit_on_mixture,
    load_tokenizer,
    parts_of,
    roundtrip_on_dataset,
)

OPTIONS = FitOptions(FitSettings(vocab_size=256, atol=0.02), horizon=8, holdout=0.2)


@pytest.fixture
def mixture(tmp_path):
    """Two recordings in units 1,000 times apart, 3 to 1; the second has too few chunks for its share."""
    rng = np.random.default_rng(0)
    for name, scale, episodes in (("large", 1000.0, 10), ("small", 1.0, 2)):
        actions = np.cumsum(rng.normal(size=(40 * episodes, 2)), axis=0) * scale
        np.savez(tmp_path / f"{name}.npz", actions=actions, episode_ends=np.arange(40, 40 * episodes + 1, 40))
    text = '[[dataset]]\ndata = "large.npz"\nname = "large"\n[[dataset]]\ndata = "small.npz"\nname = "small"\n'
    (tmp_path / "mix.toml").write_text(text)
    return open_dataset(tmp_path / "mix.toml")


@pytest.fixture
def fitted(mixture):
    return fit_on_mixture(mixture, OPTIONS)


def test_chunks_are_drawn_by_share_and_repeated_where_there_are_too_few(fitted):
    large, small = fitted.members
    assert large.drawn == small.drawn == fitted.fitted.chunks // 2
    assert len(large.sample.chunks) == large.drawn
    assert len(small.sample.chunks) == small.sample.total_chunks == 33 < small.drawn


def test_shares_of_one_to_three(mixture, tmp_path):
    path = tmp_path / "mix.toml"
    path.write_text(path.read_text().replace('name = "large"', 'name = "large"\nweight = 3'))
    fitted = fit_on_mixture(open_dataset(path), OPTIONS)
    assert [member.share for member in fitted.members] == [0.75, 0.25]
    large, small = (member.drawn for member in fitted.members)
    assert large == pytest.approx(3 * small, abs=2)


def test_each_dataset_is_normalised_by_its_own_fitted_episodes(mixture, fitted):
    for member, part in zip(fitted.tokenizer.members, mixture.members, strict=True):
        seen, _ = split_episodes(len(part.dataset), holdout=0.2, seed=0)
        own = fit_normalizer(part.dataset, ChunkSpec(horizon=8), episodes=seen)
        np.testing.assert_array_equal(member.normalizer.stats.q01, own.stats.q01)
        np.testing.assert_array_equal(member.normalizer.stats.q99, own.stats.q99)


def test_the_same_motion_in_other_units_gives_the_same_tokens(fitted):
    large, small = (fitted.tokenizer.for_dataset(name) for name in ("large", "small"))
    normalized = np.cumsum(np.random.default_rng(1).normal(size=(5, 8, 2)), axis=1) * 0.1
    tokens = [one.encode(one.normalizer.unnormalize(normalized)) for one in (large, small)]
    for ours, theirs in zip(*tokens, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_dataset_must_be_chosen(fitted):
    with pytest.raises(UsageError, match=r"mixture.*for_dataset.*large, small"):
        fitted.tokenizer.encode(np.zeros((1, 8, 2)))
    with pytest.raises(UsageError, match=r"not fitted on a dataset 'medium'; its mixture has large, small"):
        fitted.tokenizer.for_dataset("medium")
    with pytest.raises(UsageError, match="fitted on one dataset"):
        fitted.tokenizer.for_dataset("small").for_dataset("small")


def test_a_mixture_keeps_the_bound_in_each_dataset(fitted):
    for part in parts_of(fitted.tokenizer, None):
        measured = roundtrip_on_dataset(part.tokenizer, part.dataset, RoundTripOptions(atol=0.02))
        assert (measured.result.passed, measured.part) == (True, "heldout")


def test_it_is_saved_with_every_datasets_statistics(fitted, tmp_path):
    folder = fitted.tokenizer.save(tmp_path / "tokenizer")
    loaded = load_tokenizer(folder)
    chunks = np.random.default_rng(2).normal(size=(3, 8, 2))
    for member in fitted.tokenizer.members:
        stats = load_norm_stats(folder / "assets" / member.name)["actions"]
        np.testing.assert_array_equal(stats.q99, member.normalizer.stats.q99)
        ours, theirs = (one.for_dataset(member.name).encode(chunks) for one in (fitted.tokenizer, loaded))
        assert [row.tolist() for row in ours] == [row.tolist() for row in theirs]
    assert [member.source for member in loaded.members] == [member.source for member in fitted.tokenizer.members]
    assert "for_dataset" in (folder / "README.md").read_text()
    assert not (folder / "norm_stats.json").exists()


def test_a_name_that_leads_out_of_the_folder_is_refused(fitted, tmp_path):
    from fastki.errors import TokenizerError

    folder = fitted.tokenizer.save(tmp_path / "tokenizer")
    document = json.loads((folder / "fastki.json").read_text())
    document["members"][0]["name"] = "../outside"
    (folder / "fastki.json").write_text(json.dumps(document))
    with pytest.raises(TokenizerError, match="leads out"):
        load_tokenizer(folder)


def test_parts_of_a_measurement(mixture, fitted, tmp_path):
    parts = parts_of(fitted.tokenizer, mixture)
    assert [part.name for part in parts] == ["large", "small"]
    assert all(part.tokenizer.normalizer is not None for part in parts)
    (known,) = parts_of(fitted.tokenizer, open_dataset(tmp_path / "small.npz"))
    assert known.tokenizer.source.fingerprint == known.dataset.info.fingerprint
    np.savez(tmp_path / "other.npz", actions=np.cumsum(np.ones((90, 2)), axis=0), episode_ends=[40, 90])
    (other,) = parts_of(fitted.tokenizer, open_dataset(tmp_path / "other.npz"))
    assert other.tokenizer.normalizer is None
    measured = roundtrip_on_dataset(other.tokenizer, other.dataset, RoundTripOptions(atol=0.02, horizon=8))
    assert measured.tokenizer.normalizer is not None
    assert measured.result.passed


def test_what_a_mixture_says_itself_is_no_option(mixture):
    with pytest.raises(UsageError, match="ambiguous for a mixture"):
        fit_on_mixture(mixture, FitOptions(dims="0"))
    with pytest.raises(UsageError, match="fit_on_mixture"):
        fit_on_dataset(mixture, OPTIONS)
