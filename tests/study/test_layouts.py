"""Layouts compared: every figure against a count of its own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fastki.data import gather_chunks, open_dataset
from fastki.data.synthetic import SyntheticDroid
from fastki.errors import UsageError
from fastki.sequence.batch import pad_and_mask
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import PRESETS, Layout, Segment
from fastki.sequence.prompts import pi05_prefix
from fastki.sequence.sizes import SIZES, cache_bytes, inference_cost, training_cost
from fastki.sequence.state import fit_state_normalizer
from fastki.sequence.text import ByteTokenizer
from fastki.sequence.wording import Wording
from fastki.study.layouts import LayoutOptions, compare_layouts, usability
from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset

TINY = SIZES["tiny"]


@pytest.fixture(scope="module")
def dataset():
    return open_dataset("synthetic:droid?episodes=6")


@pytest.fixture(scope="module")
def tokenizer(dataset):
    return fit_on_dataset(dataset, FitOptions(FitSettings(bins=40), stride=4)).tokenizer


@pytest.fixture(scope="module")
def lengths(dataset, tokenizer):
    """Tokens of π0.5's text and of FAST, of every chunk, counted here."""
    chunks = gather_chunks(dataset, tokenizer.source.spec).chunks
    fitted = [index for index in range(6) if index not in _heldout(tokenizer)]
    normalizer = fit_state_normalizer(dataset, episodes=fitted)
    prompt = []
    for index, start in zip(chunks.episode.tolist(), chunks.start.tolist(), strict=True):
        episode = dataset[index]
        words = pi05_prefix(episode.prompt, normalizer.normalize(episode.state[start]))
        prompt.append(1 + len(words.encode()))
    fast = [len(tokens) + 2 for tokens in tokenizer.encode(chunks.actions)]
    return np.array(prompt), np.array(fast)


def _heldout(tokenizer):
    from fastki.data import split_episodes

    return split_episodes(6, holdout=tokenizer.source.holdout, seed=tokenizer.source.seed)[1].tolist()


def row_of(dataset, tokenizer, name="images-prompt-fast", **options):
    layout = PRESETS.get(name, name)
    comparison = compare_layouts(tokenizer, dataset, LayoutOptions((layout,), TINY, **options))
    return comparison.rows[0], comparison


def test_lengths_are_those_counted_one_by_one(dataset, tokenizer, lengths):
    prompt, fast = lengths
    row, comparison = row_of(dataset, tokenizer)
    totals = 2 * 16 + prompt + fast
    np.testing.assert_array_equal(comparison.totals["images-prompt-fast"], totals)
    assert (row.total_mean, row.total_max) == (pytest.approx(totals.mean()), totals.max())
    assert row.total_p95 == pytest.approx(np.percentile(totals, 95))
    assert (row.text_mean, row.text_max) == (pytest.approx((prompt + fast).mean()), (prompt + fast).max())
    assert row.max_token_len == row.need_all == row.text_max
    assert row.padded == 3 * 16 + row.max_token_len
    assert row.padding == pytest.approx(1 - totals.mean() / row.padded)
    assert (row.loss_mean, row.loss_share) == (pytest.approx(fast.mean()), pytest.approx(fast.sum() / totals.sum()))
    assert (row.truncated, row.fast_lost, row.usable, row.verdict) == (0, 0, True, "yes")
    assert (comparison.chunks, comparison.cameras, comparison.horizon) == (len(fast), 2, 16)
    assert comparison.notes == ()


def test_truncation_is_that_of_a_batch_made_so(dataset, tokenizer, lengths):
    text = sum(lengths)
    room = int(np.percentile(text, 70))
    for name in PRESETS:
        row, _ = row_of(dataset, tokenizer, name, max_token_len=room)
        wording = Wording(PRESETS[name], ByteTokenizer(), FastIds.onto(ByteTokenizer(), tokenizer.vocab_size))
        chunks = gather_chunks(dataset, tokenizer.source.spec).chunks
        states = np.stack([dataset[e].state[s] for e, s in zip(chunks.episode, chunks.start, strict=True)])
        fitted = [index for index in range(6) if index not in _heldout(tokenizer)]
        states = fit_state_normalizer(dataset, episodes=fitted).normalize(states)
        prompts = [dataset[e].prompt for e in chunks.episode.tolist()]
        ids, counts = wording.encode(prompts, states, tokenizer.encode(chunks.actions))
        made = pad_and_mask(PRESETS[name], ids, counts, max_token_len=room, opening=wording.opening, truncate=True)
        lost = made.fast_lost + made.other_lost
        assert row.truncated == pytest.approx((lost > 0).mean())
        assert row.fast_lost == pytest.approx(
            made.fast_lost.sum() / (made.fast_lost + made.token_loss_mask.sum(1)).sum()
        )
        assert row.loss_mean == pytest.approx(made.token_loss_mask.sum(axis=1).mean())
        assert row.total_mean == pytest.approx(32 + made.tokenized_prompt_mask.sum(axis=1).mean())


def test_the_smallest_lengths_are_the_smallest(dataset, tokenizer, lengths):
    text = sum(lengths)
    row, _ = row_of(dataset, tokenizer)
    for need, share in ((row.need_all, 0), (row.need_999, 0.001), (row.need_99, 0.01)):
        assert (text > need).mean() <= share
        assert (text > need - 1).mean() > share


