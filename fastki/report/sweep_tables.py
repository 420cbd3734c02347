"""A sweep for a terminal: its table, a line a row, and what it advises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from fastki.report.tables import number
from fastki.study.rows import SweepRow
from fastki.study.sweep import SweepResult

NARROW = 100
"""Columns of a terminal below which the table leaves out what matters least."""
_METHOD_WIDTH = 20
PARETO, BEST = "•", "★"


@dataclass(frozen=True)
class _Column:
    header: str
    text: Callable[[SweepRow], str]
    always: bool = True


def sweep_table(rows: Sequence[SweepRow | None], *, marks: dict[int, str] | None = None, width: int = 160) -> Table:
    """A row a cell, as far as they are known; a refused cell says why.

    Args:
        rows: None for cells that are still to come, which are left out.
        marks: signs before a row's number, by index.
        width: of the terminal.
    """
    marks = marks or {}
    known = [(index, row) for index, row in enumerate(rows) if row is not None]
    columns = [column for column in _columns([row for _, row in known]) if column.always or width >= NARROW]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    for place, column in enumerate(columns):
        table.add_column(column.header, justify="left" if place == 0 else "right", no_wrap=True, overflow="ellipsis")
    for index, row in known:
        sign = marks.get(index, "")
        cells = [column.text(row) for column in columns]
        table.add_row(f"{sign}{index}", *cells, style="bold" if BEST in sign else "dim" if row.error else None)
    return table


def sweep_marks(result: SweepResult) -> dict[int, str]:
    """:data:`PARETO` for the front, :data:`BEST` for the recommended row of each horizon."""
    best = {chosen.row for chosen in result.recommendations}
    return {index: BEST if index in best else PARETO for index in {*result.pareto, *best}}


def sweep_errors(rows: Sequence[SweepRow]) -> list[str]:
    """Why cells were refused, each reason once, with the rows' numbers."""
    reasons: dict[str, list[str]] = {}
    for index, row in enumerate(rows):
        if row.error:
            reasons.setdefault(row.error, []).append(str(index))
    return [f"{'row' if len(which) == 1 else 'rows'} {', '.join(which)}: {why}" for why, which in reasons.items()]


def sweep_line(index: int, row: SweepRow) -> str:
    """One row in a line, for where no terminal looks."""
    head = f"{index}: {name_of(row)}"
    if row.error:
        return f"{head}: {row.error}"
    modelled = "" if row.nats_per_value is None else f", {row.nats_per_value:.3f} nats a value"
    return f"{head}: {row.tokens_mean:.2f} tokens, RMSE {number(row.rmse or 0.0)}{modelled}"


def advice(result: SweepResult) -> list[str]:
    """What to take, a line a horizon; with one horizon it goes without saying."""
    several = len(result.recommendations) > 1
    return [
        f"horizon {chosen.horizon}, row {chosen.row}: {chosen.text}" if several else f"row {chosen.row}: {chosen.text}"
        for chosen in result.recommendations
    ]


def name_of(row: SweepRow) -> str:
    """A cell in words: ``fast H 16, 20 bins, V 256, freq``."""
    parts = [f"{method_of(row)} H {row.horizon}"]
    if row.bins is not None:
        parts.append(f"{row.bins:.4g} bins")
    if row.bound is not None:
        parts.append(f"bound {row.bound:g}")
    if row.vocab_size is not None:
        parts.append(f"V {row.vocab_size:,}")
    return ", ".join([*parts, *([row.order] if row.order else [])])


def _columns(rows: Sequence[SweepRow]) -> list[_Column]:
    probed = any(row.probe_nats_per_value is not None for row in rows)
    columns = [
        _Column("method", lambda row: escape(_short(method_of(row)))),
        _Column("H", lambda row: str(row.horizon)),
        _Column("order", lambda row: row.order or "–", always=False),
        _Column("bins", _bins),
        _Column("V", lambda row: "–" if row.vocab_size is None else f"{row.vocab_size:,}"),
        _Column("tokens", lambda row: _text(row.tokens_mean, ".1f")),
        _Column("95 %", _interval, always=False),
        _Column("p99", lambda row: _text(row.tokens_p99, ".0f")),
        _Column("ratio", lambda row: _text(row.compression, ".2f", "×")),
        _Column("bits", lambda row: _text(row.bits_per_chunk, ".0f"), always=False),
        _Column("RMSE", lambda row: _text(row.rmse, ".3g")),
        _Column("max", lambda row: _text(row.max_abs_error, ".3g")),
        _Column("within", lambda row: _text(row.within_atol, ".1%")),
        _Column("used", lambda row: _text(row.vocab_use, ".0%"), always=False),
        _Column("nats", lambda row: _text(row.nats_per_value, ".3f")),
    ]
    if probed:
        columns.append(_Column("probe", lambda row: _text(row.probe_nats_per_value, ".3f")))
        columns.append(_Column("rollout", lambda row: _text(row.rollout_rmse, ".3g")))
    speeds = [
        _Column("fit s", lambda row: _text(row.fit_s, ".2f"), always=False),
        _Column("enc/s", lambda row: _thousands(row.encode_per_s), always=False),
        _Column("dec/s", lambda row: _thousands(row.decode_per_s), always=False),
    ]
    return columns + speeds


def method_of(row: SweepRow) -> str:
    """As ``--method`` names it."""
    if row.method == "bspline":
        return f"bspline:{row.control_points}"
    return f"published:{row.path}" if row.method == "published" else row.method


def _short(name: str) -> str:
    """Of a path the end, so that it takes no room from the figures."""
    return name if len(name) <= _METHOD_WIDTH else f"…{name[1 - _METHOD_WIDTH :]}"


def _bins(row: SweepRow) -> str:
    if row.bins is None:
        return "–" if row.bound is None else f"≤{row.bound:g}"
    return f"{row.bins:.4g}" + (f" ≤{row.bound:g}" if row.bound else "")


def _interval(row: SweepRow) -> str:
    return "–" if row.tokens_low is None else f"{row.tokens_low:.1f}–{row.tokens_high:.1f}"


def _text(value: Any, form: str, unit: str = "") -> str:
    return "–" if value is None else f"{value:{form}}{unit}"


def _thousands(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value / 1e6:.1f}M" if value >= 999_500 else f"{value / 1000:.3g}k"
