"""How fast batches are put together: with pictures, and of tokens alone.

    python -m benchmarks.batches [--small] [--json FILE]

Writes a recording in DROID's shape into a temporary folder: actions, state and three cameras at the model's size, as
memory-mapped arrays. One epoch of shuffled batches of 32 is timed, with three pictures each and with none. The tokens
are FAST's under the default bound of 0.01, the text π0.5's under the byte tokenizer. At most two cores are used.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine, machine_line, use_two_cores
from benchmarks.timing import say
from fastki.data import Dataset, Episode, open_dataset
from fastki.data.pictures import LazyFrames
from fastki.data.robots import SLOTS
from fastki.sequence.assemble import Assembler, BatchShape
from fastki.sequence.batches import Batches, BatchOptions
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import DEFAULT, PRESETS
from fastki.sequence.state import fit_state_normalizer
from fastki.sequence.text import open_text_tokenizer
from fastki.sequence.wording import Wording
from fastki.tokenizer import FitOptions, fit_on_dataset

PROMISED = {"images": 400, "tokens": 20_000}
"""Examples a second on two cores."""
_SIZE, _BATCH = 224, 32


@dataclass(frozen=True)
class Plan:
    """The extent of a run: episodes of tokens and of pictures, and how often each is timed."""

    episodes: int
    pictured: int
    repetitions: int


FULL, SMALL = Plan(400, 8, 5), Plan(4, 1, 1)


class MappedDroid(Dataset):
    """A recording in memory-mapped files: an array of actions and one of states, one of frames a camera."""

    def __init__(self, folder: Path, source: Dataset, pictured: int) -> None:
        self._lengths = source.info.lengths
        ends = np.cumsum(self._lengths)
        self._starts = ends - self._lengths
        self._prompts = []
        frames = int(ends[-1])
        arrays = {
            "actions": open_memmap(folder / "actions.npy", "w+", np.float32, (frames, source.info.action_dim)),
            "state": open_memmap(folder / "state.npy", "w+", np.float32, (frames, source.info.state_dim)),
        }
        for episode, start in zip(source, self._starts.tolist(), strict=True):
            arrays["actions"][start : start + len(episode)] = episode.actions
            arrays["state"][start : start + len(episode)] = episode.state
            self._prompts.append(episode.prompt)
        shape = (int(ends[pictured - 1]), _SIZE, _SIZE, 3)
        noise = np.random.default_rng(0)
        for slot in SLOTS:
            pictures = open_memmap(folder / f"{slot}.npy", "w+", np.uint8, shape)
            for frame in range(len(pictures)):
                pictures[frame] = noise.integers(0, 256, (1, 1, 3))
            pictures.flush()
        self._arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
        self.info = replace(source.info, uri="memory-mapped", cameras=SLOTS)

    def _read(self, index: int, *, state: bool) -> Episode:
        start, length = int(self._starts[index]), int(self._lengths[index])
        part = slice(start, start + length)
        return Episode(
            index=index,
            actions=np.array(self._arrays["actions"][part]),
            state=np.array(self._arrays["state"][part]) if state else None,
            prompt=self._prompts[index],
            images={slot: self._frames(slot, start, length) for slot in SLOTS},
        )

    def _frames(self, slot: str, start: int, length: int) -> LazyFrames:
        def frame(number: int) -> NDArray[np.uint8]:
            return self._arrays[slot][start + number]  # type: ignore[no-any-return]

        return LazyFrames(length, frame)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit code 1 where a full run is slower than promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batches", description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds: a tiny recording, whose speed says little")
    parser.add_argument("--json", metavar="FILE", help="write all numbers there too")
    options = parser.parse_args(arguments)
    results = run(SMALL if options.small else FULL)
    show(results)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        say(f"wrote {options.json}")
    slow = [row["what"] for row in results["rows"] if row["examples_per_s"] < row["promised"]]
    if slow and not options.small:
        say(f"slower than promised: {', '.join(slow)}")
    return 1 if slow and not options.small else 0


def run(plan: Plan) -> dict[str, Any]:
    """All measurements of the plan, as JSON can hold them."""
    cores = use_two_cores()
    say("fitting the tokenizer")
    sample = open_dataset("synthetic:droid")
    tokenizer = fit_on_dataset(sample, FitOptions()).tokenizer
    text = open_text_tokenizer("byte")
    wording = Wording(PRESETS[DEFAULT], text, FastIds.onto(text, tokenizer.vocab_size))
    with tempfile.TemporaryDirectory() as folder:
        say("writing the recording")
        dataset = MappedDroid(Path(folder), open_dataset(f"synthetic:droid?episodes={plan.episodes}"), plan.pictured)
        assert tokenizer.source is not None
        assembler = Assembler(
            tokenizer,
            tokenizer.source.spec,
            wording,
            BatchShape(256, image_size=_SIZE),
            fit_state_normalizer(dataset),
            {slot: slot for slot in SLOTS},
        )
        rows = [
            _row("images", plan, Batches(dataset, assembler, BatchOptions(_BATCH), range(plan.pictured))),
            _row("tokens", plan, Batches(dataset, assembler, BatchOptions(_BATCH, images=False))),
        ]
    return {"machine": describe_machine(("numpy", "numba", "pillow")) | {"cores": cores}, "rows": rows}


def show(results: dict[str, Any]) -> None:
    """Print the table."""
    console = Console(width=120, highlight=False, markup=False)
    console.print(f"Machine: {machine_line(results['machine'])}\n")
    table = Table(title="Batches of 32", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for index, column in enumerate(
        ("with", "examples an epoch", "promised, examples/s", "best", "median", "slowest", "a core-second")
    ):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in results["rows"]:
        speeds = [
            f"{row[name]:,.0f}"
            for name in ("promised", "examples_per_s", "median_per_s", "slowest_per_s", "per_core_s")
        ]
        what = "3 pictures of 224 × 224" if row["what"] == "images" else "tokens alone"
        table.add_row(what, f"{row['examples']:,}", *speeds)
    console.print(table)
    console.print("A core-second's worth does not depend on what else the machine does.")


def _row(what: str, plan: Plan, batches: Batches) -> dict[str, Any]:
    say(f"batches with {what}")
    next(batches.epoch())
    speeds, per_core, count = [], [], 0
    for number in range(plan.repetitions):
        start, busy = time.perf_counter(), time.process_time()
        count = sum(len(batch) for batch in batches.epoch(number))
        speeds.append(count / (time.perf_counter() - start))
        per_core.append(count / (time.process_time() - busy))
    return {
        "what": what,
        "examples": count,
        "promised": PROMISED[what],
        "examples_per_s": max(speeds),
        "median_per_s": float(np.median(speeds)),
        "slowest_per_s": min(speeds),
        "per_core_s": float(np.median(per_core)),
        "repetitions": plan.repetitions,
    }


if __name__ == "__main__":
    sys.exit(main())
