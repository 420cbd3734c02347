"""A sweep as ``report.html``: what to take, the command, every row in a sortable table, and the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastki.files import write_text
from fastki.report.drawn import Drawn
from fastki.report.html import Command, Facts, Section, Table, Words, environment, page
from fastki.report.html_table import Entry, Field, numbered_table, pictures
from fastki.report.sweep_figures import sweep_figures, write_figures
from fastki.report.sweep_tables import BEST, PARETO, advice, method_of, sweep_marks
from fastki.report.tables import counted, number
from fastki.study.rows import SweepRow
from fastki.study.sweep import SweepResult

FIGURES, REPORT = "figures", "report.html"
_NAMED = 6  # Columns that say which cell a row is: all that a refused one has.


def write_report(payload: dict[str, Any], result: SweepResult, command: str, folder: Path) -> list[Path]:
    """Write ``report.html`` and, into ``figures``, its figures as PNG and SVG.

    Args:
        payload: of :func:`fastki.report.sweep_files.sweep_payload`.
        result: of the sweep.
        command: that was given.
        folder: to write into.

    Raises:
        UsageError: the folder can't be written to.
    """
    drawn = sweep_figures(result, atol=payload["atol"])
    paths = write_figures(drawn, folder / FIGURES)
    write_text(folder / REPORT, report(payload, result, command, drawn, folder / FIGURES))
    return [folder / REPORT, *paths]


def report(
    payload: dict[str, Any], result: SweepResult, command: str, drawn: list[Drawn], figures: Path
) -> str:  # fmt: skip
    """The page, of figures that lie in the folder ``figures``."""
    first, *others = sweep_sections(payload, result, drawn, figures)
    sections = [first, Section("Command", (Command(command),)), *others, Section("Made with", (environment(),))]
    return page(f"Tokenizer sweep on {payload['data']}", sections)


def sweep_sections(
    payload: dict[str, Any], result: SweepResult, drawn: list[Drawn], figures: Path, *, prefix: str = ""
) -> list[Section]:
    """What to take, the table, and the figures that lie in the folder ``figures``; ``prefix`` is that of their ids."""
    return [
        Section("What to take", (_advice(result), _facts(payload, result))),
        Section("Every tokenizer of the grid", (_table(result),)),
        Section("Figures", pictures(drawn, figures, prefix) or (_NOTHING,)),
    ]


_NOTHING = Words(("Every cell was refused, so there is nothing to draw: the table says why.",))


def _advice(result: SweepResult) -> Words:
    return Words(tuple(advice(result)) or ("Every cell was refused.",), listed=len(result.recommendations) > 1)


def _facts(payload: dict[str, Any], result: SweepResult) -> Facts:
    measured = {row.horizon: row for row in result.rows if row.chunks}
    pairs = [("data", payload["data"]), ("error bound asked about", f"{payload['atol']:g}, normalised units")]
    if payload["max_tokens"] is not None:
        pairs.append(("tokens at most", f"{payload['max_tokens']:g} on 99 of 100 chunks"))
    pairs += [
        (
            f"horizon {horizon}",
            f"measured on {counted(row.chunks or 0, 'chunk')} of {horizon} × {row.action_dim} values, "
            f"from {counted(row.episodes or 0, 'episode')}",
        )
        for horizon, row in measured.items()
    ]
    if payload["probe"]:
        pairs.append(("probe", counted(payload["probe"], "training step")))
    return Facts((*pairs, *(("note", note) for note in payload["notes"])))


def _table(result: SweepResult) -> Table:
    marks = sweep_marks(result)
    entries = [_entry(row, marks.get(index, "")) for index, row in enumerate(result.rows)]
    caption = f"{counted(len(entries), 'row')}; {BEST} recommended, {PARETO} on the Pareto front of tokens and RMSE"
    return numbered_table(caption, _FIELDS, entries, named=_NAMED, hint="number of the row, for --pick")


def _entry(row: SweepRow, mark: str) -> Entry[SweepRow]:
    return Entry(row, mark, best=mark == BEST, reason=f"refused: {row.error}" if row.error else None)


def _worst(row: SweepRow) -> str:
    unit = f" {row.worst_unit}" if row.worst_unit else ""
    return f"{row.worst_dimension}: {number(row.worst_error_native or 0.0)}{unit}"


_FIELDS: tuple[Field[SweepRow], ...] = (
    Field("method", "", lambda row: row.method, text=method_of),
    Field("H", "horizon: actions in a chunk", lambda row: row.horizon),
    Field("order", "of FAST's coefficients", lambda row: row.order, text=lambda row: row.order or ""),
    Field("bins", "quantisation steps over [-1, 1]", lambda row: row.bins, ".4g"),
    Field("bound", "on every value's error, kept by the encoder", lambda row: row.bound, "g"),
    Field("V", "vocabulary asked for", lambda row: row.vocab_size, ","),
    Field("tokens", "a held-out chunk, mean", lambda row: row.tokens_mean, ".2f"),
    Field("95 % from", "bootstrap interval of the mean, over episodes", lambda row: row.tokens_low, ".1f"),
    Field("to", "bootstrap interval of the mean, over episodes", lambda row: row.tokens_high, ".1f"),
    Field("p99", "tokens that 99 of 100 chunks keep within", lambda row: row.tokens_p99, ".0f"),
    Field("ratio", "values / tokens", lambda row: row.compression, ".2f", "×"),
    Field("bits", "a chunk: tokens × log2 V", lambda row: row.bits_per_chunk, ",.0f"),
    Field("RMSE", "of all values, normalised units", lambda row: row.rmse, ".3g"),
    Field("max error", "normalised units", lambda row: row.max_abs_error, ".3g"),
    Field("within", "share of chunks with every value within the bound", lambda row: row.within_atol, ".1%"),
    Field("nats", "a value, of the n-gram model", lambda row: row.nats_per_value, ".3f"),
    Field("probe", "nats a value, of the probe", lambda row: row.probe_nats_per_value, ".3f"),
    Field("rollout", "RMSE of the probe's own actions", lambda row: row.rollout_rmse, ".3g"),
    Field("repaired", "share of rollouts whose tokens were mended", lambda row: row.rollout_repaired, ".0%"),
    Field("used", "share of the vocabulary that occurs", lambda row: row.vocab_use, ".0%"),
    Field("V used", "ids that occur in held-out chunks", lambda row: row.vocab_used, ","),
    Field("p50", "tokens of a middling chunk", lambda row: row.tokens_p50, ".0f"),
    Field("most", "tokens of the longest chunk", lambda row: row.tokens_max, ","),
    Field("entropy", "bits a chunk under the best memoryless code", lambda row: row.entropy_bits, ",.0f"),
    Field("p99 error", "normalised units", lambda row: row.p99_abs_error, ".3g"),
    Field("worst dimension", "and its largest error, native units", lambda row: row.worst_dimension, text=_worst),
    Field("fit s", "seconds of the fit, which serves all vocabularies", lambda row: row.fit_s, ".2f"),
    Field("enc/s", "chunks a second", lambda row: row.encode_per_s, ",.0f"),
    Field("dec/s", "chunks a second", lambda row: row.decode_per_s, ",.0f"),
)