def test_costs_are_the_formulas(dataset, tokenizer, lengths):
    prompt, _ = lengths
    row, _ = row_of(dataset, tokenizer)
    vocab = ByteTokenizer().vocab_size
    train = training_cost(TINY, images=3, text=row.need_all, horizon=16, logits=row.need_all, vocab=vocab)
    infer = inference_cost(TINY, images=3, text=int(prompt.max()), horizon=16)
    assert (row.train_flops, row.train_attention) == (train.total, train.attention)
    assert (row.infer_flops, row.infer_attention) == (infer.total, infer.attention)
    assert row.prefix == 3 * 16 + prompt.max()
    assert row.cache_bytes == cache_bytes(TINY, row.prefix)
    late, _ = row_of(dataset, tokenizer, "images-fast-prompt")
    assert late.prefix == 3 * 16


@pytest.mark.parametrize(
    ("layout", "usable", "said"),
    [
        (PRESETS["images-prompt-fast"], True, "yes"),
        (PRESETS["images-prompt-state-token-fast"], True, "yes"),
        (PRESETS["images-fast"], True, "no prompt and no state"),
        (PRESETS["images-fast-prompt"], False, "the prompt comes after FAST"),
        (Layout("f", (Segment("images"), Segment("fast", "causal", "tokens"))), False, "no action expert"),
        (
            Layout(
                "late",
                (
                    Segment("fast", "causal", "tokens"),
                    Segment("prompt"),
                    Segment("state", state="text"),
                    Segment("actions", loss="flow"),
                ),
            ),
            False,
            "the prompt and state come after FAST",
        ),
    ],
)
def test_whether_a_layout_can_act_as_it_stands(layout, usable, said):
    verdict = usability(layout)
    assert verdict[0] == usable
    assert said in verdict[1]


def test_layouts_without_images_actions_or_fast(dataset, tokenizer, lengths):
    prompt, _ = lengths
    pi05 = Segment("prompt", state="text")
    flow, _ = row_of(dataset, tokenizer, Layout("flow", (Segment("images"), pi05, Segment("actions", loss="flow"))))
    assert (flow.loss_mean, flow.loss_share, flow.fast_lost, flow.text_max) == (0, 0, 0, prompt.max())
    fast, _ = row_of(dataset, tokenizer, Layout("fast", (pi05, Segment("fast", "causal", "tokens"))))
    assert (fast.infer_flops, fast.infer_attention, fast.usable) == (None, None, False)
    assert fast.padded == fast.max_token_len


def test_data_without_state_prompts_or_cameras(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", np.cumsum(rng.normal(size=(60, 3)), axis=0))
    bare = open_dataset(tmp_path / "a.npy")
    tokenizer = fit_on_dataset(bare, FitOptions(FitSettings(vocab_size=128, bins=40))).tokenizer
    comparison = compare_layouts(tokenizer, bare, LayoutOptions(size=TINY))
    errors = {row.layout: row.error for row in comparison.rows}
    assert "--state-key" in errors["images-prompt-fast"]
    assert errors["images-fast"] is None
    assert set(comparison.totals) == {"images-fast"}
    assert all(("--state-key" in error) for name, error in errors.items() if name != "images-fast")
    assert comparison.state_normalizer is None
    assert any("no prompts" in note for note in comparison.notes)
    assert any("no cameras" in note for note in comparison.notes)
    counted = compare_layouts(tokenizer, bare, LayoutOptions((PRESETS["images-fast"],), TINY, cameras=3))
    assert counted.totals["images-fast"].min() > 48


def test_options_out_of_range():
    with pytest.raises(UsageError, match="--cameras 4: the model tiny has 3"):
        LayoutOptions(size=TINY, cameras=4)
    with pytest.raises(UsageError, match="--max-token-len 0"):
        LayoutOptions(size=TINY, max_token_len=0)


def test_fast_ids_that_do_not_fit_are_refused(dataset, tokenizer):
    options = LayoutOptions(size=TINY, text=ByteTokenizer(600))
    with pytest.raises(UsageError, match="text vocabulary of 600"):
        compare_layouts(tokenizer, dataset, options)
    roomy = dataclasses.replace(options, text=ByteTokenizer(4000))
    assert compare_layouts(tokenizer, dataset, roomy).text == "byte:4000"


class HalfBlind(SyntheticDroid):
    """The sample, whose odd episodes lack the wrist camera."""

    def _read(self, index, *, state):
        episode = super()._read(index, state=state)
        images = {name: frames for name, frames in episode.images.items() if index % 2 == 0 or "wrist" not in name}
        return dataclasses.replace(episode, images=images)


def test_cameras_that_some_episodes_lack_are_padding(dataset, tokenizer):
    blind = HalfBlind(episodes=6)
    row, comparison = row_of(blind, tokenizer)
    whole, seeing = row_of(dataset, tokenizer)
    chunks = gather_chunks(blind, tokenizer.source.spec).chunks
    less = seeing.totals["images-prompt-fast"] - comparison.totals["images-prompt-fast"]
    np.testing.assert_array_equal(less, 16 * (chunks.episode % 2))
    assert (comparison.cameras, row.padded) == (2, whole.padded)
    assert row.padding > whole.padding
    share = (chunks.episode % 2).mean()
    assert comparison.notes == (f"{share:.0%} of the examples lack one or more of the 2 cameras: counted as padding",)


def test_a_camera_that_no_episode_has_is_not_counted(shared):
    bridge = open_dataset(shared / "data" / "bridge_rlds" / "1.0.0")
    own = fit_on_dataset(bridge, FitOptions(FitSettings(vocab_size=128, bins=40), horizon=5)).tokenizer
    comparison = compare_layouts(own, bridge, LayoutOptions((PRESETS["images-fast"],), TINY))
    assert sum(camera is not None for camera in bridge.info.slots.values()) == 2
    assert comparison.cameras == 1
