"""The Pareto front and the recommendation, on rows made by hand."""

from __future__ import annotations

import math

import pytest

from fastki.study.grid import SweepOptions
from fastki.study.recommend import describe, pareto_front, recommend
from fastki.study.rows import SweepRow


def row(vocab: int, bins: float, tokens: float, rmse: float, **more) -> SweepRow:
    values = {
        "horizon": 16,
        "order": "freq",
        "tokens_p99": tokens + 10,
        "within_atol": 1.0 if rmse < 0.005 else 0.5,
        "max_abs_error": 5 * rmse,
        "bits_per_chunk": tokens * math.log2(vocab),
        **more,
    }
    return SweepRow("fast", vocab_size=vocab, bins=bins, tokens_mean=tokens, rmse=rmse, **values)


ROWS = [
    row(512, 128, 33.0, 0.004),
    row(1024, 128, 28.0, 0.004),
    row(2048, 128, 27.0, 0.004),
    row(1024, 20, 10.0, 0.02),
    SweepRow("reference", 16, error="fails"),
]


def test_the_front_is_what_no_row_beats():
    assert pareto_front(ROWS) == (2, 3)
    assert pareto_front([*ROWS, row(4096, 128, 27.0, 0.004)]) == (2, 3, 5)  # Equals beat nothing.
    assert pareto_front([*ROWS, row(1024, 40, 90.0, 0.1, horizon=50)]) == (2, 3, 5)
    assert pareto_front([]) == ()


def test_the_fewest_bits_that_keep_the_bound():
    (chosen,) = recommend(ROWS, SweepOptions(atol=0.02))
    assert (chosen.row, chosen.meets) == (1, True)
    assert chosen.text == "V 1,024, 128 bins, 28.0 tokens/chunk; V 2,048 saves 1.0 tokens for 1,024 more embeddings"


def test_at_the_largest_vocabulary_the_smaller_one_is_the_alternative():
    (chosen,) = recommend(ROWS[:2], SweepOptions())
    assert chosen.text.endswith("; V 512 takes 5.0 tokens more and 512 fewer embeddings")


def test_a_budget_asks_for_the_least_error_within_it():
    (chosen,) = recommend(ROWS, SweepOptions(max_tokens=38))
    assert (chosen.row, chosen.meets) == (1, True)
    assert recommend(ROWS, SweepOptions(max_tokens=25))[0].row == 3
    both = recommend(ROWS, SweepOptions(max_tokens=37.5, atol=0.02))[0]
    assert (both.row, both.meets) == (2, True)


def test_what_nothing_meets_is_said_and_the_nearest_named():
    (chosen,) = recommend(ROWS[3:], SweepOptions(atol=0.01))
    assert (chosen.row, chosen.meets) == (0, False)
    assert chosen.text == (
        "no row keeps every value within 0.01; the nearest is V 1,024, 20 bins, 10.0 tokens/chunk, 50.0% of the chunks "
        "within 0.01 (--bins bound adds an encoder that keeps it)"
    )
    (chosen,) = recommend(ROWS, SweepOptions(max_tokens=5))
    assert (chosen.row, chosen.meets) == (3, False)
    assert chosen.text.startswith("no row takes at most 5 tokens on 99 of 100 chunks; the nearest is V 1,024, 20 bins")


def test_each_horizon_has_its_own_and_the_cheapest_an_action_comes_first():
    longer = row(1024, 128, 60.0, 0.004, horizon=50)
    found = recommend([*ROWS, longer], SweepOptions())
    assert [(chosen.horizon, chosen.row) for chosen in found] == [(50, 5), (16, 1)]


def test_fast_is_asked_first_and_others_where_it_is_absent():
    binning = SweepRow(
        "binning", 16, bins=64, vocab_size=64, tokens_mean=2.0, tokens_p99=2.0, rmse=0.001, within_atol=1.0,
        bits_per_chunk=12.0, max_abs_error=0.002,
    )  # fmt: skip
    assert recommend([*ROWS, binning], SweepOptions())[0].row == 1
    (chosen,) = recommend([binning], SweepOptions())
    assert chosen.text == "binning, V 64, 64 bins, 2.0 tokens/chunk"


def test_nothing_to_recommend():
    assert recommend(ROWS[4:], SweepOptions()) == ()


@pytest.mark.parametrize(
    ("more", "said"),
    [({"order": "dim"}, "128 bins, dimension-major, "), ({"bound": 0.01}, "128 bins bound to 0.01, ")],
)
def test_words_for_a_row(more, said):
    assert said in describe(row(1024, 128, 28.0, 0.004, **more))
