"""Compared training runs as a section of a page."""

from __future__ import annotations

from fastki.report.compare_figures import learning_curves
from fastki.report.compare_tables import HEADINGS
from fastki.report.drawn import Drawn
from fastki.report.html import Section, Words
from fastki.report.html_table import Entry, Field, numbered_table
from fastki.report.tables import counted
from fastki.study.training import METRICS, Compared, TrainingComparison

STEM = "learning"


def learning(found: TrainingComparison) -> Drawn:
    """The curves, and the final errors."""
    caption = (
        f"{found.steps:,} steps over {counted(found.seeds, 'seed')}, on held-out episodes: the mean, and the 95 % "
        "interval of Student's t where there are several. Every run of a seed saw the same data in the same order."
    )
    return Drawn(STEM, "What each learns", caption, learning_curves(found))


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
