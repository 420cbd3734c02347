"""``python -m examples.metaworld_study``: which tokenizer, which mode? Tried in a simulator, one command, resumable."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.metaworld_study.plan import Plan
from examples.metaworld_study.stages import Means, base_config, demonstrations, rollouts, tokenizers, trainings
from examples.metaworld_study.summary import lines_of
from examples.metaworld_study.write import Told, write_results
from fastki.data import open_dataset
from fastki.errors import FastkiError, UsageError
from fastki.files import require_writable
from fastki.sim.metaworld import require_metaworld, require_task
from fastki.sim.record import Open
from fastki.study.local import LocalEngine
from fastki.study.run import Engine


def main(words: Sequence[str], *, engine: Engine | None = None, opener: Open | None = None) -> int:
    """Do what the command line says; the exit code.

    Args:
        words: of the command line.
        engine: where cells are computed; None: in another process, one at a time.
        opener: opens the task; None: Meta-World's.
    """
    asked = _parser().parse_args(words)
    try:
        plan = _plan(asked)
        out: Path = asked.out
        data = asked.data or out / "demonstrations"
        means = Means(data, out, engine or LocalEngine(1), opener, workers=1 if opener else os.cpu_count() or 1)
        _study(plan, asked.episodes, means, command=shlex.join(["python", "-m", "examples.metaworld_study", *words]))
    except FastkiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _study(plan: Plan, episodes: int, means: Means, *, command: str) -> None:
    if episodes < 2:
        raise UsageError(f"--episodes {episodes} is out of range: 2 or more are needed, as some are held out")
    require_writable(means.out / "results.csv")
    if plan.rollouts and means.opener is None:
        require_metaworld()  # Before the trainings rather than after.
    base = base_config(plan, means.data)
    demonstrations(plan, episodes, means)
    measured = tokenizers(plan, base)
    runs = trainings(plan, base, means)
    lines = lines_of(runs.rows, measured, rollouts(plan, runs, means))
    told = Told(command, len(open_dataset(means.data)), base.steps, base.network.size)
    for path in write_results(lines, plan, told, means.out):
        means.say(f"wrote {path}")


def _plan(asked: argparse.Namespace) -> Plan:
    require_task(asked.task)
    return Plan(
        asked.modes, asked.bins, asked.vocab, asked.steps, asked.seeds, asked.rollouts, asked.task, tuple(asked.set)
    )


def _parser() -> argparse.ArgumentParser:
    default = Plan()
    parser = argparse.ArgumentParser(prog="python -m examples.metaworld_study", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, help="demonstrations of `fastki sim record`; recorded here if it isn't there")
    add("--episodes", type=int, default=2000, help="demonstrations that are recorded (%(default)s)")
    add("--task", default=default.task, help="of Meta-World (%(default)s)")
    add("--steps", type=int, default=default.steps, help="of each training (%(default)s)")
    add("--bins", type=numbers, default=default.bins, help="precisions, joined by commas (8,32)")
    add("--vocab", type=numbers, default=default.vocab, help="vocabularies, joined by commas (128,512)")
    add("--modes", type=_words, default=default.modes, help="joined by commas (ki,joint,flow,fast)")
    add("--seeds", type=int, default=default.seeds, help="trainings of each combination (%(default)s)")
    add("--rollouts", type=int, default=default.rollouts, help="episodes of each head; 0: no simulator (%(default)s)")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="of every training, as of `fastki train`")
    add("--out", type=Path, default=Path("fastki-out/metaworld_study"), help="folder of results (%(default)s)")
    return parser


def _words(said: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in said.split(",") if word.strip())


def numbers(said: str) -> tuple[int, ...]:
    return tuple(int(word) for word in _words(said))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
