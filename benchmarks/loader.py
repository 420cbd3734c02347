"""How fast training data are read: examples a second by the number of worker processes, with pictures and of tokens.

    python -m benchmarks.loader [--small] [--workers 0,1,2] [--json FILE]

Three kinds of data in batches of 32. **mapped**: a recording in DROID's shape that is written into a temporary folder,
actions, state and three cameras at 224 × 224 as memory-mapped arrays. **synthetic**: the built-in data at the size of
the ``tiny`` model, two pictures of 56 × 56 that are drawn when they are asked for. **tokens**: many mapped episodes, no
pictures. The tokens are FAST's under the default bound of 0.01, the text π0.5's under the byte tokenizer. The first
epoch reads everything for the first time; in later ones what was kept comes from memory. At most two cores are used.
"""

from __future__ import annotations

import argparse
import itertools
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
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import DEFAULT, PRESETS
from fastki.sequence.state import fit_state_normalizer
from fastki.sequence.text import open_text_tokenizer
from fastki.sequence.wording import Wording
from fastki.tokenizer import FastTokenizer, FitOptions, fit_on_dataset
from fastki.training.loader import open_loader
from fastki.training.loader_config import LoaderConfig

PROMISED = {"mapped": ("first", 400), "synthetic": ("first", 500), "tokens": ("best", 20_000)}
"""Examples a second on two cores without workers: in the first epoch, or in the best of the later ones."""
_WHAT = {"mapped": "3 pictures of 224 × 224", "synthetic": "2 drawn pictures of 56 × 56", "tokens": "tokens alone"}
_SIZE, _TINY, _BATCH = 224, 56, 32


@dataclass(frozen=True)
class Plan:
    """The extent of a run: episodes of tokens, of mapped and of drawn pictures, and later epochs that are timed."""

    episodes: int
    pictured: int
    drawn: int
    repetitions: int


FULL, SMALL = Plan(400, 8, 32, 5), Plan(4, 1, 1, 1)


class MappedDroid(Dataset):
    """A recording in memory-mapped files: an array of actions and one of states, one of frames a camera."""

    def __init__(self, folder: Path, source: Dataset, pictured: int) -> None:
        self._folder = folder
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
        self._open()
        self.info = replace(source.info, uri="memory-mapped", cameras=SLOTS)

    def _open(self) -> None:
        self._arrays = {path.stem: np.load(path, mmap_mode="r") for path in self._folder.glob("*.npy")}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_arrays"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds: a tiny recording, whose speed says little")
    parser.add_argument("--workers", default="0,1,2", help="numbers of worker processes, 0: threads")
    parser.add_argument("--json", metavar="FILE", help="write all numbers there too")
    options = parser.parse_args(arguments)
    results = run(SMALL if options.small else FULL, [int(word) for word in options.workers.split(",")])
    show(results)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        say(f"wrote {options.json}")
    slow = [row["what"] for row in results["rows"] if "promised" in row and row[row["when"]] < row["promised"]]
    if slow and not options.small:
        say(f"slower than promised: {', '.join(slow)}")
    return 1 if slow and not options.small else 0


def run(plan: Plan, workers: Sequence[int]) -> dict[str, Any]:
    """All measurements of the plan, as JSON can hold them."""
    cores = use_two_cores()
    say("fitting the tokenizer")
    tokenizer = fit_on_dataset(open_dataset("synthetic:droid"), FitOptions()).tokenizer
    drawn = open_dataset(f"synthetic:droid?episodes={plan.drawn}&size={_TINY}")
    with tempfile.TemporaryDirectory() as folder:
        say("writing the recording")
        mapped = MappedDroid(Path(folder), open_dataset(f"synthetic:droid?episodes={plan.episodes}"), plan.pictured)
        cameras = dict(zip(SLOTS, SLOTS, strict=True))
        three = _assembler(tokenizer, mapped, _SIZE, cameras)
        work = {
            "mapped": (mapped, three, range(plan.pictured)),
            "synthetic": (drawn, _assembler(tokenizer, drawn, _TINY, drawn.info.slots), None),
            "tokens": (mapped, three, None),
        }
        rows = [_row(what, work[what], count, plan.repetitions) for what in work for count in workers]
    machine = describe_machine(("numpy", "numba", "pillow", "grain"))
    return {"machine": machine | {"cores": cores}, "rows": rows}


def show(results: dict[str, Any]) -> None:
    """Print the table."""
    console = Console(width=120, highlight=False, markup=False)
    console.print(f"Machine: {machine_line(results['machine'])}\n")
    table = Table(title="Batches of 32", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for index, column in enumerate(
        ("examples/s with", "workers", "an epoch", "first epoch", "later", "best", "a core-second", "promised")
    ):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in results["rows"]:
        speeds = [f"{row[name]:,.0f}" for name in ("examples", "first", "later", "best")]
        core = f"{row['per_core']:,.0f}" if "per_core" in row else "–"
        promised = f"{row['promised']:,} ({row['when']})" if "promised" in row else "–"
        table.add_row(_WHAT[row["what"]], str(row["workers"]), *speeds, core, promised)
    console.print(table)
    console.print("A core-second's worth of the first epoch does not depend on what else the machine does.")


def _assembler(
    tokenizer: FastTokenizer, dataset: Dataset, size: int, slots: dict[str, str | None] | dict[str, str]
) -> Assembler:
    text = open_text_tokenizer("byte")
    wording = Wording(PRESETS[DEFAULT], text, FastIds.onto(text, tokenizer.vocab_size))
    assert tokenizer.source is not None
    shape = BatchShape(256, image_size=size)
    return Assembler(tokenizer, tokenizer.source.spec, wording, shape, fit_state_normalizer(dataset), slots)


def _row(
    what: str, work: tuple[Dataset, Assembler, Sequence[int] | None], workers: int, repetitions: int
) -> dict[str, Any]:
    """One kind of data by one number of workers: the first epoch, and the median of later ones."""
    say(f"{what}, {workers} workers")
    dataset, assembler, episodes = work
    config = LoaderConfig(_BATCH, images=what != "tokens", num_workers=workers)
    with open_loader(dataset, assembler, config, episodes=episodes) as loader:
        steps = max(1, int(loader.steps_per_epoch))
        next(loader)  # Workers have started then; threads are a few batches ahead.
        busy = time.process_time()
        first = _speed(loader, steps)
        busy = time.process_time() - busy
        later = [_speed(loader, steps) for _ in range(repetitions)]
    row = {"what": what, "workers": workers, "examples": steps * _BATCH, "first": first}
    row |= {"later": float(np.median(later)), "best": max(later), "repetitions": repetitions}
    if not workers:
        when, least = PROMISED[what]
        row |= {"when": when, "promised": least, "per_core": steps * _BATCH / busy}
    return row


def _speed(loader: Any, steps: int) -> float:
    """Examples a second over so many batches."""
    start = time.perf_counter()
    count = sum(len(batch) for batch in itertools.islice(loader, steps))
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
