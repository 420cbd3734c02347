"""FAST ids among the text's: a bijection, and none that the text needs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastki.errors import TokenizerError, UsageError
from fastki.sequence.ids import FastIds
from fastki.sequence.pieces import ordinary_ids, phrase_ids
from fastki.sequence.text import ByteTokenizer


@dataclasses.dataclass(frozen=True)
class Uses(ByteTokenizer):
    """A byte tokenizer that has other ids in use."""

    used: tuple[int, ...] = ()

    @property
    def ordinary_ids(self):
        return np.array(self.used, dtype=np.int64)


@st.composite
def mappings(draw) -> FastIds:
    fast, skip, below = draw(st.integers(1, 5000)), draw(st.integers(0, 300)), draw(st.integers(0, 300_000))
    return FastIds(fast + skip + below, fast, skip)


@given(mappings())
def test_the_mapping_is_a_bijection_onto_the_ids_below_the_skipped_ones(ids):
    fast = np.arange(ids.fast_vocab)
    text = ids.to_text(fast)
    assert text.dtype == np.int32
    top = ids.text_vocab - 1 - ids.skip
    assert text.tolist() == list(range(top, top - ids.fast_vocab, -1))
    np.testing.assert_array_equal(ids.to_fast(text), fast)
    assert ids.holds(np.arange(ids.text_vocab)).sum() == ids.fast_vocab


@given(mappings(), st.data())
def test_ids_outside_are_an_error_or_left_out_by_choice(ids, data):
    outside = data.draw(st.sampled_from([ids.lowest - 1, ids.highest + 1, -1, 2**40, -(2**40)]))
    text = [int(ids.to_text(0)), outside, int(ids.to_text(ids.fast_vocab - 1))]
    with pytest.raises(TokenizerError, match=rf"^id {outside} at position 1 is outside [^\n]+$"):
        ids.to_fast(text)
    assert ids.to_fast(text, on_unknown="skip").tolist() == [0, ids.fast_vocab - 1]
    for wrong in (-1, ids.fast_vocab):
        with pytest.raises(TokenizerError, match=rf"^id {wrong} at position 0 is outside FAST's vocabulary"):
            ids.to_text([wrong])


def test_arrays_keep_their_shape_and_any_integer_type_will_do():
    ids = FastIds(257_152, 2048)
    batch = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert ids.to_text(batch).tolist() == [[257023, 257022, 257021], [257020, 257019, 257018]]
    assert ids.to_fast(ids.to_text(batch).astype(np.uint64)).tolist() == batch.tolist()
    assert ids.to_text([]).dtype == ids.to_fast([]).dtype == np.int32
    for wrong in ([0.0], ["a"], [True]):
        with pytest.raises(UsageError, match="integers"):
            ids.to_text(wrong)


@pytest.mark.parametrize(
    ("numbers", "word"),
    [
        ((1000, 0, 0), "at least 1"),
        ((1000, 10, -1), "0 or more"),
        ((2175, 2048, 128), "at least 2,176"),
        ((2**31, 2048, 128), "int32"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_with_those_that_do(numbers, word):
    with pytest.raises(UsageError, match=rf"^[^\n]*{word}[^\n]*$"):
        FastIds(*numbers)
    FastIds(2176, 2048, 128)


def test_a_byte_vocabulary_has_room_above_its_bytes_and_no_more():
    assert FastIds.onto(ByteTokenizer(), 2048).lowest >= 259
    exact = FastIds.onto(ByteTokenizer(259 + 128 + 1000), 1000)
    assert exact.lowest == 259
    with pytest.raises(
        UsageError, match=r"byte:1387 uses 258 of them for ordinary text \(1\): .*at most 1,000, .*1,388"
    ):
        FastIds.onto(ByteTokenizer(1387), 1001)


def test_the_mends_of_an_overlap_all_work():
    tokenizer = Uses(1000, used=(0, 1, 2, 3, 700))
    with pytest.raises(UsageError) as refusal:
        FastIds.onto(tokenizer, 200)
    assert str(refusal.value) == (
        "200 FAST ids would take text ids 672–871, and byte:1000 uses 700 of them for ordinary text (1): use a FAST "
        "vocabulary of at most 171, a text vocabulary of at least 1,029 (byte:1029), skip 0 instead of 128, or "
        "allow_overlap=True in Python"
    )
    assert FastIds.onto(tokenizer, 171).lowest == 701
    assert FastIds.onto(tokenizer, 200, text_vocab=1029).lowest == 701
    assert FastIds.onto(tokenizer, 200, skip=0).lowest == 800
    allowed = FastIds.onto(tokenizer, 200, allow_overlap=True)
    assert allowed.overlap(tokenizer).tolist() == [700]


def test_fewer_or_more_ids_may_have_to_be_skipped():
    with pytest.raises(UsageError, match="skip 300 instead of 128"):
        FastIds.onto(Uses(1000, used=(700, 900)), 200)
    assert FastIds.onto(Uses(1000, used=(700, 900)), 200, skip=300).highest == 699
    with pytest.raises(UsageError, match=r"at least 1,229 \(byte:1229\), or allow_overlap"):
        FastIds.onto(Uses(1000, used=(100, 300, 500, 700, 900)), 200)


@given(st.integers(259, 2000), st.sets(st.integers(0, 1999)), st.integers(1, 500), st.integers(0, 200))
def test_a_refusal_never_names_a_mend_that_fails_and_names_every_id(size, used, fast, skip):
    tokenizer = Uses(size, used=tuple(sorted(index for index in used if index < size)))
    if fast + skip > size:
        return
    taken = set(tokenizer.used) & set(range(size - skip - fast, size - skip))
    try:
        FastIds.onto(tokenizer, fast, skip=skip)
        assert not taken
    except UsageError as refusal:
        words = str(refusal).replace(",", "").split()
        assert f"({len(taken)}):" in words
        if "most" in words:
            FastIds.onto(tokenizer, int(words[words.index("most") + 1]), skip=skip)
        FastIds.onto(tokenizer, fast, skip=skip, text_vocab=int(words[words.index("least") + 1]))
        if "skip" in words:
            FastIds.onto(tokenizer, fast, skip=int(words[words.index("skip") + 1]))


def test_a_vocabulary_without_room_is_refused_with_the_size_that_has_it():
    with pytest.raises(UsageError, match=r"^2,048 FAST ids [^\n]* at least 2,435 \(byte:2435\), or fewer FAST ids$"):
        FastIds.onto(ByteTokenizer(1024), 2048)
    assert FastIds.onto(ByteTokenizer(2435), 2048).lowest == 259


def test_a_table_too_small_for_the_tokenizer_is_refused():
    with pytest.raises(UsageError, match="below the 2,560"):
        FastIds.onto(ByteTokenizer(), 100, text_vocab=2559)


def test_the_table_has_every_id_of_the_vocabulary_once():
    ids = FastIds(1000, 200)
    rows = ids.rows()
    assert [(row.what, row.first, row.last, row.count) for row in rows] == [
        ("skipped", 872, 999, 128),
        ("FAST", 672, 871, 200),
        ("text", 0, 671, 672),
    ]
    assert (rows[1].fast_first, rows[1].fast_last) == (199, 0)
    assert [row.what for row in FastIds(200, 200, 0).rows()] == ["FAST"]


def test_the_table_says_where_fast_stands_over_text():
    (row,) = [row for row in FastIds(1000, 200).rows(Uses(1000, used=(5, 700, 702))) if "over" in row.what]
    assert (row.what, row.first, row.last) == ("FAST over ordinary text (2 ids)", 700, 702)
    assert (row.fast_first, row.fast_last) == (171, 169)


def test_markers_controls_and_the_rarest_characters_are_not_ordinary():
    pieces = [
        "<pad>",
        "the",
        "<0x41>",
        "<loc0012>",
        "<|unused7|>",
        "<image>",
        "<b",
        None,
        *["w"] * 592,
        *"é∂",
        "z",
        "\x01",
    ]
    ids = ordinary_ids(pieces, declared=[1, 5], controls=[0], used=[])
    assert [i for i in range(len(pieces)) if i not in ids] == [0, 3, 4, 5, 7, len(pieces) - 1]
    # Of 600 ordinary pieces the last three are looked at: z is printable ASCII.
    longer = ordinary_ids([*pieces[1:3], *pieces[8:600], *"αβγ", "<seg000>", *"δεζ"], used=[0, 597])
    assert longer.tolist() == [*range(597), 597]


def test_ids_are_phrased_as_runs():
    assert phrase_ids(np.array([7])) == "7"
    assert phrase_ids(np.array([1, 3, 4, 6, 8, 9])) == "1, 3–4, 6 and 1 more runs up to 9"
