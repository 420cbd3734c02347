"""How fast the model trains and samples: both losses in one pass against two passes, and against the flow's alone.

    python -m benchmarks.model [--quick] [--json FILE]
    python -m benchmarks.model --size pi05 [--batch 8] [--train expert,lora,full] [--remat full] [--attention auto] …

The first compares training steps on two cores at most, in turns and in one process, at two sizes: ``pi05_sym`` has
three cameras of 256 tokens each and 64 tokens of text at most, ``tiny`` the built-in data with the byte tokenizer. The
two-pass step is what a trainer without fused losses does: the vision-language model over images, prompt and FAST for
the cross-entropy, then both networks over images and prompt, with the expert insulated, for the flow, gradients added.
Before anything is timed its gradient must be that of the single pass. The second runs one size on whatever device there
is, a GPU as a rule.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, use_two_cores
from benchmarks.timing import say

PROMISED = {"two passes": 0.65, "flow": 1.25}
"""The time of a step with both losses in one pass, over that of the other."""
WITHIN = 1e-5
"""Relative, the most by which one pass and two may differ."""


@dataclass(frozen=True)
class Plan:
    """The extent of a comparison: cells with their batch size, and how often each step is timed."""

    batches: dict[str, int]
    repetitions: int


FULL, QUICK = Plan({"pi05_sym": 8, "tiny": 32}, 15), Plan({"tiny": 2}, 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; exit code 1 where one pass and two do not agree."""
    options = _parser().parse_args(arguments)
    if options.size is None:
        use_two_cores()
    # JAX counts the cores when it is first imported, which these do.
    from benchmarks import model_tables

    if options.size is None:
        results = compare(QUICK if options.quick else FULL)
        model_tables.show_comparison(results, PROMISED)
    else:
        results = _full(options)
        model_tables.show_full(results)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        say(f"wrote {options.json}")
    wrong = [row["name"] for row in results.get("races", []) if max(row["error"].values()) > WITHIN]
    if wrong:
        say(f"one pass and two give different gradients: {', '.join(wrong)}")
    return 1 if wrong else 0


def compare(plan: Plan) -> dict[str, Any]:
    """All measurements of the plan, as JSON can hold them."""
    from benchmarks.model_cells import CELLS
    from benchmarks.model_sampling import sampling_row
    from benchmarks.model_steps import prepare, ratios_by_operations, runner

    races, samples = [], []
    for name, batch in plan.batches.items():
        say(f"{name}: compiling")
        cell = CELLS[name](batch)
        race, definition, params = prepare(cell)
        say(f"{name}: training steps")
        taken = in_turns({step: runner(race, step, params) for step in race.steps}, plan.repetitions)
        row = {"name": name, "batch": batch, "error": race.error, "peak_mb": race.peak_mb, **cell.lengths}
        races.append(row | _ratios(taken) | {"by_operations": ratios_by_operations(cell)})
        say(f"{name}: sampling")
        samples.append(sampling_row(cell, definition, params, plan.repetitions))
    machine = describe_machine(("numpy", "jax", "jaxlib", "flax"))
    return {"machine": machine, "races": races, "sampling": samples, "repetitions": plan.repetitions}


def in_turns(works: dict[str, Callable[[], Any]], repetitions: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds of each call, by the clock and of all cores, once each is warm; in every round each has its turn."""
    for work in works.values():
        work()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(repetitions):
        for name, work in works.items():
            start, busy = time.perf_counter(), time.process_time()
            work()
            taken[name].append((time.perf_counter() - start, time.process_time() - busy))
    return taken


def _ratios(taken: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """Medians, and medians of each round's ratio to the step with both losses in one pass."""
    row: dict[str, Any] = {}
    for place, clock in enumerate(("step_s", "core_s")):
        row[clock] = {name: statistics.median(pair[place] for pair in pairs) for name, pairs in taken.items()}
    for place, ratio in enumerate(("ratio", "core_ratio")):
        row[ratio] = {
            name: statistics.median(one[place] / other[place] for one, other in zip(taken["ki"], pairs, strict=True))
            for name, pairs in taken.items()
            if name != "ki"
        }
    return row


def _full(options: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.model_cells import TextLengths
    from benchmarks.model_full import FullPlan, run_full

    plan = FullPlan(
        size=options.size,
        dtype=options.dtype,
        batch=options.batch,
        text=TextLengths(options.prompt_tokens, options.fast_tokens),
        remat=options.remat,
        attention=options.attention,
        train=tuple(options.train.split(",")),
        repetitions=options.repetitions,
    )
    return {"machine": describe_machine(("numpy", "jax", "jaxlib", "flax")), **run_full(plan)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small batch of tiny alone, whose times say little")
    parser.add_argument("--json", metavar="FILE", help="write all numbers there too")
    parser.add_argument("--size", choices=("dummy", "tiny", "small", "pi05"), help="run this size alone, to its full")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of computation")
    parser.add_argument("--batch", type=_count, default=8, help="examples a step")
    parser.add_argument("--prompt-tokens", type=_count, default=200, help="tokens of text before FAST's")
    parser.add_argument("--fast-tokens", type=_count, default=56, help="FAST tokens at most")
    parser.add_argument("--remat", choices=("none", "dots", "full"), default="full", help="what is computed twice")
    parser.add_argument("--attention", choices=("auto", "xla", "cudnn", "blocks"), default="auto", help="kernel")
    parser.add_argument("--train", type=_train, default="expert,lora,full", help="any of expert, lora and full")
    parser.add_argument("--repetitions", type=_count, default=10, help="of each timed call")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no count: give 1 or more")
    return int(text)


def _train(text: str) -> str:
    if stray := set(text.split(",")) - {"expert", "lora", "full"}:
        raise argparse.ArgumentTypeError(f"{min(stray)!r} is none of expert, lora and full")
    return text


if __name__ == "__main__":
    sys.exit(main())
