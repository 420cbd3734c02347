"""A comparison of training runs as a table, as rows for a spreadsheet, and as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastki.study.cells import Row
from fastki.study.training import METRICS, Estimate, TrainingComparison, summed_up

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = {
    "flow_error": "flow head, of mean action",
    "fast_error": "FAST head, of mean action",
    "nats_per_value": "nats per action value",
    "flow_loss": "flow loss",
}


def comparison_table(found: TrainingComparison) -> Table:
    """A row a variant; the interval of each mean below it."""
    from rich.markup import escape
    from rich.table import Table

    shown = [metric for metric in METRICS if any(metric in one.estimates for one in found.variants)]
    runs = f"{found.seeds} seed{'s' * (found.seeds > 1)}"
    table = Table(title=f"{found.steps:,} steps, {runs}, on held-out episodes: lower is better")
    table.add_column("variant")
    for metric in shown:
        table.add_column(HEADINGS[metric], justify="right")
    for one in found.variants:
        cells = [_cell(one.estimates.get(metric)) for metric in shown]
        table.add_row(escape(one.name) + "".join(f"\n{escape(error)}" for error in one.errors), *cells)
    return table


def comparison_rows(found: TrainingComparison) -> list[dict[str, Any]]:
    """A row a run, without its curve."""
    return [{name: value for name, value in row.items() if name not in ("curve", "settings")} for row in found.rows]


def comparison_payload(found: TrainingComparison) -> dict[str, Any]:
    """Plain values: ``variants`` with ``mean``, ``low``, ``high`` and ``values`` by metric, ``runs``, ``ranking``."""
    return {
        "steps": found.steps,
        "seeds": found.seeds,
        "variants": [
            {
                "name": one.name,
                "errors": list(one.errors),
                **{metric: _plain(value) for metric, value in one.estimates.items()},
            }
            for one in found.variants
        ],
        "runs": list(found.rows),
        "ranking": found.ranking(),
    }


def read_comparison(plain: Any) -> TrainingComparison:
    """What :func:`comparison_payload` wrote.

    Raises:
        KeyError, TypeError, ValueError: it did not write that.
    """
    names = [str(one["name"]) for one in plain["variants"]]
    rows = [_run(row, names) for row in plain["runs"]]
    return summed_up(names, rows, steps=int(plain["steps"]), seeds=int(plain["seeds"]))


def _run(plain: Any, names: list[str]) -> Row:
    if plain["variant"] not in names:
        raise ValueError(f"a run of {plain['variant']!r}, which is no variant")
    row = {"variant": plain["variant"], "seed": int(plain["seed"])}
    if plain.get("error"):
        return {**row, "error": str(plain["error"])}
    curve = [{str(name): float(value) for name, value in point.items()} for point in plain["curve"]]
    if any("step" not in point for point in curve):
        raise ValueError("a point of a curve without its step")
    return {**row, **{name: float(plain[name]) for name in METRICS if plain.get(name) is not None}, "curve": curve}


def _cell(value: Estimate | None) -> str:
    if value is None:
        return "–"
    if value.low is None:
        return f"{value.mean:.3g}"
    return f"{value.mean:.3g}\n[dim]{value.low:.3g} … {value.high:.3g}[/dim]"


def _plain(value: Estimate) -> dict[str, Any]:
    return {"mean": value.mean, "low": value.low, "high": value.high, "values": list(value.values)}
