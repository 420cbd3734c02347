"""From a dataset to a measured tokenizer, without the command line; what is held out is held out."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from fastki import FastTokenizer, open_dataset
from fastki.data import ChunkSpec, gather_chunks, split_episodes
from fastki.errors import DataError, TokenizerError, UsageError
from fastki.tokenizer import (
    FitOptions,
    FitSettings,
    RoundTripOptions,
    fit_on_dataset,
    open_source,
    roundtrip_on_dataset,
)

LENGTHS = (60, 5, 40, 70, 50, 45, 66, 52)
SETTINGS = FitSettings(vocab_size=128, bins=30)
OPTIONS = FitOptions(SETTINGS, holdout=0.25)
"""Holds out two of the eight episodes below, in this seed none of them short."""


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(7)
    return np.concatenate([np.cumsum(rng.normal(size=(length, 3)), axis=0) for length in LENGTHS])


@pytest.fixture
def write(tmp_path):
    def write(frames, name="data.npz"):
        np.savez(tmp_path / name, actions=frames, state=frames + 0.5, episode_ends=np.cumsum(LENGTHS), fps=10)
        return open_dataset(tmp_path / name)

    return write


@pytest.fixture
def dataset(write, frames):
    return write(frames)


def rows(episodes):
    ends = np.cumsum(LENGTHS)
    return np.concatenate([np.arange(ends[i] - LENGTHS[i], ends[i]) for i in episodes])


def saved(tokenizer, folder):
    folder = tokenizer.save(folder)
    return [(folder / name).read_bytes() for name in ("tokenizer.json", "norm_stats.json")], tokenizer.codec


def test_the_fit_does_not_see_held_out_episodes(write, frames, tmp_path):
    fitted_episodes, heldout_episodes = split_episodes(len(LENGTHS), holdout=0.25, seed=0)
    assert 1 not in heldout_episodes
    changed = frames.copy()
    changed[rows(heldout_episodes)] *= -300
    before, after = (fit_on_dataset(write(data), OPTIONS) for data in (frames, changed))
    assert saved(before.tokenizer, tmp_path / "a") == saved(after.tokenizer, tmp_path / "b")
    assert before.fitted.rmse == after.fitted.rmse
    assert before.heldout.outside < 0.2 < 0.9 < after.heldout.outside
    changed = frames.copy()
    changed[rows(fitted_episodes[:1])] *= 3
    again = fit_on_dataset(write(changed), OPTIONS)
    assert saved(before.tokenizer, tmp_path / "a") != saved(again.tokenizer, tmp_path / "c")


def test_both_sides_are_measured_on_their_own_chunks(dataset):
    fitted = fit_on_dataset(dataset, OPTIONS)
    fit_side, heldout_side = split_episodes(len(LENGTHS), holdout=0.25, seed=0)
    for side, result in ((fit_side, fitted.fitted), (heldout_side, fitted.heldout)):
        chunks = gather_chunks(dataset, ChunkSpec(horizon=16), episodes=side).chunks.actions
        tokens = fitted.tokenizer.encode(chunks)
        assert result.chunks == len(chunks)
        assert result.tokens_mean == np.mean([len(row) for row in tokens])
        error = np.abs(fitted.tokenizer.decode(tokens) - chunks) / fitted.tokenizer.normalizer.scale
        assert result.max_abs_error == error.max()
    assert (fitted.heldout_episodes, fitted.fit_sample.short_episodes) == (2, (1,))


def test_the_same_seed_gives_the_same_tokenizer(dataset, tmp_path):
    options = dataclasses.replace(OPTIONS, max_chunks=50, seed=3)
    first, second = (saved(fit_on_dataset(dataset, options).tokenizer, tmp_path / name) for name in "ab")
    assert first == second


def test_the_source_says_how_to_cut_the_same_chunks_again(dataset):
    seed = next(seed for seed in range(1, 99) if 1 not in split_episodes(len(LENGTHS), holdout=0.25, seed=seed)[1])
    options = dataclasses.replace(OPTIONS, dims="2,0", delta="0", stride=3, horizon=8, max_chunks=60, seed=seed)
    fitted = fit_on_dataset(dataset, options)
    source = fitted.tokenizer.source
    spec = source.spec
    assert (spec.dims, spec.delta, spec.delta_from, spec.stride) == ((2, 0), (0,), "state", 3)
    assert (source.holdout, source.seed, source.fps, source.chunks) == (0.25, seed, 10, 60)
    assert source.total_chunks > 60
    assert source.names == ("action[2]", "action[0]")
    again = open_source(fitted.tokenizer)
    assert again.info.fingerprint == dataset.info.fingerprint
    measured = roundtrip_on_dataset(fitted.tokenizer, again, RoundTripOptions(atol=1))
    assert (measured.part, measured.result.episodes) == ("heldout", 2)
    assert measured.result.tokens_mean == fitted.heldout.tokens_mean


@pytest.mark.parametrize(("split", "episodes", "short"), [("heldout", 2, 0), ("fitted", 5, 1), ("all", 7, 1)])
def test_splits(dataset, split, episodes, short):
    tokenizer = fit_on_dataset(dataset, OPTIONS).tokenizer
    measured = roundtrip_on_dataset(tokenizer, dataset, RoundTripOptions(atol=1, part=split))
    assert (measured.part, measured.result.episodes, measured.short_episodes) == (split, episodes, short)


def test_other_data_are_measured_whole(dataset, write, frames):
    tokenizer = fit_on_dataset(dataset, OPTIONS).tokenizer
    measured = roundtrip_on_dataset(tokenizer, write(frames + 1e-3, "other.npz"), RoundTripOptions(atol=1))
    assert (measured.part, measured.result.episodes) == ("all", 7)


def test_where_nothing_was_held_out_the_split_is_said_to_be_the_fitted_one(dataset):
    fitted = fit_on_dataset(dataset, dataclasses.replace(OPTIONS, holdout=0))
    assert (fitted.heldout, fitted.heldout_episodes) == (None, 0)
    measured = roundtrip_on_dataset(fitted.tokenizer, dataset, RoundTripOptions(atol=1))
    assert (measured.part, measured.result.episodes) == ("fitted", 7)


def test_the_passing_bins_pass(dataset):
    missed = roundtrip_on_dataset(fit_on_dataset(dataset, OPTIONS).tokenizer, dataset, RoundTripOptions(atol=0.02))
    assert (missed.result.passed, missed.passing_bins > 30) == (False, True)
    better = FitOptions(FitSettings(vocab_size=128, bins=missed.passing_bins), holdout=0.25)
    passed = roundtrip_on_dataset(fit_on_dataset(dataset, better).tokenizer, dataset, RoundTripOptions(atol=0.02))
    assert (passed.result.passed, passed.passing_bins) == (True, None)


def test_progress_is_told_and_need_not_be(dataset):
    told = []
    fit_on_dataset(dataset, OPTIONS, progress=lambda *step: told.append(step))
    stages = {stage for stage, _, _ in told}
    assert {"chunks", "merges", "measure"} <= stages
    assert all(0 <= done <= total for _, done, total in told)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizon": 0}, "horizon 0"),
        ({"horizon": 71}, "every episode is shorter"),
        ({"stride": 0}, "stride 0"),
        ({"dims": "3"}, "no dimension 3"),
        ({"delta": "9"}, "no dimension 9"),
        ({"holdout": 1.0}, "holdout"),
        ({"max_chunks": 0}, "at most 0"),
        ({"norm": "none", "clip": True}, "clip"),
    ],
)
def test_options_out_of_range(dataset, change, message):
    with pytest.raises((UsageError, DataError), match=message):
        fit_on_dataset(dataset, dataclasses.replace(OPTIONS, **change))


@pytest.mark.parametrize("atol", [0, -0.1, float("nan")])
def test_a_bound_must_be_positive(atol):
    with pytest.raises(UsageError, match="atol"):
        RoundTripOptions(atol=atol)


def test_data_of_another_width(dataset, tmp_path):
    tokenizer = fit_on_dataset(dataset, OPTIONS).tokenizer
    np.save(tmp_path / "wide.npy", np.random.default_rng(0).normal(size=(50, 5)))
    with pytest.raises(UsageError, match="5 action dimensions"):
        roundtrip_on_dataset(tokenizer, open_dataset(tmp_path / "wide.npy"), RoundTripOptions())


def test_a_tokenizer_without_a_source_asks_for_data(walks):
    with pytest.raises(TokenizerError, match="give DATA"):
        open_source(FastTokenizer.fit(walks, vocab_size=96, bins=20))


def test_the_library_needs_no_command_line(dataset):
    code = (
        "import sys; from fastki import open_dataset;"
        "from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset;"
        f"fitted = fit_on_dataset(open_dataset({dataset.info.uri!r}), FitOptions(FitSettings(bins=30)));"
        "print(fitted.tokenizer.horizon, 'typer' in sys.modules, 'rich' in sys.modules, 'fastki.cli' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("16 False False False\n", "")
