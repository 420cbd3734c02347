"""Text padded to one length: what is masked, what carries loss, what happens when it does not fit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastki.errors import UsageError
from fastki.sequence.batch import Batch, Observation, pad_and_mask
from fastki.sequence.layout import PRESETS

PI05 = PRESETS["images-prompt-fast"]


def test_the_fields_are_openpis():
    assert [field.name for field in dataclasses.fields(Observation)] == [
        "images",
        "image_masks",
        "state",
        "tokenized_prompt",
        "tokenized_prompt_mask",
        "token_ar_mask",
        "token_loss_mask",
    ]
    assert [field.name for field in dataclasses.fields(Batch)] == ["observation", "actions", "actions_mask"]


def test_two_examples_by_hand():
    text = pad_and_mask(PI05, np.array([5, 6, 7, 8, 9, 10, 11]), np.array([[2, 2], [1, 2]]), max_token_len=5, pad_id=99)
    assert text.tokenized_prompt.tolist() == [[5, 6, 7, 8, 99], [9, 10, 11, 99, 99]]
    assert text.tokenized_prompt_mask.astype(int).tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]]
    assert text.token_ar_mask.tolist() == [[0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
    assert text.token_loss_mask.astype(int).tolist() == [[0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
    kinds = [text.tokenized_prompt.dtype, text.tokenized_prompt_mask.dtype, text.token_ar_mask.dtype]
    assert kinds == [np.int32, bool, np.int32]
    assert (text.token_loss_mask.dtype, text.fast_lost.tolist(), text.other_lost.tolist()) == (bool, [0, 0], [0, 0])


@pytest.mark.parametrize(
    ("name", "lengths", "opening", "flags", "loss"),
    [
        ("images-fast", [3], 1, [1, 1, 1], [0, 1, 1]),
        ("images-fast-prompt", [3, 2], 1, [1, 1, 1, 1, 0], [0, 1, 1, 0, 0]),
        ("images-prompt-state-fast", [2, 2, 2], 0, [0, 0, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1]),
        ("images-prompt-state-token-fast", [2, 1, 2], 0, [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]),
        ("images-causal-prompt-fast", [2, 2], 0, [1, 1, 1, 1], [0, 0, 1, 1]),
    ],
)
def test_flags_and_loss_of_the_other_presets(name, lengths, opening, flags, loss):
    size = sum(lengths)
    text = pad_and_mask(PRESETS[name], np.arange(size), np.array([lengths]), max_token_len=size, opening=opening)
    assert text.token_ar_mask[0].tolist() == flags
    assert text.token_loss_mask[0].astype(int).tolist() == loss


def test_overflow_raises_with_the_length_needed():
    with pytest.raises(UsageError, match=r"example 1 has 9 text tokens and max_token_len is 8: .*--max-token-len 9"):
        pad_and_mask(PI05, np.arange(15), np.array([[3, 3], [4, 5]]), max_token_len=8)


def test_truncation_cuts_the_end_and_counts_what_is_lost():
    text = pad_and_mask(PI05, np.arange(15), np.array([[3, 3], [4, 5]]), max_token_len=5, truncate=True)
    assert text.tokenized_prompt.tolist() == [[0, 1, 2, 3, 4], [6, 7, 8, 9, 10]]
    assert (text.fast_lost.tolist(), text.other_lost.tolist()) == ([1, 4], [0, 0])
    late = pad_and_mask(PRESETS["images-fast-prompt"], np.arange(6), np.array([[3, 3]]), max_token_len=2, truncate=True)
    assert (late.fast_lost.tolist(), late.other_lost.tolist()) == ([1], [3])


@pytest.mark.parametrize(
    ("ids", "lengths", "room", "said"),
    [
        (3, [[1, 1]], 5, "3 ids do not fit"),
        (2, [[1, 1, 0]], 5, "has 2 text segments"),
        (2, [1, 1], 5, "has 2 text segments"),
        (2, [[1, 1]], 0, "--max-token-len 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(ids, lengths, room, said):
    with pytest.raises(UsageError, match=said):
        pad_and_mask(PI05, np.arange(ids), np.array(lengths), max_token_len=room)


@given(
    st.sampled_from(sorted(PRESETS)),
    st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=4),
    st.integers(1, 12),
    st.integers(0, 2),
)
def test_padding_never_carries_loss_and_nothing_gets_lost_uncounted(name, lengths, room, opening):
    layout = PRESETS[name]
    counts = np.array(lengths)[:, : len(layout.text)]
    ids = np.arange(1, counts.sum() + 1)
    text = pad_and_mask(layout, ids, counts, max_token_len=room, opening=opening, truncate=True)
    real = text.tokenized_prompt_mask
    assert text.tokenized_prompt.shape == real.shape == (len(counts), room)
    assert not text.token_loss_mask[~real].any()
    assert not text.token_ar_mask[~real].any()
    assert (text.tokenized_prompt[~real] == 0).all()
    np.testing.assert_array_equal(real.sum(axis=1) + text.fast_lost + text.other_lost, counts.sum(axis=1))
    fast = counts[:, [segment.kind for segment in layout.text].index("fast")]
    np.testing.assert_array_equal(text.token_loss_mask.sum(axis=1) + text.fast_lost, np.maximum(fast - opening, 0))
    starts = np.cumsum(counts.sum(axis=1)) - counts.sum(axis=1)
    for row, start, mask in zip(text.tokenized_prompt, starts, real, strict=True):
        np.testing.assert_array_equal(row[mask], ids[start : start + mask.sum()])
