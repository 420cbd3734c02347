"""From frames to batches: what each field holds, the order of windows, what truncation is told."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from fastki.data import ChunkSpec, load_norm_stats, open_dataset, save_norm_stats
from fastki.data.policy import frame_inputs
from fastki.data.robots import SLOTS
from fastki.errors import DataError, UsageError
from fastki.sequence.assemble import Assembler, BatchShape, Examples
from fastki.sequence.batches import Batches, BatchOptions
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import PRESETS
from fastki.sequence.prompts import pi05_prefix
from fastki.sequence.resize import resize_with_pad
from fastki.sequence.state import fit_state_normalizer
from fastki.sequence.text import ByteTokenizer
from fastki.sequence.wording import Wording
from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset

TEXT = ByteTokenizer()
TOKENS = BatchOptions(8, images=False)


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


def frames(batches, number=0, **options):
    """Of each batch, its states: they tell the windows."""
    return [batch.observation.state for batch in batches.epoch(number, **options)]


def test_the_same_seed_gives_the_same_batches_whatever_the_threads(dataset, make):
    one = Batches(dataset, make(), BatchOptions(8, images=False, workers=1, pool=100))
    two = Batches(dataset, make(), BatchOptions(8, images=False, workers=3, pool=100))
    other = Batches(dataset, make(), BatchOptions(8, images=False, seed=1, pool=100))
    first, again, different, later = frames(one), frames(two), frames(other), frames(one, 1)
    assert len(first) == len(again) == len(different) == len(later) > 10
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, different)
    assert not np.array_equal(first, later)


@pytest.mark.parametrize("pool", [1, 100, 10_000])
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_has_every_window_once_but_for_the_rest(dataset, make, pool, shuffle):
    batches = Batches(dataset, make(), BatchOptions(8, images=False, shuffle=shuffle, pool=pool))
    rows = np.concatenate(frames(batches))
    spec = batches.assembler.spec
    every = np.concatenate([batches.assembler.examples(episode).state for episode in dataset])
    assert len(every) == sum(spec.count(int(length)) for length in dataset.info.lengths)
    assert len(rows) == len(every) // 8 * 8
    assert batches.tally.examples == len(rows)
    seen = {row[:8].tobytes() for row in rows}
    assert seen <= {row.tobytes() for row in every}
    assert len(seen) == len(rows)
    if not shuffle:
        np.testing.assert_array_equal(rows[:, :8], every[: len(rows)])


def test_a_run_goes_on_where_it_stopped(dataset, make):
    batches = Batches(dataset, make(), TOKENS)
    whole = [*frames(batches), *frames(batches, 1)]
    np.testing.assert_array_equal(frames(batches, 0, skip=3), frames(batches)[3:])
    length = len(frames(batches))
    for skip in (0, 2, length - 1, length, length + 1):
        rest = itertools.islice(batches.forever(skip=skip), len(whole) - skip)
        np.testing.assert_array_equal([batch.observation.state for batch in rest], whole[skip:])


def test_chosen_episodes_only(dataset, make):
    batches = Batches(dataset, make(), BatchOptions(4, images=False), episodes=[3])
    allowed = {row.tobytes() for row in batches.assembler.examples(dataset[3]).state}
    assert {row[:8].tobytes() for row in np.concatenate(frames(batches))} <= allowed


def test_pictures_come_in_batches(dataset, make):
    options = BatchOptions(4, shuffle=False, pool=1)
    batch = next(Batches(dataset, make(), options).epoch())
    episode = dataset[0]
    starts = make().spec.starts(episode)[:4]
    for place, frame in enumerate(starts.tolist()):
        expected = resize_with_pad(episode.images["wrist_image_left"][frame], 32, 32)
        np.testing.assert_array_equal(batch.observation.images["left_wrist_0_rgb"][place], expected)


def test_overflow_names_the_frame_and_the_length(dataset, make):
    with pytest.raises(UsageError, match=r"episode \d, frame \d+ takes \d+ text tokens .* --max-token-len \d+ or more"):
        next(Batches(dataset, make(max_token_len=60), TOKENS).epoch())


def test_truncation_is_counted_and_reported(dataset, make):
    full = Batches(dataset, make(), BatchOptions(8, images=False, shuffle=False))
    wanted = sum(int(batch.observation.token_loss_mask.sum()) for batch in full.epoch())
    assert full.tally.report() == f"{full.tally.examples:,} examples, none truncated"
    cut = Batches(dataset, make(max_token_len=85, truncate=True), BatchOptions(8, images=False, shuffle=False))
    kept = sum(int(batch.observation.token_loss_mask.sum()) for batch in cut.epoch())
    tally = cut.tally
    assert 0 < tally.fast_lost == wanted - kept
    assert 0 < tally.truncated <= tally.examples == full.tally.examples
    assert f"{tally.fast_lost:,} FAST tokens" in tally.report()


def test_a_layout_without_the_state_works_on_data_without_one(tokenizer, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.normal(size=(40, 8)))
    bare = open_dataset(tmp_path / "a.npy")
    ids = FastIds.onto(TEXT, tokenizer.vocab_size)
    parts = (tokenizer, ChunkSpec(16))
    shape = BatchShape(300)
    assembler = Assembler(*parts, Wording(PRESETS["images-fast"], TEXT, ids), shape)
    batch = next(Batches(bare, assembler, BatchOptions(2, images=False)).epoch())
    assert (batch.observation.images, batch.observation.state.any()) == ({}, np.False_)
    assert list(assembler.norm_stats()) == ["actions"]
    with pytest.raises(UsageError, match="images-prompt-fast shows the state, and the data have none"):
        Assembler(*parts, Wording(PRESETS["images-prompt-fast"], TEXT, ids), shape)
    with pytest.raises(UsageError, match="no camera for any of openpi's slots"):
        Batches(bare, assembler)
    with pytest.raises(DataError, match="has no state: choose one with --state-key"):
        fit_state_normalizer(bare)
    with pytest.raises(DataError, match="no episode is as long as the horizon 50"):
        Batches(bare, Assembler(tokenizer, ChunkSpec(50), assembler.wording, shape), TOKENS)
    with pytest.raises(UsageError, match="fewer windows than a batch of 99"):
        next(Batches(bare, assembler, BatchOptions(99, images=False)).forever())


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
    for name in ("batch_size", "workers", "pool"):
        with pytest.raises(UsageError, match=f"{name} 0"):
            BatchOptions(**{name: 0})
    with pytest.raises(UsageError, match="--seed -1"):
        BatchOptions(seed=-1)


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


def test_an_error_in_a_thread_comes_out_whole(dataset, make, monkeypatch):
    def fail(self, examples, *, images=True):
        raise DataError("a picture is damaged")

    monkeypatch.setattr(Assembler, "batch", fail)
    with pytest.raises(DataError, match="a picture is damaged"):
        next(Batches(dataset, make(), TOKENS).epoch())


def test_an_episode_without_pictures_is_named(dataset, make):
    assembler = dataclasses.replace(make(), slots={"base_0_rgb": "absent"})
    with pytest.raises(DataError, match=r"episode 1 has no picture for any camera slot \(absent\)"):
        assembler.batch(assembler.examples(dataset[1], np.array([0])))
