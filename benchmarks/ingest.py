"""How fast LeRobot datasets are read for fitting, against reading them frame by frame.

    python -m benchmarks.ingest [--small] [--json FILE]

Writes three datasets into a temporary folder and reads each three ways: the actions of all episodes; the same with
the state; and all that a fit does before the tokenizer: the normaliser, and 100,000 chunks of 16 actions drawn from
all, in one pass. The yardstick takes some frames as training with LeRobot's library does, each with its next 16
actions. Files are in the page cache in all cases, and at most two cores are used.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine, machine_line, use_two_cores
from benchmarks.perframe import PerFrame, per_frame_reader
from benchmarks.recordings import Recording
from benchmarks.tables import thousands
from benchmarks.timing import measure, say
from fastki.data import ChunkSpec, Dataset, open_dataset, survey

HORIZON = 16
PROMISED = {"v2.1": 100_000, "v3.0": 300_000}
"""Frames a second, the actions of all episodes, on two cores."""
_WIDTH = 140


@dataclass(frozen=True)
class Plan:
    """The extent of a run.

    Attributes:
        recordings: what is written and read.
        repetitions: of each reading, at least.
        sampled: frames that the yardstick takes.
        max_chunks: chunks that are drawn.
    """

    recordings: tuple[Recording, ...]
    repetitions: int
    sampled: int
    max_chunks: int


FULL = Plan(
    recordings=(
        Recording("v3.0, a row group an episode", "v3.0", episodes=8000),
        Recording("v3.0, a row group a file", "v3.0", episodes=8000, one_group=True),
        Recording("v2.1, a file an episode", "v2.1", episodes=2000),
    ),
    repetitions=5,
    sampled=3000,
    max_chunks=100_000,
)
SMALL = Plan(
    recordings=(
        Recording("v3.0, a row group an episode", "v3.0", episodes=20, frames=40, episodes_per_file=8),
        Recording("v3.0, a row group a file", "v3.0", episodes=20, frames=40, episodes_per_file=8, one_group=True),
        Recording("v2.1, a file an episode", "v2.1", episodes=10, frames=40),
    ),
    repetitions=2,
    sampled=50,
    max_chunks=100,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit code 1 where a full run is slower than promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds: tiny datasets, whose speed says little")
    parser.add_argument("--json", metavar="FILE", help="write all numbers there too")
    options = parser.parse_args(arguments)
    results = run(SMALL if options.small else FULL)
    show(results)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        say(f"wrote {options.json}")
    slow = [row["recording"] for row in results["rows"] if row["actions"]["frames_per_s"] < row["promised"]]
    if slow and not options.small:
        say(f"slower than promised: {'; '.join(slow)}")
    return 1 if slow and not options.small else 0


def run(plan: Plan) -> dict[str, Any]:
    """All measurements of the plan, as JSON can hold them."""
    cores = use_two_cores()
    reader = per_frame_reader()
    with tempfile.TemporaryDirectory() as folder:
        rows = [_row(plan, recording, Path(folder) / str(i)) for i, recording in enumerate(plan.recordings)]
    packages = [name for name in ("numpy", "pyarrow", "datasets") if _is_installed(name)]
    machine = describe_machine(packages) | {"cores": cores}
    return {"machine": machine, "horizon": HORIZON, "per_frame": reader.title, "rows": rows}


def show(results: dict[str, Any]) -> None:
    """Print the table."""
    console = Console(width=_WIDTH, highlight=False, markup=False)
    console.print(f"Machine: {machine_line(results['machine'])}")
    console.print(f"Frame by frame: {results['per_frame']} with the next {results['horizon']} actions\n")
    table = Table(title="Frames read a second", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    columns = (
        "LeRobot",
        "episodes",
        "frames",
        "promised",
        "actions",
        "with state",
        "for a fit",
        "frame by frame",
        "ratio",
    )
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in results["rows"]:
        speeds = [thousands(row[way]["frames_per_s"]) for way in ("actions", "with_state", "for_a_fit", "per_frame")]
        counts = [f"{row['episodes']:,}", f"{row['frames']:,}", thousands(row["promised"])]
        table.add_row(row["recording"], *counts, *speeds, f"{row['ratio']:,.0f}×")
    console.print(table)
    console.print("The ratio is that of the actions to frame by frame.")


def _row(plan: Plan, recording: Recording, root: Path) -> dict[str, Any]:
    say(f"writing {recording.title}")
    recording.write(root)
    dataset = open_dataset(root)
    frames = dataset.info.num_frames
    ways: dict[str, Callable[[], Any]] = {
        "actions": lambda: _read(dataset, state=False),
        "with_state": lambda: _read(dataset, state=True),
        "for_a_fit": lambda: _fit(dataset, plan.max_chunks),
    }
    row: dict[str, Any] = {
        "recording": recording.title,
        "episodes": len(dataset),
        "frames": frames,
        "promised": PROMISED[recording.version],
    }
    for name, way in ways.items():
        say(f"reading {recording.title}: {name}")
        timing = measure(way, repetitions=plan.repetitions)
        row[name] = {"frames_per_s": frames / timing.seconds, "repetitions": timing.repetitions}
    say(f"reading {recording.title}: frame by frame")
    reader = per_frame_reader()(root, recording.frames, root / "cache")
    picked = np.linspace(0, frames - 1, min(plan.sampled, frames)).astype(int).tolist()
    _check_same(dataset, reader, recording.frames)
    timing = measure(lambda: [reader.item(frame, HORIZON) for frame in picked], repetitions=plan.repetitions)
    row["per_frame"] = {"frames_per_s": len(picked) / timing.seconds, "repetitions": timing.repetitions}
    row["ratio"] = row["actions"]["frames_per_s"] / row["per_frame"]["frames_per_s"]
    return row


def _read(dataset: Dataset, *, state: bool) -> int:
    return sum(len(dataset.read(index, state=state)) for index in range(len(dataset)))


def _fit(dataset: Dataset, max_chunks: int) -> None:
    spec = ChunkSpec(horizon=HORIZON)
    seen = survey(dataset, spec, max_chunks=max_chunks)
    seen.normalizer.normalize(seen.sample.chunks.actions)


def _check_same(dataset: Dataset, reader: PerFrame, frames: int) -> None:
    """Both ways give the same actions, or the comparison is void."""
    index = len(dataset) - 1
    for frame in (0, frames - 2):
        ours = dataset.read(index, state=False).actions[np.minimum(np.arange(frame, frame + HORIZON), frames - 1)]
        np.testing.assert_array_equal(reader.item(index * frames + frame, HORIZON)["action"], ours)


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
