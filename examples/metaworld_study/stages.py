"""The four stages: demonstrations, tokenizers, trainings, and the policies in the simulator.

Each goes on where it was stopped, and does nothing that it has done before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from examples.metaworld_study.plan import Plan, tokenizer_settings
from fastki.config import to_plain, to_toml
from fastki.data import open_with
from fastki.errors import UsageError
from fastki.sim.closed_loop import LoopOptions
from fastki.sim.demonstrate import Style
from fastki.sim.record import Open, record
from fastki.sim.record import Plan as Recording
from fastki.sim.recorded import read_recording
from fastki.sim.world import Setting
from fastki.study.cells import Row
from fastki.study.closed_loop import Trained, plan_closed_loop
from fastki.study.local import LocalEngine
from fastki.study.run import Engine, run_study
from fastki.study.store import RowStore
from fastki.study.training import plan_training
from fastki.study.training_cells import run_name, variant_config
from fastki.tokenizer import fit_on_dataset
from fastki.training.config import TrainConfig
from fastki.training.presets import configured, preset

Say = Callable[[str], object]


@dataclass(frozen=True)
class Means:
    """What the stages work with.

    Attributes:
        data: folder of the demonstrations.
        out: folder of rows and runs.
        engine: where cells are computed: one other process at a time, as each takes the whole machine.
        opener: opens a task; None: Meta-World's.
        workers: processes that record.
        say: told of every step, a line each.
    """

    data: Path
    out: Path
    engine: Engine = LocalEngine(1)  # noqa: RUF009
    opener: Open | None = None
    workers: int = 1
    say: Say = print


def demonstrations(plan: Plan, episodes: int, means: Means) -> None:
    """Record them, unless they are there.

    Two cameras, as one shows no depth. Episodes start anywhere: from one place, the hand would soon tell where it is
    going, and nothing that learns would have to look. Ten frames a second, since every frame costs two pictures.

    Raises:
        UsageError: what is there is no recording of the task, in which the policies could act; or it can't be recorded.
    """
    if means.data.exists():
        if plan.rollouts and plan.task not in (found := read_recording(means.data).prompts):
            raise UsageError(
                f"{means.data} holds no {plan.task}, but {', '.join(found)}: give another --data or --task"
            )
        return
    means.say(f"recording {episodes} demonstrations of {plan.task} to {means.data}")
    what = Recording((plan.task,), Setting(("front", "side"), every=8), Style(after=8, wander=4))
    [tally] = record(means.data, what, episodes, workers=means.workers, opener=means.opener)
    means.say(f"{tally.episodes} demonstrations, out of {tally.attempts} attempts of the expert")


def base_config(plan: Plan, data: Path) -> TrainConfig:
    """What every training has in common: the tiny preset on the demonstrations.

    Its stride of 6 takes a chunk from the beginning of an episode and hardly one from later on, where the hand already
    tells where it is going: with a chunk from every frame the pictures are learnt from much later.
    """
    changes: dict[str, Any] = {"steps": plan.steps, "data": {"uri": str(data.absolute())}}
    return configured(preset("tiny"), changes, list(plan.settings))


def tokenizers(plan: Plan, base: TrainConfig) -> dict[tuple[int, int], Row]:
    """(bins, vocabulary) → what that tokenizer costs and loses on held-out episodes."""
    dataset = open_with(base.data.uri, base.data.opened)
    found = {}
    for bins, vocab in plan.tokenizers:
        config = variant_config(to_plain(base), tokenizer_settings(bins, vocab), seed=0)
        fitted = fit_on_dataset(dataset, config.tokenizer.fit)
        measured = fitted.heldout or fitted.fitted
        found[bins, vocab] = {
            "tokens": measured.tokens_mean,
            "tokens_p99": measured.tokens_p99,
            "rounding": measured.rmse,
            "vocab_used": measured.vocab_used,
        }
    return found


@dataclass(frozen=True)
class Runs:
    """Finished trainings.

    Attributes:
        folder: that theirs lie in.
        rows: in the order of the study's cells, each with ``mode``, ``bins``, ``vocab`` and ``seed``, the ``name`` of
            its folder and the ``key`` of its training.
    """

    folder: Path
    rows: list[Row]


def trainings(plan: Plan, base: TrainConfig, means: Means) -> Runs:
    """Train every combination over every seed, and measure each open loop on held-out episodes.

    Raises:
        UsageError: none could be trained.
    """
    fingerprint = open_with(base.data.uri, base.data.opened).info.fingerprint
    # Runs of another budget or of other data lie beside these, so that no row can speak of another's run.
    digest = hashlib.sha256(f"{to_toml(base)}{fingerprint}".encode()).hexdigest()[:12]
    folder = means.out / "runs" / digest
    combinations = plan.combinations()
    variants = [combination.variant for combination in combinations]
    study = plan_training(base, variants, seeds=plan.seeds, folder=folder, fingerprint=fingerprint)
    names = [run_name(cell.parameters["variant"], cell.parameters["seed"]) for cell in study.cells]

    def tell(index: int, row: Row, stored: bool) -> None:
        measured = [f"{name} {row[name]:.3g}" for name in ("flow_error", "fast_error", "nats_per_value") if name in row]
        means.say(_line("trained", names[index], stored, row.get("error") or ", ".join(measured)))

    means.say(f"{len(study.cells)} trainings of {base.steps:,} steps")
    rows = run_study(study, means.engine, store=RowStore(means.out / "rows"), on_row=tell)
    if all(row.get("error") for row in rows):
        raise UsageError(f"nothing could be trained: {rows[0]['error']}")
    told = zip(product(range(plan.seeds), combinations), names, rows, strict=True)
    return Runs(
        folder,
        [
            {**asdict(one), "seed": seed, **row, "name": name, "key": study.key(index)}
            for index, ((seed, one), name, row) in enumerate(told)
        ],
    )


def rollouts(plan: Plan, runs: Runs, means: Means) -> dict[str, Row]:
    """Name of the run → how its heads did in the simulator; for the first of them, how chance did too."""
    trained = [Trained(row["name"], row["key"]) for row in runs.rows if not row.get("error")]
    if not trained or not plan.rollouts:
        return {}
    study = plan_closed_loop(trained, runs.folder, plan.env, LoopOptions(plan.rollouts), opener=means.opener)

    def tell(index: int, row: Row, stored: bool) -> None:
        solved = [f"{head} {sum(given)} of {len(given)}" for head, given in row.get("heads", {}).items()]
        means.say(_line("acted", trained[index].name, stored, row.get("error") or ", ".join(solved)))

    means.say(f"{plan.rollouts} episodes of each head in {plan.env}")
    rows = run_study(study, means.engine, store=RowStore(means.out / "rows"), on_row=tell)
    return {run.name: row for run, row in zip(trained, rows, strict=True)}


def _line(did: str, name: str, stored: bool, words: str) -> str:
    return f"{did}{' before' if stored else ''} {name}: {words}"
