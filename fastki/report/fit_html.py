"""A fitted tokenizer, out of its folder, as sections of a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastki.errors import TokenizerError
from fastki.report.html import Cell, Column, Facts, Row, Section, Table
from fastki.report.runs import RUN, read_object
from fastki.report.tables import codec_facts, counted, number
from fastki.tokenizer import FastTokenizer, load_tokenizer
from fastki.tokenizer.anatomy import longest_tokens

MARK = "fastki.json"
MADE_BY = "fastki fit"
_LONGEST = 20
_FIGURES = {
    "tokens_mean": ("tokens a chunk, mean", "{:.2f}"),
    "tokens_p50": ("tokens of a middling chunk", "{:.0f}"),
    "tokens_p99": ("tokens a chunk, p99", "{:.0f}"),
    "compression": ("compression (values / tokens)", "{:.2f}×"),
    "rmse": ("RMSE, normalised", "{:.4g}"),
    "p99_abs_error": ("p99 error, normalised", "{:.4g}"),
    "max_abs_error": ("max error, normalised", "{:.4g}"),
    "within_atol": ("share of chunks within the bound", "{:.1%}"),
    "vocab_used": ("vocabulary in use", "{:,} ids"),
}


def fit_sections(folder: Path) -> tuple[str, list[Section]]:
    """What the tokenizer in ``folder`` is, in words, and its sections.

    Raises:
        TokenizerError: the folder is damaged.
        DataError: what the fit left beside the tokenizer is damaged.
    """
    tokenizer = load_tokenizer(folder)
    if not isinstance(tokenizer, FastTokenizer):
        raise TokenizerError(f"{folder} is no tokenizer that `{MADE_BY}` made")
    result = read_object(folder / RUN, MADE_BY).get("result") if (folder / RUN).exists() else None
    shape = f"{tokenizer.horizon} × {tokenizer.action_dim}"
    sections = [Section("What it is", (Facts((("chunk", shape), *codec_facts(tokenizer))),))]
    if isinstance(result, dict):
        sections.append(Section("What it costs and loses", (_measured(result),)))
    sections += [
        Section("How actions are normalised", (_statistics(name, one),)) for name, one in _normalisers(tokenizer)
    ]
    sections.append(Section("Longest tokens", (_tokens(tokenizer),)))
    bound = f", every value within {tokenizer.codec.atol:g}" if tokenizer.codec.atol else ""
    return f"V {tokenizer.vocab_size:,}, {number(tokenizer.codec.bins)} bins{bound}", sections


def _measured(result: dict[str, Any]) -> Table:
    columns = (Column("figure", words=True), Column("held out", "episodes not fitted on"), Column("fitted"))
    rows = tuple(
        Row((Cell(name), *(_figure(result.get(key), form) for key in (field, f"fit_{field}"))))
        for field, (name, form) in _FIGURES.items()
        if result.get(f"fit_{field}") is not None
    )
    return Table("As the fit measured it", columns, rows)


def _figure(value: Any, form: str) -> Cell:
    return Cell(form.format(value), float(value)) if isinstance(value, (int, float)) else Cell("")


def _normalisers(tokenizer: FastTokenizer) -> list[tuple[str, Any]]:
    """Of the tokenizer, or of each dataset of its mixture: its source and its normaliser."""
    own = [(tokenizer.source, tokenizer.normalizer)] if tokenizer.normalizer is not None else []
    pairs = [*own, *((member.source, member.normalizer) for member in tokenizer.members)]
    return [(source.data if source else "", (source, normalizer)) for source, normalizer in pairs]


def _statistics(name: str, one: Any) -> Table:
    source, normalizer = one
    stats = normalizer.stats
    known = [(head, value) for head, value in vars(stats).items() if value is not None]
    heads = (Column("#"), Column("dimension", words=True), Column("unit", words=True))
    columns = (*heads, *(Column(head, "native units") for head, _ in known))
    names = source.names if source else tuple(f"dimension {dim}" for dim in range(len(stats.mean)))
    units = source.units if source else (None,) * len(names)
    rows = tuple(
        Row(
            (
                Cell(str(dim), dim),
                Cell(names[dim] if dim < len(names) else ""),
                Cell((units[dim] if dim < len(units) else None) or ""),
                *(Cell(number(float(value[dim])), float(value[dim])) for _, value in known),
            )
        )
        for dim in range(len(stats.mean))
    )
    return Table(f"{normalizer.method}{', clipped' if normalizer.clip else ''}; {name}", columns, rows)


def _tokens(tokenizer: FastTokenizer) -> Table:
    entries = longest_tokens(tokenizer, _LONGEST)
    columns = (
        Column("#", "by the symbols that it stands for"),
        Column("id"),
        Column("symbols", "base symbols that it stands for"),
        Column("coefficients", words=True),
    )
    rows = tuple(
        Row((Cell(str(place), place), Cell(str(one.id), one.id), Cell(str(one.length), one.length), Cell(one.text)))
        for place, one in enumerate(entries, 1)
    )
    return Table(f"The {counted(len(rows), 'token')} that stand for most", columns, rows)
