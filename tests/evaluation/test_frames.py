"""Frames: which are chosen, how batches mix them, and that a policy sees of them what training saw."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from dummy_run import with_card

from fastki.data import ChunkSpec
from fastki.errors import DataError, UsageError
from fastki.evaluation.fitting import fit_of
from fastki.evaluation.frames import choose_frames, frames_of, read_batches
from fastki.evaluation.policy import HEADS
from fastki.sequence.assemble import Assembler, BatchShape
from fastki.sequence.layout import PRESETS
from fastki.sequence.wording import Wording


def test_every_frame_of_the_stride_that_begins_a_whole_chunk_is_chosen(setup):
    lengths = setup.dataset.info.lengths
    chosen = choose_frames(setup.dataset, np.array([3, 5]), ChunkSpec(horizon=16), stride=7, most=None, seed=0)
    assert list(chosen) == [3, 5]
    for index, starts in chosen.items():
        assert starts.tolist() == list(range(0, int(lengths[index]) - 15, 7))


def test_so_many_at_most_are_drawn_and_a_seed_draws_the_same(setup):
    def draw(seed: int) -> list[tuple[int, int]]:
        chosen = choose_frames(setup.dataset, np.arange(12), ChunkSpec(), stride=4, most=20, seed=seed)
        return [(index, start) for index, starts in chosen.items() for start in starts.tolist()]

    assert len(draw(0)) == len(set(draw(0))) == 20
    assert draw(0) == draw(0) != draw(1)


def test_episodes_that_are_all_too_short_are_refused(setup):
    with pytest.raises(DataError, match="as long as the horizon 5000"):
        choose_frames(setup.dataset, np.arange(3), ChunkSpec(horizon=5000), stride=1, most=None, seed=0)


def test_batches_hold_each_chosen_frame_once_and_mix_episodes(setup, fit):
    chosen = choose_frames(setup.dataset, np.arange(12), fit.spec, stride=9, most=None, seed=0)
    batches = list(read_batches(setup.dataset, chosen, fit, 16))
    assert [len(batch) for batch in batches[:-1]] == [16] * (len(batches) - 1)
    found = [pair for batch in batches for pair in zip(batch.episode.tolist(), batch.start.tolist(), strict=True)]
    wanted = {(index, start) for index, starts in chosen.items() for start in starts.tolist()}
    assert len(found) == len(wanted)
    assert set(found) == wanted
    assert all(len(np.unique(batch.episode)) >= 4 for batch in batches[:-1])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", PRESETS)
def test_a_policy_sees_a_frame_bit_for_bit_as_training_did(setup, policy, name, head):
    layout = PRESETS[name]
    model = dataclasses.replace(policy.card.model, state_token=layout.state_form == "token", max_token_len=400)
    policy = with_card(policy, params={}, layout=layout, model=model)
    fit, episode, starts = fit_of(policy, setup.dataset), setup.dataset[2], np.array([0, 21, 60])
    frames = frames_of(episode, fit, starts=starts).frames
    seen = policy.observe(frames, head)

    words = Wording(layout, setup.assembler.wording.text, policy.fast_ids)
    shape = BatchShape(400, model.action_dim, model.size.vision.image_size)
    own = Assembler(setup.tokenizer, fit.spec, words, shape, setup.assembler.state_normalizer, fit.cameras)
    taught = own.batch(own.examples(episode, starts))[0].observation

    for slot in fit.cameras:
        np.testing.assert_array_equal(seen.images[slot], taught.images[slot], strict=True)
        np.testing.assert_array_equal(seen.image_masks[slot], taught.image_masks[slot], strict=True)
    np.testing.assert_array_equal(seen.state, taught.state, strict=True)
    before_fast = taught.tokenized_prompt_mask & ~taught.token_loss_mask
    if head == "flow":  # What stood after FAST, which carries no loss either, it never saw.
        count = [
            int(row.argmax()) if row.any() else int(mask.sum())
            for row, mask in zip(taught.token_loss_mask, taught.tokenized_prompt_mask, strict=True)
        ]
        before_fast &= np.arange(400) < np.array(count)[:, None] - words.opening
    elif layout.after_fast:
        before_fast &= np.arange(400) < taught.token_loss_mask.argmax(axis=1)[:, None]
    for row in range(3):
        for field in ("tokenized_prompt", "token_ar_mask"):
            mine = getattr(seen, field)[row][seen.tokenized_prompt_mask[row]]
            np.testing.assert_array_equal(mine, getattr(taught, field)[row][before_fast[row]], strict=True)
    assert not seen.token_loss_mask.any()


def test_pictures_are_decoded_only_when_they_are_looked_at(setup, fit):
    frames = frames_of(setup.dataset[0], fit, starts=np.array([4])).frames
    assert list(frames[0].images) == list(fit.cameras)
    np.testing.assert_array_equal(frames[0].images["base_0_rgb"], setup.dataset[0].images[fit.cameras["base_0_rgb"]][4])


def test_the_action_before_is_told_in_native_units_with_differences_undone(delta_setup, delta_policy):
    fit = fit_of(delta_policy, delta_setup.dataset)
    assert fit.spec.dims == (1, 0, 7, 3)
    episode = delta_setup.dataset[1]
    found = frames_of(episode, fit, starts=np.array([0, 30]))
    kept = episode.actions[:, [1, 0, 7, 3]]
    np.testing.assert_allclose([frame.previous for frame in found.frames], kept[[0, 29]], atol=1e-12)
    np.testing.assert_allclose(found.reference[:, [1, 3]], episode.state[[0, 30]][:, [0, 3]])
    assert not found.reference[:, [0, 2]].any()


def write_recording(path, *, actions=8, state=8):
    rng = np.random.default_rng(0)
    arrays = {"actions": rng.normal(size=(60, actions))}
    if state:
        arrays["state"] = rng.normal(size=(60, state))
    np.savez(path, **arrays, episode_ends=np.array([60]))
    return str(path)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"actions": 7}, "has 7 action dimensions, and the policy acts in 8: choose others with --action-key"),
        ({"state": 6}, "has a state of 6 numbers, and the policy was trained on one of 8"),
        ({"state": 0}, "has no state, and the policy was trained on one of 8"),
        ({}, "has no camera for base_0_rgb, left_wrist_0_rgb"),
    ],
)
def test_data_that_do_not_fit_the_policy_are_refused(policy, tmp_path, shape, said):
    from fastki import open_dataset

    dataset = open_dataset(write_recording(tmp_path / "a.npz", **shape))
    with pytest.raises(UsageError, match=said):
        fit_of(policy, dataset)


def test_too_few_dimensions_for_a_subset_are_refused(delta_policy, tmp_path):
    from fastki import open_dataset

    with pytest.raises(UsageError, match="acts in 4, numbers 1, 0, 7, 3 of its data"):
        fit_of(delta_policy, open_dataset(write_recording(tmp_path / "a.npz", actions=4)))


def test_a_camera_that_the_data_lack_is_told(policy, setup):
    from fastki.training.card import Slot

    both = (*policy.card.slots, Slot("right_wrist_0_rgb", "exterior_image_9_left"))
    fit = fit_of(with_card(policy, slots=both), setup.dataset)
    assert fit.cameras["right_wrist_0_rgb"] is None
    assert fit.notes == (f"{setup.dataset.info.uri} has no camera for right_wrist_0_rgb: the policy is blind there",)
