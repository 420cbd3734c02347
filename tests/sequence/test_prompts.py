"""The strings and ids that openpi gives to its models, case by case, and the states that no bin is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastki.errors import DataError, UsageError
from fastki.sequence.ids import FastIds
from fastki.sequence.prompts import (
    FAST_END,
    FAST_START,
    PI0_END,
    clean_prompt,
    pi0_fast_prefix,
    pi05_prefix,
    state_bins,
    state_text,
)
from fastki.sequence.text import ByteTokenizer

FAST = [5, 0, 7, 1023]  # What the recorded cases have for actions.


class StandIn:
    """The tokenizer of the recorded cases: id 3 + byte, beginning 2, end 1."""

    def encode(self, text: str, add_bos: bool, add_eos: bool) -> list[int]:
        return [2] * add_bos + [3 + byte for byte in text.encode()] + [1] * add_eos


@pytest.fixture(scope="module")
def records(shared: Path) -> list[dict[str, Any]]:
    path = shared / "golden" / "openpi" / "transforms" / "tokenizer_strings.json"
    return json.loads(path.read_text())["records"]


def of(records: list[dict[str, Any]], word: str) -> list[dict[str, Any]]:
    found = [record for record in records if word in record["tokenizer"]]
    assert found
    return found


def ids_of(record: dict[str, Any]) -> list[int]:
    """The recorded ids without their padding."""
    return [index for index, valid in zip(record["ids"], record["mask"], strict=True) if valid]


def calls(*texts: str, eos: bool = False) -> list[dict[str, Any]]:
    """As the records write what the tokenizer was asked: the beginning before the first text only."""
    last = len(texts) - 1
    return [{"text": text, "add_bos": i == 0, "add_eos": eos and i == last} for i, text in enumerate(texts)]


def test_every_recorded_case_is_of_a_kind_that_is_looked_at(records):
    kinds = ("(pi05)", "(pi0, no state)", "FASTTokenizer", "(pi05) truncation")
    assert {record["tokenizer"] for record in records} == {
        record["tokenizer"] for word in kinds for record in of(records, word)
    }


def test_pi05_writes_openpis_strings(records):
    for record in of(records, "(pi05)"):
        state = np.array(record["state"], dtype=record.get("state_dtype", "float64"))
        text = pi05_prefix(record["prompt"], state)
        assert calls(text) == record["encode_calls"]
        ids = StandIn().encode(text, True, False)
        assert ByteTokenizer().encode(text, add_bos=True) == ids
        if "bins" in record:
            assert state_bins(state).tolist() == record["bins"]
            assert (len(ids), record["len_ids"]) == (record["n_mask"], 96)
        else:
            assert ids[: len(record["ids"])] == record["ids"], "cut to eight"
            assert all(record["mask"])


def test_pi0_writes_openpis_strings_and_ids(records):
    for record in of(records, "(pi0, no state)"):
        texts = clean_prompt(record["prompt"]), PI0_END
        assert calls(*texts) == record["encode_calls"]
        ids = [index for call in calls(*texts) for index in StandIn().encode(**call)]
        assert ids == ids_of(record)
        tokenizer = ByteTokenizer()
        assert [*tokenizer.encode(texts[0], add_bos=True), *tokenizer.encode(texts[1])] == ids
        assert tokenizer.pad_id == record["ids"][-1]


def test_pi0_fast_writes_openpis_strings_ids_and_masks(records):
    tokenizer = ByteTokenizer(257_152)
    fast = FastIds(tokenizer.vocab_size, 2048).to_text(FAST).tolist()
    for record in of(records, "FASTTokenizer"):
        prefix = pi0_fast_prefix(record["prompt"], np.array(record["state"]))
        texts = (prefix, FAST_START, FAST_END) if record["actions"] else (prefix,)
        assert calls(*texts, eos=record["actions"]) == record["encode_calls"]
        first = tokenizer.encode(prefix, add_bos=True)
        rest = [*tokenizer.encode(FAST_START), *fast, *tokenizer.encode(FAST_END), tokenizer.eos_id]
        rest = rest if record["actions"] else []
        padding = record["mask"].count(False)
        assert [*first, *rest, *[tokenizer.pad_id] * padding] == record["ids"]
        causal = [0] * len(first) + [1] * len(rest) + [0] * padding
        assert (record["ar_mask"], record["loss_mask"]) == (causal, [bool(flag) for flag in causal])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bins_have_their_lower_edge(dtype):
    edges = np.linspace(-1, 1, 257)[:-1].astype(dtype)
    assert state_bins(edges).tolist() == list(range(256))
    assert state_bins(np.nextafter(edges, dtype(-2))).tolist() == list(range(-1, 255))


def test_float32_may_fall_on_an_edge_that_float64_is_below():
    state = np.array([-0.99218750001])
    assert (state_bins(state).item(), state_bins(state.astype(np.float32)).item()) == (0, 1)


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3), elements=st.floats(-3, 3)))
def test_bins_are_those_of_digitize(state):
    wanted = np.digitize(state, np.linspace(-1, 1, 257)[:-1]) - 1
    np.testing.assert_array_equal(state_bins(state), wanted)


def test_a_state_without_dimensions_is_written_as_openpi_does_and_no_state_leaves_it_out():
    assert pi05_prefix("Do_X\n", np.array([])) == "Task: Do X, State: ;\nAction: "
    assert pi05_prefix("Do_X\n", None) == "Task: Do X;\nAction: "
    assert pi0_fast_prefix("Do_X\n", None) == "Task: do x;\n"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_state_that_is_not_finite_is_refused_by_its_dimension(bad):
    with pytest.raises(DataError, match=r"^the state's dimension 1 is -?(nan|inf): [^\n]+$"):
        pi05_prefix("x", np.array([0.0, bad]))
    with pytest.raises(DataError, match="dimension 1 "):
        state_bins([[0.0, 0.0], [0.0, bad]])


def test_a_state_of_another_shape_or_of_no_numbers_is_refused():
    with pytest.raises(UsageError, match=r"shape \[S\], not \[1, 2\]"):
        state_text([[0.0, 1.0]])
    with pytest.raises(UsageError, match="numbers"):
        state_text(["a"])
