"""Errors, floors and ablations, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from dummy_run import with_card

from fastki.data import Normalizer, NormStats
from fastki.evaluation.ablation import AblationRow, ablation_row, ablation_words, blind_to, dealt, donors
from fastki.evaluation.acting import Frame
from fastki.evaluation.errors import FrameErrors, Measured
from fastki.evaluation.floors import HOLD, MEAN, ROUND_TRIP, floors
from fastki.evaluation.frames import Recorded
from fastki.sequence.layout import PRESETS
from fastki.tokenizer import FitSettings
from fastki.tokenizer.fit import fit_tokenizer

ERRORS = np.array([[[1.0, -2.0], [3.0, 0.0], [-1.0, 2.0]], [[0.0, 0.0], [0.0, 6.0], [0.0, 0.0]]])


def test_errors_of_frames_by_hand():
    found = FrameErrors.of(ERRORS)
    np.testing.assert_allclose(found.by_dim, [[5 / 3, 4 / 3], [0, 2]])
    np.testing.assert_allclose(found.by_step, [[1.5, 1.5, 1.5], [0, 3, 0]])
    np.testing.assert_allclose(found.square, [19 / 6, 6])
    np.testing.assert_allclose(found.mae, [1.5, 1])


def test_a_row_is_the_mean_over_frames_in_both_units():
    row = Measured(np.array([4, 9]), np.array([10.0, 0.1]), 2.5, 0).row("flow", FrameErrors.of(ERRORS))
    assert (row.mae, row.of_mean, row.interval, row.native_intervals) == (1.25, 0.5, None, None)
    assert row.rmse == pytest.approx(np.sqrt(np.square(ERRORS).mean()))
    np.testing.assert_allclose(row.mae_native, [10 * 5 / 6, 0.1 * 5 / 3])
    np.testing.assert_allclose(row.by_step, [0.75, 2.25, 0.75])
    assert (row.tokens, row.malformed) == (None, None)


def test_three_episodes_have_intervals_around_the_mean():
    rng = np.random.default_rng(0)
    errors, episode = rng.normal(size=(60, 4, 2)), np.repeat([1, 2, 3], 20)
    row = Measured(episode, np.array([1.0, 5.0]), 1.0, 0).row("flow", FrameErrors.of(errors))
    assert row.interval[0] < row.mae < row.interval[1]
    assert (row.native_intervals[:, 0] < row.mae_native).all()
    assert (row.mae_native < row.native_intervals[:, 1]).all()


def made(actions, *, previous, reference=None, states=None):
    """Frames of one episode each."""
    count, _, dims = actions.shape
    reference = np.zeros((count, dims)) if reference is None else reference
    frames = tuple(
        Frame({"base": np.full((2, 2, 3), row)}, np.array([float(row)]), f"prompt {row % 2}", previous[row])
        for row in range(count)
    )
    return Recorded(frames, actions, reference, np.arange(count), np.zeros(count, np.int64))


@pytest.fixture(scope="module")
def tokenizer():
    """Of a plain map: mean 1 and 2, deviations 2 and 4."""
    rng = np.random.default_rng(0)
    normalizer = Normalizer("zscore", NormStats(np.array([1.0, 2.0]), np.array([2.0, 4.0]), None, None))
    chunks = normalizer.unnormalize(np.cumsum(rng.normal(size=(200, 6, 2)), axis=1) * 0.2)
    return fit_tokenizer(chunks, FitSettings(vocab_size=256, bins=40), normalizer=normalizer)


def test_floors_by_hand(tokenizer):
    actions = np.array([[[3.0, 6.0]] * 3 + [[-1.0, -2.0]] * 3])
    found = floors(tokenizer, made(actions, previous=np.array([[5.0, 2.0]])))
    assert not found[MEAN].any()
    np.testing.assert_allclose(found[HOLD], np.broadcast_to([2.0, 0.0], (1, 6, 2)), atol=1e-5)
    true = tokenizer.normalizer.normalize(actions)
    assert 0 < np.abs(found[ROUND_TRIP] - true).max() < np.sqrt(6) / 40
    assert found[MEAN].shape == found[HOLD].shape == found[ROUND_TRIP].shape == (1, 6, 2)


def test_the_action_held_is_relative_where_the_policy_acts_in_differences(tokenizer):
    actions, reference = np.zeros((1, 6, 2)), np.array([[4.0, 0.0]])
    found = floors(tokenizer, made(actions, previous=np.array([[5.0, 2.0]]), reference=reference))
    np.testing.assert_allclose(found[HOLD][0, 0], [0.0, 0.0], atol=1e-5)  # 5 − 4 is the mean, 1.


def test_donors_have_another_key_and_none_are_found_where_all_are_one():
    keys = np.array([1, 1, 2, 3, 3, 3])
    for seed in range(20):
        assert (keys[donors(keys, np.random.default_rng(seed))] != keys).all()
    assert donors(np.array([5, 5, 5]), np.random.default_rng(0)) is None


@pytest.mark.parametrize("what", ["images", "prompt", "state"])
def test_one_thing_is_another_frames_and_the_rest_stays(what):
    batch = made(np.zeros((6, 6, 2)), previous=np.zeros((6, 2)))
    mixed = dealt(batch, what, np.random.default_rng(0))
    for frame, other in zip(batch.frames, mixed, strict=True):
        for name in ("images", "prompt", "state", "previous"):
            same = getattr(frame, name) is getattr(other, name)
            assert same == (name != what)
        donor = next(one for one in batch.frames if getattr(one, what) is getattr(other, what))
        assert donor is not frame
        assert what != "prompt" or donor.prompt != frame.prompt


def test_frames_of_one_episode_are_dealt_each_others_pictures_but_one_prompt_stays():
    batch = made(np.zeros((4, 6, 2)), previous=np.zeros((4, 2)))
    one = Recorded(batch.frames[::2], batch.actions[::2], batch.reference[::2], np.zeros(2, np.int64), batch.start[::2])
    mixed = dealt(one, "images", np.random.default_rng(0))
    assert [frame.images for frame in mixed] == [one.frames[1].images, one.frames[0].images]
    assert dealt(one, "prompt", np.random.default_rng(0)) is None


def test_the_rise_is_of_the_frames_that_were_dealt_something():
    before = np.array([1.0, 1.0, 2.0, 9.0])
    row = ablation_row("flow", "images", (before, np.array([2.0, 1.0, 3.0, np.nan])), np.array([0, 1, 1, 1]), 0)
    assert (row.mae, row.rise, row.interval) == (2.0, 0.5, None)


def test_the_interval_of_the_rise_is_paired():
    rng = np.random.default_rng(0)
    before, episode = rng.uniform(0.5, 5, size=200), np.repeat(np.arange(10), 20)
    row = ablation_row("flow", "state", (before, 1.63 * before), episode, 0)
    assert row.rise == pytest.approx(0.63)
    np.testing.assert_allclose(row.interval, 0.63, atol=1e-9)


def test_what_can_not_be_told_says_why():
    row = ablation_row("fast", "prompt", (np.ones(3), np.full(3, np.nan)), np.arange(3), 0)
    assert (row.rise, row.why_not) == (None, "all frames measured have the same prompt")


def test_sentences_say_what_matters():
    rows = [
        AblationRow("flow", "images", 1.0, 0.631),
        AblationRow("fast", "images", 1.0, 0.2, (0.1, 0.3)),
        AblationRow("flow", "prompt", 1.0, 0.04, (-0.02, 0.1)),
        AblationRow("fast", "prompt", why_not="it is blind"),
        AblationRow("flow", "state", why_not="the model is shown none"),
    ]
    sure_but_small = [AblationRow("flow", "state", 1.0, 0.012, (0.008, 0.02))]
    assert ablation_words(sure_but_small) == ["state: no effect shown: flow +1 % (+1 % to +2 %)"]
    assert ablation_words(rows) == [
        "images matter: flow +63 %, FAST +20 % (+10 % to +30 %)",
        "prompt: no effect shown: flow +4 % (-2 % to +10 %)",
        "state: not told: the model is shown none",
    ]


def test_a_policy_is_blind_to_what_its_layout_leaves_out(policy):
    assert [blind_to(policy, "flow", what) for what in ("images", "prompt", "state")] == [None] * 3
    bare = with_card(policy, layout=PRESETS["images-fast"], slots=())
    assert blind_to(bare, "flow", "images") == "the model is given no pictures"
    assert "does not show it the prompt" in blind_to(bare, "fast", "prompt")
    assert "does not show it the state" in blind_to(bare, "flow", "state")
    late = with_card(policy, layout=PRESETS["images-fast-prompt"])
    assert "does not show it the prompt" in blind_to(late, "flow", "prompt")
