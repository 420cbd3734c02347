"""The model's measurements as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine_line

_ABOUT = {
    "ki": "both losses, one pass",
    "two passes": "both losses, two passes",
    "flow": "flow alone",
    "ki, cameras that are there": "both losses, no empty camera",
}


def show_comparison(results: Mapping[str, Any], promised: Mapping[str, float]) -> None:
    """Print the steps of each cell, then sampling."""
    console = _console(results)
    for row in results["races"]:
        console.print(_race_table(row, promised))
        error = ", ".join(f"{what} {value:.1e}" for what, value in row["error"].items())
        console.print(f"One pass against two, largest relative difference: {error}.\n")
    console.print("Times by the clock vary with what else the machine does, those of cores and their ratios little.")
    console.print("By operations: the products that each step needs, counted. Memory as XLA has laid it out.\n")
    console.print(_sampling_table(results["sampling"]))
    console.print(f"Medians of {results['repetitions']} rounds, in each of which every step has its turn.")


def show_full(results: Mapping[str, Any]) -> None:
    """Print what a model does at its full size."""
    console = _console(results)
    peak = results["peak_tflops"]
    known = "whose peak is not known" if peak is None else f"{peak} TFLOP/s in bfloat16 at most"
    console.print(f"Device: {results['device']}, {known}\n")
    rows = [row for row in results["training"] if "refused" not in row]
    if rows:
        console.print(_full_table(rows))
        console.print("Utilisation: operations that the step needs, none counted twice, over the device's peak.\n")
    for row in (*results["training"], results["sampling"]):
        if "refused" in row:
            console.print(row["refused"])
    if "refused" not in results["sampling"]:
        console.print(_sampling_table([results["sampling"]]))


def _race_table(row: Mapping[str, Any], promised: Mapping[str, float]) -> Table:
    title = (
        f"A training step of {row['name']}, batch {row['batch']}: {row['images']} image tokens, {row['full']} of text "
        f"with FAST and {row['prompt']} without"
    )
    table = _table(title, ("step", "ms", "core-ms", "peak MB", "one pass / this", "cores'", "by operations", "goal"))
    for name, seconds in row["step_s"].items():
        ratios = (row[key].get(name) for key in ("ratio", "core_ratio", "by_operations"))
        cells = [f"{seconds * 1e3:,.0f}", f"{row['core_s'][name] * 1e3:,.0f}", f"{row['peak_mb'][name]:,.0f}"]
        goal = f"≤ {promised[name]:.2f}" if name in promised else ""
        table.add_row(_ABOUT[name], *cells, *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios), goal)
    return table


def _full_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    columns = (
        "trained",
        "batch",
        "step ms",
        "examples/s",
        "TFLOP/s",
        "utilisation",
        "planned MB",
        "used MB",
        "compile s",
    )
    table = _table("A training step", columns)
    for row in rows:
        cells = [f"{row['step_s'] * 1e3:,.0f}", f"{row['examples_per_s']:.3g}", f"{row['tflops']:.3g}"]
        cells.append("–" if row["mfu"] is None else f"{row['mfu']:.1%}")
        cells += [f"{row['planned_mb']:,.0f}", "–" if row["used_mb"] is None else f"{row['used_mb']:,.0f}"]
        table.add_row(row["train"], str(row["batch"]), *cells, f"{row['compile_s']:.0f}")
    return table


def _sampling_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    columns = ("model", "flow ms", "steps", "FAST ms", "tokens", "tokens/s")
    table = _table("A chunk of actions for one scene", columns)
    for row in rows:
        cells = [f"{row['flow_ms']:,.1f}", str(row["flow_steps"]), f"{row['fast_ms']:,.1f}", str(row["fast_tokens"])]
        table.add_row(row["name"], *cells, f"{row['fast_tokens_per_s']:,.0f}")
    return table


def _console(results: Mapping[str, Any]) -> Console:
    console = Console(width=120, highlight=False, markup=False)
    console.print(f"Machine: {machine_line(results['machine'])}\n")
    return console


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table
