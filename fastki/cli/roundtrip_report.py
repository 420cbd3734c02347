"""What ``fastki roundtrip`` shows and draws."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastki.cli.fit_report import outside
from fastki.cli.terminal import Terminal

if TYPE_CHECKING:
    from fastki.data import DatasetInfo
    from fastki.tokenizer import CorruptionRow, Measured


@dataclass(frozen=True)
class Shown:
    """One round trip: the data, what was measured, the damage study if there was one, and the figures drawn."""

    info: DatasetInfo
    measured: Measured
    damage: list[CorruptionRow]
    figures: list[Path]


def draw(measured: Measured, damage: list[CorruptionRow], info: DatasetInfo, out: Path) -> list[Path]:
    """Draw the figures of one round trip into the folder ``out``."""
    from fastki.report import figures

    result = measured.result
    drawn = {
        "reconstruction.png": figures.reconstruction(result, fps=info.fps),
        "errors.png": figures.error_histogram(result),
        "energy.png": figures.energy(result),
        "tokens.png": figures.token_lengths(result),
    }
    if damage:
        drawn["corruption.png"] = figures.corruption(damage)
    return [figures.save(figure, out / name) for name, figure in drawn.items()]


def show(terminal: Terminal, folder: str, part: Shown) -> None:
    """One round trip for people."""
    from rich.markup import escape

    from fastki.report.tables import comparison, corruption, counted, key_values, number, per_dimension

    info, measured = part.info, part.measured
    result = measured.result
    which = {"heldout": "held out", "fitted": "fitted", "all": "all"}[measured.part]
    terminal.show(
        key_values([("tokenizer", folder), ("data", f"{info.uri}, {counted(result.episodes, 'episode')} ({which})")]),
        "",
        comparison([(which, result)]),
        "",
        per_dimension(result),
        "",
    )
    if measured.part == "fitted" and measured.result.episodes:
        terminal.note("note: these episodes were fitted on")
    if measured.short_episodes:
        terminal.note(f"note: skipped {counted(measured.short_episodes, 'episode')} shorter than the horizon")
    for remark in outside(measured.tokenizer, result):
        terminal.note(f"note: {remark}")
    if result.passed:
        worst = result.worst_dimension
        terminal.show(
            f"[green]passed[/green]: every value is within {result.atol:g}; "
            f"the largest error is {number(result.max_abs_error)} ({escape(worst.name)})"
        )
    else:
        _show_miss(terminal, measured)
    if part.damage:
        terminal.show("", corruption(part.damage))


def _show_miss(terminal: Terminal, measured: Measured) -> None:
    from rich.markup import escape

    from fastki.report.tables import number

    result, worst = measured.result, measured.result.worst_dimension
    unit = f" = {number(worst.max_abs_error_native)} {escape(worst.unit)}" if worst.unit else ""
    clipped = measured.tokenizer.normalizer is not None and measured.tokenizer.normalizer.clip
    unclipped = "--no-clip " if clipped else ""
    mend = f"fit with {unclipped}--atol {result.atol:g}"
    if measured.passing_bins:
        mend += f", or with {unclipped}--bins {measured.passing_bins}, the fewest at which plain rounding passes here"
    terminal.show(
        f"[red]missed[/red]: {escape(worst.name)} is off by {number(worst.max_abs_error)}{unit} in episode "
        f"{result.worst.episode}, frame {result.worst.start}, more than {result.atol:g}; "
        f"{result.within_atol:.2%} of the chunks are within; {mend}"
    )
