"""The measurements as tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from rich import box
from rich.table import Table

FAILS = "fails"
Row = dict[str, Any]


def speed_table(rows: Iterable[Row]) -> Table:
    """Fit, encode and decode; the training of the BPE alone in brackets; repetitions where fewer than usual."""
    table = _table(
        "Speed, reference → fastki",
        ("cell", "fit s", "ratio", "(BPE alone)", "encode chunks/s", "ratio", "decode chunks/s", "ratio"),
    )
    for row in rows:
        ratio = row.get("ratio", {})
        cells = [
            _pair(row, "fit_s", seconds),
            _times(ratio.get("fit")),
            f"({seconds(row['fastki']['train_bpe']['seconds'])})",
            _pair(row, "encode_per_s", thousands),
            _times(ratio.get("encode")),
            _pair(row, "decode_per_s", thousands),
            _times(ratio.get("decode")),
        ]
        table.add_row(f"{shape_of(row)} S{row['scale']}", *cells)
    return table


def repetitions_line(rows: Iterable[Row], least: int) -> str:
    """How often each call was repeated, naming those repeated less often than ``least``."""
    fewer = [
        f"{shape_of(row)} S{row['scale']} {name} {what} ({count})"
        for row in rows
        for name in ("reference", "fastki")
        for what, count in zip(("fit", "encode", "decode"), row[name].get("repetitions", ()), strict=False)
        if count < least
    ]
    return f"Medians of {least} repetitions or more" + (f"; fewer, being slow: {', '.join(fewer)}." if fewer else ".")


def latency_table(rows: Iterable[Row]) -> Table:
    """Microseconds of one chunk, median (99th percentile)."""
    columns = ("cell", "encode µs: reference", "fastki", "decode µs: reference", "fastki")
    table = _table("One chunk once warm, median (99th percentile)", columns)
    for row in rows:
        kept = f"S{row['scale']}" if row["atol"] is None else f"atol {row['atol']:g}"
        cells = [
            _microseconds(row[name], what) for what in ("encode_us", "decode_us") for name in ("reference", "fastki")
        ]
        table.add_row(f"{shape_of(row)} {kept}", *cells)
    return table


def memory_table(row: Row) -> Table:
    """Megabytes that a fit adds."""
    title = f"Peak memory of a fit, {row['chunks']:,} chunks (themselves {row['input_mb']:,.0f} MB)"
    table = _table(title, ("cell", "reference MB", "fastki MB", "fastki/reference"))
    ratio = "–" if row["ratio"] is None else f"{row['ratio']:.3f} (1/{1 / row['ratio']:.1f})"
    table.add_row(
        f"{shape_of(row)} S{row['scale']}",
        f"{row['reference']['fit_mb']:,.0f}",
        f"{row['fastki']['fit_mb']:,.0f}",
        ratio,
    )
    return table


def compression_table(rows: Iterable[Row]) -> Table:
    """Tokens of a held-out chunk, a column for each vocabulary."""
    rows = list(rows)
    sizes = sorted({row["vocab_size"] for row in rows})
    columns = ("cell", "RMSE", *(f"V{size}" for size in sizes))
    table = _table("Tokens of a held-out chunk at the same rounding, reference / fastki", columns)
    for name, group in itertools.groupby(rows, key=lambda row: f"{shape_of(row)} S{row['scale']}"):
        cells = {row["vocab_size"]: row for row in group}
        errors = [
            row[method]["rmse"] for row in cells.values() for method in ("reference", "fastki") if "rmse" in row[method]
        ]
        table.add_row(name, _span(errors), *(_slash(cells[size], "tokens") for size in sizes))
    return table


def bound_table(rows: Iterable[Row], atol: float) -> Table:
    """Tokens of a held-out chunk under the bound, chunks that break it, and the ratio of tokens."""
    columns = (
        "cell",
        "reference",
        "scale",
        "broken",
        "freq",
        "scale",
        "broken",
        "ratio",
        "dim",
        "scale",
        "broken",
        "ratio",
    )
    table = _table(f"Tokens of a held-out chunk, every value within {atol:g}", columns)
    for row in rows:
        theirs = row["reference"]
        cells = [tokens(theirs.get("tokens")), f"{theirs['scale']}", str(theirs.get("violations", "–"))]
        for order, ours in row["fastki"].items():
            ratio = row.get("ratio", {}).get(order)
            cells += [tokens(ours["tokens"]), f"{ours['scale']:.0f}", str(ours["violations"])]
            cells.append("–" if ratio is None else f"{ratio:.2f}×")
        table.add_row(f"{shape_of(row)} V{row['vocab_size']}", *cells)
    return table


def shape_of(row: Row) -> str:
    """H and A of a row."""
    return f"H{row['horizon']} A{row['action_dim']}"


def seconds(value: float) -> str:
    """Three significant digits or so."""
    return f"{value:.3f}" if value < 1 else f"{value:.1f}"


def thousands(value: float) -> str:
    """2345 as 2.3k, 2345678 as 2.3M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def tokens(value: float | None) -> str:
    """Three significant digits, or that there are none."""
    return FAILS if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _pair(row: Row, key: str, show: Callable[[float], str]) -> str:
    theirs = row["reference"]
    return f"{show(theirs[key]) if key in theirs else FAILS} → {show(row['fastki'][key])}"


def _slash(row: Row, key: str) -> str:
    return f"{tokens(row['reference'].get(key))} / {tokens(row['fastki'].get(key))}"


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.1f}×" if ratio < 100 else f"{ratio:.0f}×"


def _microseconds(measured: Row, what: str) -> str:
    if what not in measured:
        return "–"
    return f"{measured[what]['median']:.0f} ({measured[what]['p99']:.0f})"


def _span(errors: list[float]) -> str:
    """One number where they agree to 4 decimals, else the least and the largest."""
    shown = [f"{min(errors):.4f}", f"{max(errors):.4f}"]
    return " … ".join(dict.fromkeys(shown))
