"""fastki's tokenizer against the public FAST algorithm, in one run on the same data.

    python -m benchmarks.codec [--data PATH] [--quick] [--json FILE]

Tables go to standard output, progress to standard error. Both methods get the same normalised chunks of the same
split by episode: every window of the first A dimensions, quantile-normalised on the fitted episodes and clipped to
[-1, 1].
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import tables
from benchmarks.cells import FULL, QUICK, Plan, default_data, describe_data, load_splits
from benchmarks.machine import describe_machine, machine_line
from benchmarks.memory import measure_memory
from benchmarks.speed import measure_latency, measure_speed
from benchmarks.timing import say
from benchmarks.tokens import measure_bound, measure_compression
from fastki.data import open_dataset

_WIDTH = 140


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit code 1 where fastki broke its bound on a held-out chunk."""
    options = _parse(arguments)
    results = run(options.data, QUICK if options.quick else FULL)
    show(results)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        say(f"wrote {options.json}")
    broken = sum(ours["violations"] for row in results["bound"] for ours in row["fastki"].values())
    if broken:
        say(f"fastki broke its bound on {broken} held-out chunks")
    return 1 if broken else 0


def run(data: str, plan: Plan) -> dict[str, Any]:
    """All measurements of the plan, as JSON can hold them."""
    dataset = open_dataset(data)
    plan = plan.within(dataset.info.action_dim)
    splits = load_splits(dataset, plan)
    return {
        "machine": describe_machine(),
        "data": describe_data(dataset, splits.values()),
        "repetitions": plan.repetitions,
        "atol": plan.atol,
        "speed": measure_speed(plan, splits),
        "latency": measure_latency(plan, splits),
        "memory": measure_memory(plan, splits),
        "compression": measure_compression(plan, splits),
        "bound": measure_bound(plan, splits),
    }


def show(results: dict[str, Any]) -> None:
    """Print the tables."""
    console = Console(width=_WIDTH, highlight=False)
    data = results["data"]
    counts = ", ".join(f"{shape} {seen:,} + {held:,}" for shape, (seen, held) in data["chunks"].items())
    console.print(f"Machine: {machine_line(results['machine'])}")
    console.print(
        f"Data: {data['uri']}, {data['episodes_fitted']} episodes fitted + {data['episodes_heldout']} held out; "
        f"chunks {counts}\n"
    )
    console.print(tables.speed_table(results["speed"]))
    console.print(tables.repetitions_line(results["speed"], results["repetitions"]) + "\n")
    console.print(tables.latency_table(results["latency"]))
    console.print(tables.memory_table(results["memory"]))
    console.print(tables.compression_table(results["compression"]))
    console.print(tables.bound_table(results["bound"], results["atol"]))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codec", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=default_data(), help="dataset (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="about a minute: few cells, few repetitions")
    parser.add_argument("--json", metavar="FILE", help="write all numbers there too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
