"""What a sweep's rows say: the Pareto front of tokens and error, and which tokenizer to take.

Tokens of chunks of different horizons can't be compared, so each horizon has its front and its recommendation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastki.study.grid import SweepOptions
from fastki.study.rows import SweepRow

_SAVABLE = "fast"


@dataclass(frozen=True)
class Recommendation:
    """The row to take of one horizon.

    Attributes:
        horizon: H.
        row: its index.
        meets: whether it meets what was asked; if not, it is the nearest.
        text: the same in words.
    """

    horizon: int
    row: int
    meets: bool
    text: str


def pareto_front(rows: Sequence[SweepRow]) -> tuple[int, ...]:
    """Indices of the rows that no other row of their horizon beats: as few tokens and as small an RMSE, one less.

    >>> row = SweepRow("fast", 16)
    >>> from dataclasses import replace
    >>> costs = [(10.0, 0.02), (20.0, 0.01), (20.0, 0.02)]
    >>> pareto_front([replace(row, tokens_mean=tokens, rmse=rmse) for tokens, rmse in costs])
    (0, 1)
    """
    costs = [
        None if row.tokens_mean is None or row.rmse is None else (row.horizon, row.tokens_mean, row.rmse)
        for row in rows
    ]
    known = set(costs) - {None}

    def beaten(mine: tuple[int, float, float]) -> bool:
        return any(
            other is not None and other != mine and other[0] == mine[0] and other[1] <= mine[1] and other[2] <= mine[2]
            for other in known
        )

    return tuple(index for index, cost in enumerate(costs) if cost is not None and not beaten(cost))


def recommend(rows: Sequence[SweepRow], options: SweepOptions) -> tuple[Recommendation, ...]:
    """The best row of each horizon, the horizon with the fewest bits an action (or the least error) first.

    Of the rows that keep the bound, the one that takes the fewest bits a chunk, tokens · log2 V: each doubling of the
    vocabulary then has to pay for itself with a shorter sequence. With ``max_tokens`` alone, the row of least error
    that stays within it on 99 of 100 chunks. FAST's rows alone are asked, where there are any: they can be saved.
    """
    found = [
        _recommend(rows, options, horizon) for horizon in dict.fromkeys(row.horizon for row in rows if not row.error)
    ]

    def worth(chosen: Recommendation) -> tuple[bool, float]:
        row = rows[chosen.row]
        cost = _rmse(row) if _budget_only(options) else _bits(row) / row.horizon
        return not chosen.meets, cost

    return tuple(sorted(found, key=worth))


def _recommend(rows: Sequence[SweepRow], options: SweepOptions, horizon: int) -> Recommendation:
    whole = [index for index, row in enumerate(rows) if row.horizon == horizon and not row.error]
    candidates = [index for index in whole if rows[index].method == _SAVABLE] or whole
    eligible = [index for index in candidates if _meets(rows[index], options)]
    pool = eligible or candidates
    costs: tuple[Callable[[SweepRow], float], ...]
    if eligible:
        costs = (_rmse, _bits, _vocab) if _budget_only(options) else (_bits, _vocab)
    elif _budget_only(options):
        costs = (_p99, _rmse, _vocab)
    else:
        costs = (lambda row: -(row.within_atol or 0.0), lambda row: row.max_abs_error or 0.0, _bits)
    best = min(pool, key=lambda index: tuple(cost(rows[index]) for cost in costs))
    text = describe(rows[best])
    if not eligible:
        text = f"{_miss(options)}; the nearest is {text}{_mend(rows, best, candidates, options)}"
    text += _alternative(rows, best)
    return Recommendation(horizon, best, bool(eligible), text)


def describe(row: SweepRow) -> str:
    """A row in words: ``V 1,024, 128 bins, 28.0 tokens/chunk``."""
    method = {"fast": "", "bspline": f"bspline of {row.control_points} control points, "}.get(
        row.method, f"{row.method}, "
    )
    order = ", dimension-major" if row.order == "dim" else ""
    bound = f" bound to {row.bound:g}" if row.bound else ""
    return f"{method}V {row.vocab_size:,}, {row.bins:.4g} bins{bound}{order}, {row.tokens_mean:.1f} tokens/chunk"


def _alternative(rows: Sequence[SweepRow], best: int) -> str:
    """What the next larger vocabulary would save, or, at the largest, the next smaller one cost."""
    mine = rows[best]
    like = sorted(
        (
            row
            for row in rows
            if not row.error
            and (row.method, row.horizon, row.order, row.bins, row.bound)
            == (mine.method, mine.horizon, mine.order, mine.bins, mine.bound)
        ),
        key=_vocab,
    )
    larger = [row for row in like if _vocab(row) > _vocab(mine)]
    smaller = [row for row in like if _vocab(row) < _vocab(mine)]
    if larger:
        saved, more = _tokens(mine) - _tokens(larger[0]), int(_vocab(larger[0]) - _vocab(mine))
        what = f"{saved:.1f} tokens" if saved >= 0.05 else "nothing"
        return f"; V {larger[0].vocab_size:,} saves {what} for {more:,} more embeddings"
    if smaller:
        lost, fewer = _tokens(smaller[-1]) - _tokens(mine), int(_vocab(mine) - _vocab(smaller[-1]))
        return f"; V {smaller[-1].vocab_size:,} takes {lost:.1f} tokens more and {fewer:,} fewer embeddings"
    return ""


def _meets(row: SweepRow, options: SweepOptions) -> bool:
    fits = options.max_tokens is None or _p99(row) <= options.max_tokens
    return fits and (_budget_only(options) or row.within_atol == 1.0)


def _miss(options: SweepOptions) -> str:
    wishes = [] if _budget_only(options) else [f"keeps every value within {options.bound:g}"]
    if options.max_tokens is not None:
        wishes.append(f"takes at most {options.max_tokens:g} tokens on 99 of 100 chunks")
    return f"no row {' and '.join(wishes)}"


def _mend(rows: Sequence[SweepRow], best: int, candidates: Sequence[int], options: SweepOptions) -> str:
    if _budget_only(options):
        return ""
    hint = "" if any(rows[index].bound for index in candidates) else " (--bins bound adds an encoder that keeps it)"
    return f", {rows[best].within_atol:.1%} of the chunks within {options.bound:g}{hint}"


def _budget_only(options: SweepOptions) -> bool:
    return options.max_tokens is not None and options.atol is None


def _tokens(row: SweepRow) -> float:
    return row.tokens_mean or 0.0


def _p99(row: SweepRow) -> float:
    return row.tokens_p99 or 0.0


def _rmse(row: SweepRow) -> float:
    return row.rmse or 0.0


def _bits(row: SweepRow) -> float:
    return row.bits_per_chunk or 0.0


def _vocab(row: SweepRow) -> float:
    return row.vocab_size or 0
