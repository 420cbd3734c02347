"""Masks, positions, flags and weights: by hand, against openpi's, and KI's two rules over random layouts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastki.errors import UsageError
from fastki.sequence.batch import pad_and_mask
from fastki.sequence.layout import PRESETS, Layout, Segment
from fastki.sequence.masks import (
    ar_flags,
    attention_mask,
    loss_weights,
    make_attention,
    places,
    places_of_text,
    positions,
)

# Rows are queries; two image tokens, then as the names say, two actions last. Written by hand.
BY_HAND = {
    "images-prompt-fast": (  # i i p p f f a a
        (2, 2, 2, 2),
        """
        1 1 1 1 0 0 0 0
        1 1 1 1 0 0 0 0
        1 1 1 1 0 0 0 0
        1 1 1 1 0 0 0 0
        1 1 1 1 1 0 0 0
        1 1 1 1 1 1 0 0
        1 1 1 1 0 0 1 1
        1 1 1 1 0 0 1 1
        """,
    ),
    "images-fast": (  # i i f f a a
        (2, 2, 2),
        """
        1 1 0 0 0 0
        1 1 0 0 0 0
        1 1 1 0 0 0
        1 1 1 1 0 0
        1 1 0 0 1 1
        1 1 0 0 1 1
        """,
    ),
    "images-fast-prompt": (  # i i f f p p a a: the prompt sees FAST, so the expert sees neither
        (2, 2, 2, 2),
        """
        1 1 0 0 0 0 0 0
        1 1 0 0 0 0 0 0
        1 1 1 0 0 0 0 0
        1 1 1 1 0 0 0 0
        1 1 1 1 1 1 0 0
        1 1 1 1 1 1 0 0
        1 1 0 0 0 0 1 1
        1 1 0 0 0 0 1 1
        """,
    ),
    "images-prompt-state-fast": (  # i i p p s s f f a a: the state is a block of its own
        (2, 2, 2, 2, 2),
        """
        1 1 1 1 0 0 0 0 0 0
        1 1 1 1 0 0 0 0 0 0
        1 1 1 1 0 0 0 0 0 0
        1 1 1 1 0 0 0 0 0 0
        1 1 1 1 1 1 0 0 0 0
        1 1 1 1 1 1 0 0 0 0
        1 1 1 1 1 1 1 0 0 0
        1 1 1 1 1 1 1 1 0 0
        1 1 1 1 1 1 0 0 1 1
        1 1 1 1 1 1 0 0 1 1
        """,
    ),
    "images-prompt-state-token-fast": (  # i i p p s f f a a
        (2, 2, 1, 2, 2),
        """
        1 1 1 1 1 0 0 0 0
        1 1 1 1 1 0 0 0 0
        1 1 1 1 1 0 0 0 0
        1 1 1 1 1 0 0 0 0
        1 1 1 1 1 0 0 0 0
        1 1 1 1 1 1 0 0 0
        1 1 1 1 1 1 1 0 0
        1 1 1 1 1 0 0 1 1
        1 1 1 1 1 0 0 1 1
        """,
    ),
    "images-causal-prompt-fast": (  # i i p p f f a a
        (2, 2, 2, 2),
        """
        1 1 0 0 0 0 0 0
        1 1 0 0 0 0 0 0
        1 1 1 0 0 0 0 0
        1 1 1 1 0 0 0 0
        1 1 1 1 1 0 0 0
        1 1 1 1 1 1 0 0
        1 1 1 1 0 0 1 1
        1 1 1 1 0 0 1 1
        """,
    ),
}


def test_every_preset_is_written_by_hand():
    assert set(BY_HAND) == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_the_mask_of_a_preset_is_the_one_written_by_hand(name):
    lengths, text = BY_HAND[name]
    expected = np.array([row.split() for row in text.strip().splitlines()], int)
    np.testing.assert_array_equal(attention_mask(PRESETS[name], lengths).astype(int), expected)


def test_padding_neither_sees_nor_is_seen_and_takes_no_position():
    layout = PRESETS["images-prompt-fast"]
    valid = np.array([True, False, True, True, True, False, True, True])
    mask = attention_mask(layout, (2, 2, 2, 2), valid)
    assert not mask[[1, 5]].any()
    assert not mask[:, [1, 5]].any()
    assert positions(layout, (2, 2, 2, 2), valid).tolist() == [0, 0, 1, 2, 3, 3, 3, 4]
    whole = attention_mask(layout, (2, 2, 2, 2))
    np.testing.assert_array_equal(mask[np.ix_(valid, valid)], whole[np.ix_(valid, valid)])


@pytest.mark.parametrize("case", ["causal", "prefix_lm", "blocks", "padded", "padded_mid_causal"])
def test_openpis_masks_are_reproduced(shared, case):
    units = np.load(shared / "golden" / "openpi" / "units" / "units.npz")
    flags, valid = units[f"attn_mask/{case}/mask_ar"], units[f"attn_mask/{case}/input_mask"]
    np.testing.assert_array_equal(make_attention(valid, flags), units[f"attn_mask/{case}/out"])


@pytest.mark.parametrize(
    ("case", "layout", "lengths"),
    [
        ("causal", Layout("fast", (Segment("fast", "causal", "tokens"),)), (6,)),
        ("prefix_lm", PRESETS["images-fast"], (3, 3, 0)),
        ("padded", Layout("flow", (Segment("images"), Segment("actions", loss="flow"))), (4, 3)),
        ("padded_mid_causal", PRESETS["images-prompt-fast"], (1, 1, 4, 0)),
    ],
)
def test_layouts_give_openpis_masks(shared, case, layout, lengths):
    units = np.load(shared / "golden" / "openpi" / "units" / "units.npz")
    valid = units[f"attn_mask/{case}/input_mask"]
    np.testing.assert_array_equal(attention_mask(layout, lengths, valid), units[f"attn_mask/{case}/out"])
    np.testing.assert_array_equal(ar_flags(layout, lengths), units[f"attn_mask/{case}/mask_ar"])


@pytest.mark.parametrize("set_name", ["pi05_sym", "pi05_asym"])
def test_the_sequence_of_pi05_has_openpis_mask_and_positions(shared, set_name):
    inputs = np.load(shared / "golden" / "openpi" / set_name / "inputs.npz")
    outputs = np.load(shared / "golden" / "openpi" / set_name / "outputs_float32.npz")
    slots = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
    images = np.repeat(np.stack([inputs[f"image_mask/{slot}"] for slot in slots], axis=1), 256, axis=1)
    text = inputs["tokenized_prompt_mask"]
    where = places_of_text(
        PRESETS["images-prompt-fast"],
        image_valid=images,
        text_valid=text,
        text_flags=np.zeros(text.shape, np.int32),
        text_loss=np.zeros(text.shape, bool),
        horizon=inputs["actions"].shape[1],
    )
    np.testing.assert_array_equal(where.attention(), outputs["attn_mask"])
    np.testing.assert_array_equal(where.positions(), outputs["positions"])


def test_loss_weights_sum_to_one_and_padding_never_counts():
    layout = PRESETS["images-prompt-fast"]
    valid = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 1, 1]], bool)
    weights = loss_weights(layout, (1, 1, 3, 2), valid)
    expected = [[0, 0, 1 / 3, 1 / 3, 1 / 3, 0.5, 0.5], [0, 0, 1, 0, 0, 0.5, 0.5]]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    opened = loss_weights(PRESETS["images-fast"], (1, 3, 2), opening=1)
    np.testing.assert_allclose(opened, [0, 0, 0.5, 0.5, 0.5, 0.5])
    none = loss_weights(layout, (1, 1, 3, 2), np.zeros(7, bool))
    assert none.tolist() == [0] * 7


def test_lengths_must_fit():
    with pytest.raises(UsageError, match="4 segments"):
        attention_mask(PRESETS["images-prompt-fast"], (1, 2, 3))
    with pytest.raises(UsageError, match="6 tokens in all"):
        attention_mask(PRESETS["images-fast"], (1, 2, 3), np.ones(5, bool))


@st.composite
def layouts(draw) -> Layout:
    """Any layout at all that has FAST and actions."""
    bool_ = st.booleans()
    attends = st.sampled_from(["bidirectional", "causal"])
    form = draw(st.sampled_from(["prompt", "text", "token", "none"]))
    text = [Segment("fast", "causal", "tokens")]
    if draw(bool_) or form == "prompt":
        state = "text" if form == "prompt" else "none"
        text.append(Segment("prompt", draw(attends), state=state, own_block=draw(bool_)))
    if form in ("text", "token"):
        text.append(Segment("state", draw(attends), state=form, own_block=draw(bool_)))
    text = list(draw(st.permutations(text)))
    images = [Segment("images", draw(attends))] if draw(bool_) else []
    return Layout("random", (*images, *text, Segment("actions", draw(attends), "flow")))


@st.composite
def sequences(draw) -> tuple[Layout, tuple[int, ...], np.ndarray]:
    """A layout, lengths of its segments, and any padding."""
    layout = draw(layouts())
    lengths = tuple(draw(st.integers(0, 4)) for _ in layout.segments)
    valid = draw(st.lists(st.booleans(), min_size=sum(lengths), max_size=sum(lengths)))
    return layout, lengths, np.array(valid, bool)


def _kinds(layout: Layout, lengths: tuple[int, ...]) -> np.ndarray:
    return np.repeat(np.array(layout.kinds), lengths)


@given(sequences())
def test_the_expert_and_fast_never_see_each_other_not_even_through_others(sequence):
    layout, lengths, valid = sequence
    mask = attention_mask(layout, lengths, valid)
    kinds = _kinds(layout, lengths)
    expert, fast = kinds == "actions", kinds == "fast"
    reach = mask.copy()
    for _ in range(len(kinds).bit_length()):  # After as many layers as there are tokens.
        reach |= (reach.astype(int) @ reach.astype(int)) > 0
    assert not reach[np.ix_(expert, fast)].any()
    assert not reach[np.ix_(~expert, expert)].any()


@given(sequences())
def test_the_expert_is_as_though_fast_were_absent(sequence):
    layout, lengths, valid = sequence
    kinds = _kinds(layout, lengths)
    stay = kinds != "fast"
    fast = layout.kinds.index("fast")
    short, rest = layout.without_fast(), lengths[:fast] + lengths[fast + 1 :]
    expert = kinds == "actions"
    np.testing.assert_array_equal(
        positions(layout, lengths, valid)[expert], positions(short, rest, valid[stay])[expert[stay]]
    )
    # What it sees is unchanged too, but for what stands after FAST, which it never sees.
    mask = attention_mask(layout, lengths, valid)[expert][:, stay]
    alone = attention_mask(short, rest, valid[stay])[expert[stay]]
    hidden = np.isin(kinds[stay], layout.after_fast)
    np.testing.assert_array_equal(mask, alone & ~hidden)


@given(sequences())
def test_no_token_sees_a_later_segment_and_causal_ones_see_nothing_ahead(sequence):
    layout, lengths, valid = sequence
    mask = attention_mask(layout, lengths, valid)
    segment = np.repeat(np.arange(len(lengths)), lengths)
    causal = np.array([one.causal for one in layout.segments])[segment]
    ahead = np.triu(np.ones(mask.shape, bool), 1)
    assert not mask[causal][ahead[causal]].any()
    crossing = mask & (segment[None, :] > segment[:, None])
    joined = ~causal[:, None] & ~causal[None, :]
    assert not (crossing & ~joined).any()
    assert (mask.diagonal() == valid).all()


@given(sequences())
def test_openpis_flags_give_the_same_mask_but_for_the_two_rules(sequence):
    layout, lengths, valid = sequence
    where = places(layout, lengths, valid)
    apart = where.expert[:, None] & where.tainted[None, :]
    plain = make_attention(valid, ar_flags(layout, lengths))
    np.testing.assert_array_equal(where.attention(), plain & ~apart & ~apart.T)


@given(sequences(), st.integers(0, 3))
def test_a_batchs_fields_give_the_same_mask_and_positions(sequence, padding):
    layout, lengths, _ = sequence
    count = dict(zip(layout.kinds, lengths, strict=True))
    text_lengths = np.array([[count[segment.kind] for segment in layout.text]])
    size = int(text_lengths.sum())
    opening = 1 if layout.opens_with_fast and count["fast"] else 0
    if count["fast"] - opening < 1:
        return  # A batch has a token of FAST to learn in every example.
    text = pad_and_mask(layout, np.arange(size), text_lengths, max_token_len=size + padding, opening=opening)
    where = places_of_text(
        layout,
        image_valid=np.ones((1, count.get("images", 0)), bool),
        text_valid=text.tokenized_prompt_mask,
        text_flags=text.token_ar_mask,
        text_loss=text.token_loss_mask,
        horizon=count["actions"],
    )
    real = where.valid[0]
    np.testing.assert_array_equal(where.attention()[0][np.ix_(real, real)], attention_mask(layout, lengths))
    np.testing.assert_array_equal(where.positions()[0][real], positions(layout, lengths))


def test_jax_gives_the_same_inside_jit():
    jax = pytest.importorskip("jax")
    layout = PRESETS["images-prompt-state-fast"]
    text = pad_and_mask(layout, np.arange(9), np.array([[2, 1, 2], [1, 1, 2]]), max_token_len=6)
    fields = {
        "image_valid": np.array([[True, True], [True, False]]),
        "text_valid": text.tokenized_prompt_mask,
        "text_flags": text.token_ar_mask,
        "text_loss": text.token_loss_mask,
    }

    @jax.jit
    def traced(**arrays):
        where = places_of_text(layout, **arrays, horizon=3, xp=jax.numpy)
        return where.attention(), where.positions(jax.numpy)

    with jax.numpy_dtype_promotion("strict"):
        mask, place = traced(**fields)
    expected = places_of_text(layout, **fields, horizon=3)
    np.testing.assert_array_equal(mask, expected.attention())
    np.testing.assert_array_equal(place, expected.positions())
