"""Statistics beside the weights that a run begins with: which are meant, compared, taken, and refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("flax")

from fastki import open_dataset
from fastki.data.norm_stats import NormStats, save_norm_stats
from fastki.errors import UsageError
from fastki.tokenizer import FitOptions
from fastki.training.config import TokenizerConfig, TrainConfig
from fastki.training.init_stats import GivenStats, given_stats, init_note

DROID = "synthetic:droid?episodes=2&size=28"


def stats(dims: int = 8, low: float = -1.0, high: float = 1.0) -> NormStats:
    zero = np.zeros(dims)
    return NormStats(zero + (low + high) / 2, zero + (high - low) / 2, zero + low, zero + high)


@pytest.fixture
def weights(tmp_path):
    """What passes for a checkpoint, with statistics of two robots."""
    folder = tmp_path / "base"
    (folder / "params").mkdir(parents=True)
    (folder / "params/_METADATA").write_text("{}")
    save_norm_stats(folder / "assets/droid", {"state": stats(), "actions": stats(32)})
    save_norm_stats(folder / "assets/ur5e", {"actions": stats(7)})
    return folder


@pytest.fixture(scope="module")
def droid():
    return open_dataset(DROID)


def config(init, norm_stats=None, **tokenizer) -> TrainConfig:
    return TrainConfig(init=str(init), tokenizer=TokenizerConfig(norm_stats=norm_stats, **tokenizer))


def test_those_of_the_datas_robot_are_taken_and_of_many_dimensions_the_first(weights, droid):
    given = given_stats(config(weights, "init"), droid)
    assert given.where == str(weights / "assets/droid")
    own = given.normalizer("actions", 8, FitOptions(norm="quantile", clip=True))
    assert (own.action_dim, own.clip, own.method) == (8, True, "quantile")
    assert given.normalizer("state", 8, FitOptions(norm="zscore", clip=False)).method == "quantile"


@pytest.mark.parametrize("name", ["init/ur5e", "{}/assets/ur5e"])
def test_others_can_be_named(weights, droid, name):
    given = given_stats(config(weights, name.format(weights)), droid)
    assert len(given.stats["actions"]) == 7
    with pytest.raises(UsageError, match="has 7 dimensions of actions, and the data have 8"):
        given.normalizer("actions", 8, FitOptions())
    with pytest.raises(UsageError, match="has no statistics of state"):
        given.normalizer("state", 8, FitOptions())


def test_nothing_is_taken_unasked(weights, droid):
    assert given_stats(config(weights), droid) is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("init/none", "give init/droid, init/ur5e"),
        ("nowhere", "nowhere has no norm_stats.json: give its folder, or init"),
    ],
)
def test_an_unclear_word_is_refused(weights, droid, asked, said):
    with pytest.raises(UsageError, match=said):
        given_stats(config(weights, asked), droid)


def test_init_needs_weights_and_no_tokenizer_of_its_own(weights, droid):
    alone = dataclasses.replace(config(weights, "init"), init=None)
    with pytest.raises(UsageError, match="takes those of --init: give --init"):
        given_stats(alone, droid)
    with pytest.raises(UsageError, match="--tokenizer has its own statistics"):
        given_stats(config(weights, "init", path="tok"), droid)


def test_a_dimension_without_width_is_refused_and_not_divided_by():
    narrow = GivenStats("there", {"actions": stats(3, 0.5, 0.5)})
    with pytest.raises(UsageError, match="there: dimension 0 of actions has no width"):
        narrow.normalizer("actions", 3, FitOptions())
    still = NormStats(np.zeros(2), np.array([1.0, 0.0]))
    with pytest.raises(UsageError, match="dimension 1 of actions has no width"):
        GivenStats("there", {"actions": still}).normalizer("actions", 2, FitOptions(norm="zscore"))


def test_the_note_says_where_and_by_how_much(weights, droid):
    same = {"state": stats(), "actions": stats()}
    assert init_note(config(weights), droid, same) is None
    wider = init_note(config(weights), droid, {**same, "actions": stats(high=3.0)})
    assert "droid normalises otherwise than this run (actions by up to 50% of the range, in dimension 0)" in wider
    assert init_note(config(weights, "init"), droid, {**same, "actions": stats(high=3.0)}) is None
    by_std = NormStats(np.zeros(8), np.ones(8), np.full(8, -0.7), np.full(8, 0.9))  # As an export of it may have it.
    assert init_note(config(weights), droid, {"actions": by_std}) is None
    assert init_note(TrainConfig(), droid, same) is None
    assert init_note(config(weights / "x.npz"), droid, same) is None


def test_with_several_and_none_of_the_robot_the_note_names_them(weights, tmp_path):
    path = tmp_path / "arm.npz"
    np.savez(path, actions=np.random.default_rng(0).normal(size=(40, 3)), episode_ends=np.array([40]))
    note = init_note(config(weights), open_dataset(str(path)), {"actions": stats(3)})
    assert note.endswith("has statistics of droid, ur5e, and none for these data")
