"""The velocity does not depend on FAST tokens in any layout: the expert acts as it was trained, where none stand there.

"Exactly" means the same bits, as the sums have the same terms in the same places and those of FAST tokens are zero.
"""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

pytest.importorskip("flax")

from model_batches import micro_config, random_batch, random_draw, random_model, with_text
from quick import compile_quickly, run_quickly

from fastki.sequence.batch import STATE_TOKEN
from fastki.sequence.layout import PRESETS, Layout, Segment

LENGTHS = {"prompt": (4, 3), "state": (2, 3), "fast": (5, 6)}
"""Tokens of each segment in two examples."""
ROUNDING = 1e-6
"""Of the largest number: the same sums over another number of padded places."""


def random_layout(seed: int) -> Layout:
    """Any order of text, any attention, any blocks."""
    rng = random.Random(seed)

    def attends():
        return rng.choice(["bidirectional", "causal"])

    text = [Segment("prompt", attends(), own_block=rng.random() < 0.5), Segment("fast", "causal", "tokens")]
    if rng.random() < 0.7:
        form = rng.choice(["text", "token"])
        text.append(Segment("state", attends(), state=form, own_block=rng.random() < 0.5))
    rng.shuffle(text)
    images, actions = Segment("images", attends()), Segment("actions", attends(), "flow")
    return Layout(f"random-{seed}", (images, *text, actions))


LAYOUTS = [*PRESETS.values(), *(random_layout(seed) for seed in range(5))]


def config_of(layout, **changes):
    return micro_config(state_token=layout.state_form == "token", **changes)


def lengths_of(layout, **changes):
    """``[B, S]``; a continuous state is one token."""
    one = {segment.kind: (1, 1) for segment in layout.text if segment.continuous}
    each = {**LENGTHS, **one, **changes}
    return list(zip(*(each[segment.kind] for segment in layout.text), strict=True))


def pass_of(definition):
    """``(velocity, prefix)`` of parameters, observation, noise and time."""

    def run(params, observation, noise, time):
        out = definition.merge(params).joint(observation, noise, time, insulated=True)
        return out.velocity, out.prefix

    return run


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_fast_tokens_move_the_velocity_by_exactly_nothing(layout):
    config = config_of(layout)
    definition, params = random_model(config, layout=layout)

    def batch(**changes):
        return random_batch(config, lengths_of(layout, **changes), layout=layout)

    usual = batch()
    draw = random_draw(usual)
    compiled = compile_quickly(pass_of(definition), params, usual.observation, *draw)

    def velocity(batch):
        return np.asarray(compiled(params, batch.observation, *draw)[0])

    expected, seen = velocity(usual), usual.observation
    others = np.where(seen.token_loss_mask, (seen.tokenized_prompt + 7) % config.vocab, seen.tokenized_prompt)
    for changed in (
        with_text(usual, tokenized_prompt=others),
        batch(fast=(7, 2)),
        batch(fast=(0, 0)),  # As at inference.
    ):
        assert (changed.observation.tokenized_prompt != seen.tokenized_prompt).any()
        np.testing.assert_array_equal(velocity(changed), expected)
    sees_text = any(kind != "images" for kind in layout.prompts_expert())
    given = seen.tokenized_prompt_mask & ~seen.token_loss_mask & (seen.tokenized_prompt != STATE_TOKEN)
    words = np.where(given, (seen.tokenized_prompt + 7) % config.vocab, seen.tokenized_prompt)
    prompted = velocity(with_text(usual, tokenized_prompt=words, state=seen.state + 1))
    assert np.array_equal(prompted, expected) == (not sees_text)


@pytest.mark.parametrize("name", ["images-prompt-fast", "images-fast-prompt", "images-prompt-state-token-fast"])
def test_nor_does_it_depend_on_how_far_the_text_is_padded(name):
    layout = PRESETS[name]
    config = config_of(layout)
    definition, params = random_model(config, layout=layout)
    with_fast = random_batch(config, lengths_of(layout), layout=layout)
    longer = dataclasses.replace(config, max_token_len=config.max_token_len + 9)
    without = random_batch(longer, lengths_of(layout, fast=(0, 0)), layout=layout)
    draw = random_draw(with_fast)
    ours, theirs = (
        run_quickly(pass_of(definition), params, batch.observation, *draw)[0] for batch in (with_fast, without)
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=ROUNDING * np.abs(ours).max())


def test_the_random_layouts_are_of_all_kinds():
    """Text after FAST and before it, a continuous state, causal and bidirectional images and actions."""
    layouts = LAYOUTS[len(PRESETS) :]
    assert {layout.opens_with_fast for layout in layouts} == {True, False}
    assert {bool(layout.after_fast) for layout in layouts} == {True, False}
    assert any(layout.state_form == "token" for layout in layouts)
    for kind in ("images", "actions"):
        assert {layout.find(kind).attends for layout in layouts} == {"bidirectional", "causal"}


def test_the_backbones_output_does_depend_on_fast_tokens():
    """So that the tests above do not pass for want of any effect."""
    layout = PRESETS["images-prompt-fast"]
    config = config_of(layout)
    definition, params = random_model(config, layout=layout)
    batch = random_batch(config, lengths_of(layout), layout=layout)
    seen = batch.observation
    others = np.where(seen.token_loss_mask, (seen.tokenized_prompt + 7) % config.vocab, seen.tokenized_prompt)
    changed = with_text(batch, tokenized_prompt=others)
    draw = random_draw(batch)
    compiled = compile_quickly(pass_of(definition), params, seen, *draw)
    moved = np.asarray(compiled(params, seen, *draw)[1] != compiled(params, changed.observation, *draw)[1]).any(-1)
    images = config.size.vision.tokens
    np.testing.assert_array_equal(moved[:, images:] & seen.tokenized_prompt_mask, seen.token_loss_mask)
    assert not moved[:, :images][seen.image_masks["base_0_rgb"]].any()
