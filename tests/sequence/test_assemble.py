"""From frames to batches: what each field holds, what is refused and what is told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fastki.data import ChunkSpec, load_norm_stats, open_dataset, save_norm_stats
from fastki.data.policy import frame_inputs
from fastki.data.robots import SLOTS
from fastki.errors import DataError, UsageError
from fastki.sequence.assemble import Assembler, BatchShape, Examples
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import PRESETS
from fastki.sequence.prompts import pi05_prefix
from fastki.sequence.resize import resize_with_pad
from fastki.sequence.state import fit_state_normalizer
from fastki.sequence.text import ByteTokenizer
from fastki.sequence.wording import Wording
from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset

TEXT = ByteTokenizer()


@pytest.fixture(scope="module")
def dataset():
    return open_dataset("synthetic:droid?episodes=5&size=40")


@pytest.fixture(scope="module")
def tokenizer(dataset):
    return fit_on_dataset(dataset, FitOptions(FitSettings(bins=40), stride=3)).tokenizer


@pytest.fixture(scope="module")
def make(dataset, tokenizer):
    """An assembler for a preset, with any sizes."""
    normalizer = fit_state_normalizer(dataset)

    def assembler(name="images-prompt-fast", **sizes) -> Assembler:
        wording = Wording(PRESETS[name], TEXT, FastIds.onto(TEXT, tokenizer.vocab_size))
        shape = BatchShape(**{"max_token_len": 200, "action_dim": 10, "image_size": 32, **sizes})
        return Assembler(tokenizer, tokenizer.source.spec, wording, shape, normalizer, dataset.info.slots)

    return assembler


def test_an_example_holds_the_frame_in_every_field(dataset, tokenizer, make):
    assembler, episode, frame = make(), dataset[2], 21
    batch, text = assembler.batch(assembler.examples(episode, np.array([frame])))
    seen, inputs = batch.observation, frame_inputs(episode, frame, dataset.info.slots, horizon=16)
    state = assembler.state_normalizer.normalize(inputs.state)
    actions = tokenizer.normalizer.normalize(inputs.actions)
    np.testing.assert_allclose(seen.state[0], [*state, 0, 0], atol=1e-6)
    np.testing.assert_allclose(batch.actions[0, :, :8], actions, atol=1e-6)
    assert not batch.actions[..., 8:].any()
    assert batch.actions_mask[0, 0].tolist() == [True] * 8 + [False] * 2
    assert batch.actions_mask.shape == batch.actions.shape == (1, 16, 10)
    prefix = TEXT.encode(pi05_prefix(episode.prompt, state), add_bos=True)
    fast = FastIds.onto(TEXT, tokenizer.vocab_size).to_text(tokenizer.encode(inputs.actions)[0]).tolist()
    expected = [*prefix, *fast, *TEXT.encode("|"), TEXT.eos_id]
    assert seen.tokenized_prompt[0, seen.tokenized_prompt_mask[0]].tolist() == expected
    assert seen.tokenized_prompt[0, seen.token_loss_mask[0]].tolist() == expected[len(prefix) :]
    assert seen.tokenized_prompt.shape == (1, 200)
    assert tuple(seen.images) == tuple(seen.image_masks) == SLOTS
    for slot in SLOTS:
        there = bool(inputs.image_mask[slot])
        assert seen.image_masks[slot].tolist() == [there]
        picture = resize_with_pad(inputs.image[slot], 32, 32) if there else 0
        np.testing.assert_array_equal(seen.images[slot][0], np.broadcast_to(picture, (32, 32, 3)))
    assert [mask.item() for mask in seen.image_masks.values()] == [True, True, False]
    assert (text.fast_lost.sum(), text.other_lost.sum()) == (0, 0)
    kinds = {seen.state.dtype, batch.actions.dtype}
    assert kinds == {np.dtype(np.float32)}


def test_decoding_the_batchs_tokens_gives_the_actions_back(dataset, tokenizer, make):
    assembler = make()
    batch, _ = assembler.batch(assembler.examples(dataset[0], np.array([0, 9])), images=False)
    ids = FastIds.onto(TEXT, tokenizer.vocab_size)
    rows = batch.observation.tokenized_prompt
    tokens = [ids.to_fast(row[mask][:-2]) for row, mask in zip(rows, batch.observation.token_loss_mask, strict=True)]
    # What 40 bins lose, the same as without any batch.
    alone = tokenizer.decode_normalized(tokenizer.encode_normalized(batch.actions[..., :8]))
    np.testing.assert_allclose(tokenizer.decode_normalized(tokens), alone, atol=0.06)
    assert np.abs(tokenizer.decode_normalized(tokens) - batch.actions[..., :8]).max() < 0.2


def test_overflow_names_the_frame_and_the_length(dataset, make):
    with pytest.raises(UsageError, match=r"episode \d, frame \d+ takes \d+ text tokens .* --max-token-len \d+ or more"):
        make(max_token_len=60).examples(dataset[0])


def test_a_layout_without_the_state_works_on_data_without_one(tokenizer, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.normal(size=(40, 8)))
    bare = open_dataset(tmp_path / "a.npy")
    ids = FastIds.onto(TEXT, tokenizer.vocab_size)
    parts = (tokenizer, ChunkSpec(16))
    shape = BatchShape(300)
    assembler = Assembler(*parts, Wording(PRESETS["images-fast"], TEXT, ids), shape)
    batch, _ = assembler.batch(assembler.examples(bare[0], np.array([0, 5])), images=False)
    assert (batch.observation.images, batch.observation.state.any()) == ({}, np.False_)
    assert list(assembler.norm_stats()) == ["actions"]
    with pytest.raises(UsageError, match="images-prompt-fast shows the state, and the data have none"):
        Assembler(*parts, Wording(PRESETS["images-prompt-fast"], TEXT, ids), shape)
    with pytest.raises(DataError, match="has no state: choose one with --state-key"):
        fit_state_normalizer(bare)


def test_the_state_has_statistics_of_its_own(dataset, tokenizer, make, tmp_path):
    assembler = make()
    save_norm_stats(tmp_path, assembler.norm_stats())
    stats = load_norm_stats(tmp_path)
    assert list(stats) == ["state", "actions"]
    states = np.concatenate([episode.state for episode in dataset]).astype(np.float64)
    np.testing.assert_allclose(stats["state"].q01, np.quantile(states, 0.01, axis=0))
    np.testing.assert_array_equal(stats["actions"].q99, tokenizer.normalizer.stats.q99)
    some = fit_state_normalizer(dataset, episodes=[1], method="zscore")
    np.testing.assert_allclose(some.stats.mean, dataset[1].state.astype(np.float64).mean(axis=0))


def test_a_model_too_narrow_is_refused(make):
    with pytest.raises(UsageError, match=r"8 action dimensions and the model 7: .*--dims"):
        make(action_dim=7)
    with pytest.raises(UsageError, match="max_token_len 0"):
        make(max_token_len=0)


def test_examples_join_and_part(dataset, make):
    assembler = make()
    parts = [assembler.examples(dataset[index], np.array([0, 3, 6])) for index in (0, 1)]
    whole = Examples.concatenate(parts)
    picked = whole.take(np.array([5, 1, 4]))
    assert (len(whole), len(picked), len(picked.episodes)) == (6, 3, 2)
    assert [picked.episodes[owner].index for owner in picked.owner] == [1, 0, 1]
    assert picked.frame.tolist() == [6, 3, 3]
    for place, source in enumerate((5, 1, 4)):
        np.testing.assert_array_equal(picked.text[place], whole.text[source])
    only = whole.take(np.array([0]))
    assert [episode.index for episode in only.episodes] == [0]


def test_an_episode_without_pictures_is_named(dataset, make):
    assembler = dataclasses.replace(make(), slots={"base_0_rgb": "absent"})
    with pytest.raises(DataError, match=r"episode 1 has no picture for any camera slot \(absent\)"):
        assembler.batch(assembler.examples(dataset[1], np.array([0])))
