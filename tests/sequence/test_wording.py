"""What each segment of a layout says."""

from __future__ import annotations

import numpy as np
import pytest

from fastki.errors import DataError, TokenizerError, UsageError
from fastki.sequence.batch import STATE_TOKEN
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import PRESETS, Layout, Segment
from fastki.sequence.prompts import pi05_prefix
from fastki.sequence.text import ByteTokenizer
from fastki.sequence.wording import Wording

TEXT = ByteTokenizer()
IDS = FastIds.onto(TEXT, 1024)
STATE = np.array([[-1.0, 0.25, 1.5]])
PROMPT = " Pick_up the\ncup "
FAST = [np.array([5, 0, 1023])]


def said(name_or_layout, fast=FAST):
    """The ids of one example, cut into its segments."""
    layout = PRESETS.get(name_or_layout, name_or_layout)
    ids, lengths = Wording(layout, TEXT, IDS).encode([PROMPT], STATE, fast)
    return [part.tolist() for part in np.split(ids, np.cumsum(lengths[0])[:-1])]


def text_of(ids):
    return TEXT.decode([index for index in ids if index >= 0])


TAIL = [*IDS.to_text([5, 0, 1023]).tolist(), *TEXT.encode("|"), TEXT.eos_id]


def test_pi05s_text_is_openpis_then_fast_a_bar_and_the_end():
    prompt, fast = said("images-prompt-fast")
    assert prompt == TEXT.encode(pi05_prefix(PROMPT, STATE[0]), add_bos=True)
    assert fast == TAIL


def test_pieces_put_together_read_the_same():
    prompt, state, fast = said("images-prompt-state-fast")
    assert text_of(prompt) == "Task: Pick up the cup"
    assert text_of(state) == ", State: 0 160 255;\nAction: "
    assert prompt + state == TEXT.encode(pi05_prefix(PROMPT, STATE[0]), add_bos=True)
    assert fast == TAIL


def test_a_continuous_state_is_one_token_and_not_in_the_text():
    prompt, state, fast = said("images-prompt-state-token-fast")
    assert prompt == TEXT.encode(pi05_prefix(PROMPT, None), add_bos=True)
    assert (state, fast) == ([STATE_TOKEN], TAIL)


def test_where_fast_comes_first_it_brings_a_beginning_that_is_not_predicted():
    fast, prompt = said("images-fast-prompt")
    head = TEXT.encode("Action: ", add_bos=True)
    assert fast == head + TAIL
    assert text_of(prompt) == "Task: Pick up the cup, State: 0 160 255;\n"
    assert Wording(PRESETS["images-fast-prompt"], TEXT, IDS).opening == len(head)
    assert said("images-fast") == [head + TAIL]
    assert Wording(PRESETS["images-prompt-fast"], TEXT, IDS).opening == 0


def test_the_state_may_come_before_the_prompt():
    layout = Layout("mine", (Segment("state", state="text"), Segment("prompt"), Segment("fast", "causal", "tokens")))
    state, prompt, _ = said(layout)
    assert text_of(state + prompt) == "State: 0 160 255, Task: Pick up the cup;\nAction: "
    assert state[0] == TEXT.bos_id
    assert TEXT.bos_id not in prompt


def test_at_inference_fast_is_left_out():
    assert said("images-prompt-fast", None)[1] == []
    assert text_of(said("images-fast", None)[0]) == "Action: "


def test_many_examples_end_to_end():
    wording = Wording(PRESETS["images-prompt-fast"], TEXT, IDS)
    fast = [np.array([1]), np.array([], np.int32), np.array([2, 3])]
    states = np.zeros((3, 2))
    ids, lengths = wording.encode(["a", "bb", "a"], states, fast)
    assert lengths[:, 1].tolist() == [3, 2, 4]
    one_by_one = [wording.encode([p], states[:1], [f])[0] for p, f in zip(["a", "bb", "a"], fast, strict=True)]
    np.testing.assert_array_equal(ids, np.concatenate(one_by_one))
    ids, lengths = wording.encode([], np.zeros((0, 2)), [])
    assert (ids.shape, lengths.shape) == ((0,), (0, 2))


def test_what_is_missing_or_wrong_is_said():
    with pytest.raises(UsageError, match="--state-key"):
        Wording(PRESETS["images-prompt-fast"], TEXT, IDS).encode(["a"], None, FAST)
    with pytest.raises(UsageError, match="FastIds"):
        Wording(PRESETS["images-fast"], TEXT)
    with pytest.raises(DataError, match="nan"):
        Wording(PRESETS["images-prompt-fast"], TEXT, IDS).encode(["a"], np.array([[np.nan]]), FAST)
    with pytest.raises(TokenizerError, match="1024"):
        said("images-fast", [np.array([1024])])
    flow = Layout("flow", (Segment("images"), Segment("prompt", state="text"), Segment("actions", loss="flow")))
    ids, _ = Wording(flow, TEXT).encode(["a"], STATE, None)
    assert text_of(ids.tolist()) == pi05_prefix("a", STATE[0])
