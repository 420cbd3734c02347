"""A round trip, out of the files that ``fastki roundtrip`` wrote, as sections of a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastki.config import from_plain
from fastki.data.files import stay_inside
from fastki.errors import UsageError
from fastki.report.html import Cell, Column, Facts, Picture, Row, Section, Table, Words
from fastki.report.runs import damaged, read_object
from fastki.report.tables import counted, number
from fastki.tokenizer import CorruptionRow

RESULT = "roundtrip.json"
MADE_BY = "fastki roundtrip"
_LARGEST_PNG = 8 * 2**20
_PNG = b"\x89PNG\r\n\x1a\n"
_FIGURES = {
    "reconstruction": ("What comes back", "The worst and a median chunk, decoded over original, native units."),
    "errors": ("How large errors are", "Absolute errors of all values, normalised units, with the bound asked about."),
    "tokens": (
        "How many tokens chunks take",
        "Chunks by their number of tokens, with the mean and the 99th percentile.",
    ),
    "energy": ("Where the energy lies", "RMS DCT coefficient by frequency and dimension; low frequencies should lead."),
    "corruption": ("What damage costs", "RMS error over the share of damaged tokens."),
}


@dataclass(frozen=True)
class _Dimension:
    """One entry of ``per_dim``."""

    name: str
    max_abs_error: float
    p99_abs_error: float
    rmse: float
    max_abs_error_native: float
    rmse_native: float
    unit: str | None
    outside: float


def roundtrip_sections(folder: Path) -> tuple[str, list[Section]]:
    """What the round trip in ``folder`` was of, in words, and its sections; one on a mixture has them a dataset.

    Raises:
        DataError: ``roundtrip.json`` is missing or damaged.
    """
    path = folder / RESULT
    document = read_object(path, MADE_BY)
    try:
        if "datasets" not in document:
            return f"{document['tokenizer']} on {document['data']}", _sections(document, folder, "")
        parts = dict(document["datasets"])
        sections = [
            one
            for name, part in parts.items()
            for one in _sections(part, folder / stay_inside(name, where=RESULT), f"{name}: ")
        ]
        return f"{document['tokenizer']} on {counted(len(parts), 'dataset')}", sections
    except (UsageError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error, MADE_BY) from error


def _sections(part: dict[str, Any], figures: Path, head: str) -> list[Section]:
    dimensions = [from_plain(_Dimension, one) for one in part["per_dim"]]
    damage = [from_plain(CorruptionRow, one) for one in part["corruption"]]
    pictures = tuple(_pictures(figures))
    return [
        Section(f"{head}What comes back", (Words((_verdict(part),)), _facts(part))),
        Section(f"{head}Errors by dimension", (_dimensions(dimensions, part["atol"]),)),
        *([Section(f"{head}Damaged tokens", (_damage(damage),))] if damage else []),
        *([Section(f"{head}Figures", pictures)] if pictures else []),
    ]


def _verdict(part: dict[str, Any]) -> str:
    bound, worst = f"{part['atol']:g}", f"{number(part['max_abs_error'])} ({part['worst_dimension']})"
    if part["passed"]:
        return f"Passed: every value is within {bound}; the largest error is {worst}."
    bins = part["passing_bins"]
    mend = f", or --bins {bins}, the fewest at which plain rounding passes here" if bins else ""
    share = f"{part['within_atol']:.2%} of the chunks are within"
    return f"Missed: the largest error is {worst}, more than {bound}; {share}. Fit with --atol {bound}{mend}."


def _facts(part: dict[str, Any]) -> Facts:
    which = {"heldout": "held out", "fitted": "fitted", "all": "all"}.get(part["part"], str(part["part"]))
    episodes, short = counted(part["episodes"], "episode"), part["short_episodes"]
    skipped = f", {counted(short, 'episode')} too short" if short else ""
    compression = part["compression"]
    return Facts(
        (
            ("tokenizer", str(part["tokenizer"])),
            ("data", str(part["data"])),
            ("measured on", f"{counted(part['chunks'], 'chunk')} of {episodes} ({which}){skipped}"),
            ("tokens a chunk", f"{part['tokens_mean']:.2f} in the mean, {part['tokens_p99']:.0f} at most for 99 %"),
            ("compression", f"{compression:.2f} values a token" if compression else "–"),
            ("RMSE", f"{number(part['rmse'])}, normalised units"),
            ("p99 error", f"{number(part['p99_abs_error'])}, normalised units"),
            ("vocabulary in use", f"{part['vocab_used']:,} ids"),
        )
    )  # fmt: skip


def _dimensions(dimensions: list[_Dimension], atol: float) -> Table:
    columns = (
        Column("#", "number of the dimension"),
        Column("dimension", words=True),
        Column("unit", "of the native figures", words=True),
        Column("max error", "normalised units"),
        Column("p99 error", "normalised units"),
        Column("RMSE", "normalised units"),
        Column("max, native", "largest error in the unit"),
        Column("RMSE, native", "in the unit"),
        Column("outside ±1", "share of values outside [-1, 1] after normalising"),
    )
    rows = tuple(
        Row(
            (
                Cell(str(place), place),
                Cell(one.name),
                Cell(one.unit or ""),
                *(
                    Cell(number(value), value)
                    for value in (
                        one.max_abs_error, one.p99_abs_error, one.rmse, one.max_abs_error_native, one.rmse_native,
                    )
                ),
                Cell(f"{one.outside:.2%}", one.outside),
            )
        )
        for place, one in enumerate(dimensions)
    )  # fmt: skip
    return Table(f"{counted(len(rows), 'dimension')}; the bound asked about is {atol:g}", columns, rows)


def _damage(damage: list[CorruptionRow]) -> Table:
    columns = (
        Column("#"),
        Column("tokenizer", words=True),
        Column("damage", "what happens to tokens", words=True),
        Column("tokens", "share that it happens to"),
        Column("RMSE", "normalised units"),
        Column("median error", "median of the chunks' largest errors"),
        Column("lost", "share of chunks that come back worse than zeros"),
        Column("repaired", "share of chunks whose stream had to be mended"),
    )
    rows = tuple(
        Row(
            (
                Cell(str(place), place),
                Cell(one.label),
                Cell(one.damage),
                Cell(f"{one.rate:.3g}", one.rate),
                Cell(number(one.rmse), one.rmse),
                Cell(number(one.median_error), one.median_error),
                Cell(f"{one.lost:.1%}", one.lost),
                Cell(f"{one.repaired:.1%}", one.repaired),
            )
        )
        for place, one in enumerate(damage)
    )
    return Table(f"{counted(len(rows), 'row')}", columns, rows)


def _pictures(folder: Path) -> list[Picture]:
    """Figures that lie in the folder and are what their names say."""
    return [
        Picture(title, caption, None, folder / f"{stem}.png")
        for stem, (title, caption) in _FIGURES.items()
        if _is_png(folder / f"{stem}.png")
    ]


def _is_png(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_PNG)) == _PNG and path.stat().st_size <= _LARGEST_PNG
    except OSError:
        return False
