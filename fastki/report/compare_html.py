"""Compared training runs as a section of a page."""

from __future__ import annotations

from pathlib import Path

from fastki.report.compare_figures import learning_curves
from fastki.report.compare_tables import HEADINGS, read_comparison
from fastki.report.drawn import Drawn, write_drawn
from fastki.report.html import Section, Words
from fastki.report.html_table import Entry, Field, numbered_table, pictures
from fastki.report.runs import damaged, read_object
from fastki.report.tables import counted
from fastki.study.training import METRICS, Compared, TrainingComparison

STEM = "learning"
RESULT = "comparison.json"
MADE_BY = "fastki train --compare"


def learning(found: TrainingComparison) -> Drawn:
    """The curves, and the final errors."""
    caption = (
        f"{found.steps:,} steps over {counted(found.seeds, 'seed')}, on held-out episodes: the mean, and the 95 % "
        "interval of Student's t where there are several. Every run of a seed saw the same data in the same order."
    )
    return Drawn(STEM, "What each learns", caption, learning_curves(found))


def comparison_sections(path: Path, folder: Path) -> tuple[str, list[Section]]:
    """What was compared, and what a page has of ``comparison.json``: words and figure, then the table.

    Args:
        path: the file.
        folder: the figure is written into it.

    Raises:
        DataError: the file is missing or damaged.
    """
    document = read_object(path, MADE_BY)
    try:
        found = read_comparison(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, error, MADE_BY) from error
    drawn = [learning(found)]
    write_drawn(drawn, folder, stems=(STEM,))
    words = Words(tuple(found.ranking()), listed=True)
    names = ", ".join(one.name for one in found.variants)
    return names, [Section("In words", (words,)), learnt_section(found), Section("Figures", pictures(drawn, folder))]


def learnt_section(found: TrainingComparison) -> Section:
    """The table of means and intervals, and why runs failed."""
    fields = [Field[Compared]("variant", "what was varied", lambda one: one.name, text=lambda one: one.name)]
    for metric in METRICS:
        if any(metric in one.estimates for one in found.variants):
            fields += [_mean(metric), _interval(metric)]
    entries = [
        Entry(one, reason=None if one.estimates else f"not trained: {'; '.join(one.errors)}") for one in found.variants
    ]
    title = f"{found.steps:,} steps, {counted(found.seeds, 'seed')}: lower is better"
    failed = [f"{one.name}: {error}" for one in found.variants if one.estimates for error in one.errors]
    table = numbered_table(title, fields, entries, named=1, hint="in the order asked for")
    return Section("What each learns", (table, *([Words(tuple(failed), listed=True)] if failed else [])))


def _mean(metric: str) -> Field[Compared]:
    def value(one: Compared) -> float | None:
        found = one.estimates.get(metric)
        return None if found is None else found.mean

    return Field(HEADINGS[metric], METRICS[metric], value, ".4g")


def _interval(metric: str) -> Field[Compared]:
    def words(one: Compared) -> str:
        found = one.estimates[metric]
        return "" if found.low is None else f"{found.low:.3g} … {found.high:.3g}"

    return Field("95 %", "interval of the mean over seeds", lambda one: one.estimates.get(metric), text=words)
