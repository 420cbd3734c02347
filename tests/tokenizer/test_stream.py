"""Coefficients to symbols and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastki.errors import UsageError
from fastki.tokenizer.ragged import Ragged
from fastki.tokenizer.stream import MAX_COEFFICIENT, Alphabet, read_stream, write_stream

ALPHABET = Alphabet(7)
ESC = ALPHABET.escape


def written(values: list[int]) -> list[int]:
    return write_stream(np.array(values).reshape(1, -1, 1), ALPHABET)[0].tolist()


def read(symbols: list[int], size: int = 4):
    coefficients, _, repairs = read_stream(Ragged.from_list([symbols]), ALPHABET, horizon=size, action_dim=1)
    return coefficients.ravel().tolist(), repairs


def test_worked_examples():
    assert written([5, -7]) == [12, 0]
    assert written([100, 1]) == [ESC, 14, 2, 8]  # 7 · 15 − 5
    assert written([-120]) == [ESC, ESC, 6, 14, 7]  # −225 + 7 · 15 + 0


def test_frequency_major_and_zero_tail_left_out():
    coefficients = np.array([[[1, 2], [3, 0], [0, 0]]])
    assert write_stream(coefficients, ALPHABET)[0].tolist() == [8, 9, 10]
    assert len(write_stream(np.zeros((1, 3, 2), dtype=np.int64), ALPHABET)[0]) == 0


@given(
    st.lists(st.integers(-MAX_COEFFICIENT, MAX_COEFFICIENT) | st.integers(-20, 20), min_size=1, max_size=40),
    st.sampled_from([7, 8, 31, 500, 8192]),
)
def test_any_coefficients_come_back(values, literals):
    alphabet = Alphabet(literals)
    coefficients = np.array(values, dtype=np.int64).reshape(1, -1, 1)
    symbols = write_stream(coefficients, alphabet)
    assert symbols.values.size == 0 or 0 <= symbols.values.min() <= symbols.values.max() < alphabet.size
    back, _, repairs = read_stream(symbols, alphabet, horizon=len(values), action_dim=1)
    np.testing.assert_array_equal(back, coefficients)
    assert repairs.total.tolist() == [0]


def test_short_streams_are_completed_with_zeros_and_need_no_repair():
    values, repairs = read([8, 9])
    assert values == [1, 2, 0, 0]
    assert repairs.total.tolist() == [0]


def test_every_repair_is_counted_and_named():
    values, repairs = read([8] * 6)
    assert (values, repairs.extra.tolist()) == ([1] * 4, [2])
    assert repairs.describe(0) == "2 extra symbols cut"
    values, repairs = read([ESC, 9])
    assert (values, repairs.unfinished.tolist()) == ([0] * 4, [1])
    values, repairs = read([ESC, ESC, 8, ESC, 7, 7, 8])
    assert (values, repairs.misplaced.tolist()) == ([225, 1, 0, 0], [1])
    assert "misplaced" in repairs.describe(0)
    values, repairs = read([ESC] * 40 + [7] * 40)
    assert repairs.misplaced.tolist() == [40 - ALPHABET.max_escapes]


@given(st.lists(st.integers(0, ALPHABET.size - 1), max_size=60))
@settings(max_examples=200)
def test_any_stream_reads_as_coefficients_that_can_be_written(symbols):
    values, _ = read(symbols, size=9)
    again, repairs = read(written(values), size=9)
    assert again == values
    assert repairs.total.tolist() == [0]


def test_alphabet_bounds_and_names():
    with pytest.raises(UsageError, match="literals"):
        Alphabet(6)
    assert [ALPHABET.name(symbol) for symbol in (0, 7, 14, 15)] == ["-7", "0", "7", "ESC"]
