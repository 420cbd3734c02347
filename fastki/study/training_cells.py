"""Training runs as the cells of a study: what is compared, and how one run becomes a row."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastki.config import from_plain, with_settings
from fastki.errors import FastkiError, UsageError
from fastki.model.config import MODES
from fastki.study.cells import Cell, Row, Shard
from fastki.training.begin import differences
from fastki.training.config import TrainConfig
from fastki.training.run_folder import RunFolder, read_config

if TYPE_CHECKING:
    from fastki.training.open_run import OpenRun

CURVE_POINTS = 10
"""Measurements on held-out windows during a run."""
_FRAMES = 256


@dataclass(frozen=True)
class Variant:
    """One of the things compared.

    Attributes:
        name: in tables.
        settings: ``a.b=c`` each, as of ``--set``.
    """

    name: str
    settings: tuple[str, ...]


def variants_of(words: str) -> tuple[Variant, ...]:
    """What ``--compare`` means: modes, or the values of one name of the configuration.

    >>> [variant.name for variant in variants_of("ki,joint")]
    ['ki', 'joint']
    >>> variants_of("ki_fast_loss_weight=0.1,1")[0]
    Variant(name='ki_fast_loss_weight=0.1', settings=('ki_fast_loss_weight=0.1',))

    Raises:
        UsageError: a mode that is none, one variant only, or one twice.
    """
    name, equals, values = words.partition("=")
    given = [word.strip() for word in (values if equals else words).split(",") if word.strip()]
    if not equals and (unknown := [word for word in given if word not in MODES]):
        raise UsageError(f"--compare {unknown[0]} is no mode: use {', '.join(MODES)}, or NAME=VALUE,VALUE,…")
    if len(given) < 2 or len(set(given)) < len(given):
        raise UsageError(f"--compare {words}: give two or more different ones, joined by commas")
    if equals:
        return tuple(Variant(f"{name.strip()}={value}", (f"{name.strip()}={value}",)) for value in given)
    return tuple(Variant(mode, (f"mode={mode}",)) for mode in given)


def variant_config(base: dict[str, Any], settings: Sequence[str], seed: int) -> TrainConfig:
    """The run of a variant: the same budget, and the same data in the same order, for all variants of a seed.

    Args:
        base: the plain values of a :class:`TrainConfig`.
        settings: of the variant.
        seed: of the run.

    Raises:
        UsageError: a name or value is none.
    """
    config = from_plain(TrainConfig, with_settings(base, list(settings)))
    every = max(1, config.steps // CURVE_POINTS)
    return dataclasses.replace(
        config,
        seed=seed,
        loader=dataclasses.replace(config.loader, seed=seed),
        save=dataclasses.replace(config.save, eval_every=every, every=max(every, config.steps // 2), keep=1),
    )


def train_rows(shard: Shard, cells: Sequence[Cell]) -> Iterator[tuple[int, Row]]:
    """Train and measure each cell; see :data:`fastki.study.cells.Work`.

    ``shard.context`` has ``base`` (plain configuration) and ``folder`` (of the runs, which stay: whatever measures,
    exports or goes on with a run of ``fastki train`` does so with these).
    """
    for place, cell in enumerate(cells):
        try:
            yield place, _row(shard.context, cell)
        except FastkiError as error:
            yield place, {"error": str(error)}


def _row(context: dict[str, Any], cell: Cell) -> Row:
    from fastki.evaluation.heldout import HeldOut
    from fastki.evaluation.open_loop import OpenLoopOptions, measure_open_loop
    from fastki.evaluation.policy import Policy
    from fastki.training.card import load_assets
    from fastki.training.loop import train
    from fastki.training.metrics import heldout_rows, read_metrics

    config = variant_config(context["base"], cell.parameters["settings"], cell.parameters["seed"])
    run = _open(Path(context["folder"]) / run_name(cell.parameters["variant"], cell.parameters["seed"]), config)
    setup, folder = run.setup, run.folder
    heldout = HeldOut(setup, run.machinery.definition, examples=setup.config.save.eval_examples)
    outcome = train(run.machinery, evaluate=heldout)
    if outcome.interrupted is not None:
        raise SystemExit(1)  # It is saved, and goes on from there when the comparison does.
    episodes = setup.heldout if len(setup.heldout) else setup.train
    policy = Policy(load_assets(folder.assets), outcome.params)
    measured = measure_open_loop(policy, setup.dataset, episodes, OpenLoopOptions(most=_FRAMES))
    curve = heldout_rows(read_metrics(folder.metrics))  # The last of them is of the last step.
    return {
        **{name: value for name, value in curve[-1].items() if name != "step"},
        **{f"{head}_error": measured.row(head).of_mean for head in policy.heads},
        "steps": outcome.step,
        "curve": curve,
    }


def run_name(variant: str, seed: int) -> str:
    """A folder's name.

    >>> run_name("recipe.schedule.peak=3e-3", 0), run_name("../mine.toml", 2)
    ('recipe.schedule.peak=3e-3-seed0', '.._mine.toml-seed2')
    """
    return f"{re.sub(r'[^A-Za-z0-9._=+-]', '_', variant)}-seed{seed}"


def _open(path: Path, config: TrainConfig) -> OpenRun:
    """The run that the folder holds, where it is this one; whatever else is there makes room."""
    from fastki.training.open_run import open_run

    folder = RunFolder(path)
    other = folder.exists() and (
        bool(differences(config, stored := read_config(folder))) or stored.steps != config.steps
    )
    return open_run(path, config, overwrite=other)
