"""What a sweep saves by doing no work twice: five vocabularies against one, and against five separate fits.

    python -m benchmarks.sweep [--data PATH] [--quick]

Three costs, each for five vocabularies and for the largest alone, in this process unless the last:

* tokenizers: the fit, the round trip and all tokens;
* rows: the same, every figure of a row, and its n-gram model, which each vocabulary needs anew;
* command: the whole sweep with its processes, from opening the dataset on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.cells import default_data
from benchmarks.machine import describe_machine, machine_line
from benchmarks.timing import say
from fastki.config import to_plain
from fastki.data import open_dataset
from fastki.study.cells import Cell
from fastki.study.grid import SweepCell, SweepOptions, grid
from fastki.study.sweep import sweep
from fastki.study.sweep_data import SweepData, make_shard
from fastki.study.sweep_work import fast_members, sweep_rows
from fastki.tokenizer import FitOptions, roundtrip
from fastki.tokenizer.fit import fit_tokenizer
from fastki.tokenizer.kernels import warm_up

VOCABULARIES = (256, 512, 1024, 2048, 4096)
TARGET = 1.6
"""Five vocabularies' tokenizers may cost so many times one's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; exit code 1 where five vocabularies' tokenizers cost more than :data:`TARGET` times one's."""
    options = _parse(arguments)
    horizons, bins = ((16,), (40.0,)) if options.quick else ((16, 50), (20.0, 80.0, 256.0))
    wishes = SweepOptions(vocab=VOCABULARIES, bins=bins, horizon=horizons, data=FitOptions(dims=options.dims))
    table = Table(title="Seconds of five vocabularies and of one", title_justify="left")
    for header in ("cells", "cost", "five", "one", "ratio"):
        table.add_column(header, justify="left" if header in ("cells", "cost") else "right")
    worst = 0.0
    for name, cost, five, one in _measure(options.data, wishes, 2 if options.quick else 5):
        table.add_row(name, cost, f"{five:.3f}", f"{one:.3f}", f"{five / one:.2f}×")
        worst = max(worst, five / one if cost == "tokenizers" else 0.0)
    console = Console(width=110, highlight=False)
    console.print(f"Machine: {machine_line(describe_machine())}")
    console.print(f"Data: {options.data}, dimensions {options.dims}")
    console.print(table)
    console.print(f"five vocabularies' tokenizers cost at most {worst:.2f}× one's (target {TARGET}×)")
    return int(worst > TARGET)


def _measure(uri: str, wishes: SweepOptions, repetitions: int) -> list[tuple[str, str, float, float]]:
    """(cells, cost, seconds of five, seconds of one) of every precision and horizon, then of the whole command."""
    warm_up()
    dataset, rows = open_dataset(uri), []
    for horizon in wishes.horizon:
        shard = make_shard(dataset, wishes, horizon)
        data = SweepData.of(shard)
        for bins in wishes.bins:
            name = f"H {horizon}, {bins:g} bins"
            say(name)
            five = grid(replace(wishes, bins=(bins,)), [horizon])

            def rows_of(cells: Sequence[SweepCell], shard=shard) -> list:
                return list(sweep_rows(shard, [Cell(to_plain(cell), "", "") for cell in cells]))

            def separately(cells: Sequence[SweepCell], data=data) -> None:
                for cell in cells:
                    fitted = fit_tokenizer(data.fitted, cell.settings, normalizer=data.context.normalizer)
                    roundtrip(fitted, [data.heldout])

            costs: dict[str, Callable] = {
                "tokenizers": lambda cells, data=data: list(fast_members(data, cells)),
                "fits of their own": separately,
                "rows": rows_of,
            }
            for cost, work in costs.items():
                rows.append((name, cost, *_seconds(work, (five, five[-1:]), repetitions)))
    say("command")
    whole = _seconds(
        lambda vocab: sweep(open_dataset(uri), replace(wishes, vocab=vocab)), (wishes.vocab, wishes.vocab[-1:]), 2
    )
    return [*rows, ("all of them", "command", *whole)]


def _seconds(work: Callable[[Any], object], inputs: Sequence[Any], repetitions: int) -> list[float]:
    """The least seconds of a call on each input, called in turn: what else runs on the machine hits all alike."""
    taken: list[list[float]] = [[] for _ in inputs]
    for _ in range(repetitions):
        for place, item in enumerate(inputs):
            start = time.perf_counter()
            work(item)
            taken[place].append(time.perf_counter() - start)
    return [min(mine) for mine in taken]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=default_data(), help="dataset (default: %(default)s)")
    parser.add_argument("--dims", default="0:8", help="dimensions (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one precision, one horizon, few repetitions")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
