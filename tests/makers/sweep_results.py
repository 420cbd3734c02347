"""Results of sweeps that never ran, for figures and reports."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from fastki.study.grid import SweepOptions
from fastki.study.recommend import pareto_front, recommend
from fastki.study.rows import SweepRow
from fastki.study.sweep import SweepResult

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"> & 'x' \u2028 $\\frac{ _a^b$ %s \x00\x1b \ud800 手首"
"""A name that would break a page, a formula, an encoding and a font."""


def fast_row(bins: float = 20.0, vocab: int = 256, *, horizon: int = 16, **changes) -> SweepRow:
    """A row with every figure: more bins cost tokens and save errors, a larger vocabulary saves tokens."""
    tokens = 40.0 * (bins / 20) ** 0.6 * (256 / vocab) ** 0.2 * horizon / 16
    row = SweepRow(
        "fast",
        horizon,
        action_dim=3,
        order="freq",
        bins=bins,
        scale=bins / 2,
        vocab_size=vocab,
        vocab_actual=vocab,
        vocab_used=vocab - 1,
        vocab_use=1 - 1 / vocab,
        tokens_mean=tokens,
        tokens_low=tokens * 0.95,
        tokens_high=tokens * 1.06,
        tokens_p50=round(tokens),
        tokens_p99=round(tokens * 1.4),
        tokens_max=round(tokens * 1.5),
        compression=horizon * 3 / tokens,
        bits_per_chunk=tokens * 8,
        entropy_bits=tokens * 7,
        rmse=0.4 / bins,
        p99_abs_error=0.8 / bins,
        max_abs_error=1 / bins,
        worst_dimension="joint_1",
        worst_error_native=0.5 / bins,
        worst_unit="rad",
        within_atol=float(bins > 99),
        nats_per_value=0.02 * tokens,
        fit_s=0.3,
        encode_per_s=250_000.0,
        decode_per_s=1_000_000.0,
        chunks=1234,
        episodes=5,
    )
    return dataclasses.replace(row, **changes)


def refused_row(vocab: int = 256, **changes) -> SweepRow:
    """A row of a cell that could not be."""
    row = SweepRow("reference", 16, bins=256.0, vocab_size=vocab, error=f"coefficients exceed a vocabulary of {vocab}")
    return dataclasses.replace(row, **changes)


def result_of(
    rows: Sequence[SweepRow], *, names: Sequence[str] = ("joint_1", "joint_2", "gripper"), unit: str | None = "rad"
) -> SweepResult:
    """A result of these rows, with token counts and errors by dimension that go with them."""
    details = tuple({} if row.error else _details(row, names, unit) for row in rows)
    return SweepResult(tuple(rows), details, pareto_front(rows), recommend(rows, SweepOptions()))


def grid_of(
    vocabularies: Sequence[int],
    bins: Sequence[float],
    horizons: Sequence[int] = (16,),
    orders: Sequence[str] = ("freq",),
) -> list[SweepRow]:
    """A row a combination, in the order of a sweep's; the order dim takes a tenth fewer tokens."""
    rows = []
    for horizon, order, precision, vocab in itertools.product(horizons, orders, bins, vocabularies):
        row = fast_row(precision, vocab, horizon=horizon, order=order)
        rows.append(row if order == "freq" else dataclasses.replace(row, tokens_mean=(row.tokens_mean or 0.0) * 0.9))
    return rows


def _details(row: SweepRow, names: Sequence[str], unit: str | None) -> dict:
    mean = round(row.tokens_mean or 0)
    lengths = sorted({max(0, mean - 5): 20, mean: 60, mean + 9: 10}.items())
    per_dim = [
        {
            "name": name,
            "unit": unit,
            "max_abs_error": (row.max_abs_error or 0.0) / (1 + place),
            "p99_abs_error": (row.p99_abs_error or 0.0) / (1 + place),
            "rmse": (row.rmse or 0.0) / (1 + place),
            "max_abs_error_native": (row.max_abs_error or 0.0) / (2 + place),
            "rmse_native": (row.rmse or 0.0) / (2 + place),
            "unit_scale": 0.5,
            "outside": 0.0,
        }
        for place, name in enumerate(names)
    ]
    return {"token_lengths": [[int(length), count] for length, count in lengths], "per_dim": per_dim}
