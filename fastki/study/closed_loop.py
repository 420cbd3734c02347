"""Trained runs in the simulator that their data were recorded in, as the cells of a study.

Their rows lie apart from those of training: more episodes, or another way to act, train nothing again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastki import __version__
from fastki.config import to_plain
from fastki.errors import FastkiError
from fastki.study.cells import Cell, Row, Shard, Study

if TYPE_CHECKING:
    from fastki.sim.closed_loop import LoopOptions, Success
    from fastki.sim.record import Open


@dataclass(frozen=True)
class Trained:
    """A run that acts.

    Attributes:
        name: of its folder.
        key: of the row that its training gave: what was trained otherwise under that name is another cell.
    """

    name: str
    key: str


def plan_closed_loop(
    runs: Sequence[Trained], folder: Path, env: str, options: LoopOptions, *, opener: Open | None = None
) -> Study:
    """The study of all runs, each head of each in the same episodes; the floors act beside the first run only.

    Args:
        runs: trained on data of one recording.
        folder: that theirs lie in.
        env: such as ``metaworld:reach-v3``.
        options: how each is measured.
        opener: opens the task, a module-level function; by default Meta-World's.
    """
    floor = options.episodes if options.floor is None else options.floor
    cells = tuple(
        Cell({"run": run.name, "trained": run.key, "floor": 0 if number else floor}, "runs", run.name)
        for number, run in enumerate(runs)
    )
    context = {"folder": str(folder.absolute()), "env": env, "options": options, "opener": opener}
    settings = {"env": env, "options": {**to_plain(options), "floor": None}, "version": __version__}
    return Study("closed loop", settings, cells, {"runs": lambda: Shard({}, context)}, act_rows)


def act_rows(shard: Shard, cells: Sequence[Cell]) -> Iterator[tuple[int, Row]]:
    """Let each run act; see :data:`fastki.study.cells.Work`.

    A row has ``heads`` and ``floors``, each name → whether each episode was solved, and ``frames`` that an episode may
    last, ``replan``, ``horizon``. What keeps a run from acting may be mended, so that its error is not stored.
    """
    for place, cell in enumerate(cells):
        try:
            yield place, _row(shard.context, cell)
        except FastkiError as error:
            yield place, {"error": str(error), "lost": True}


def _row(context: dict[str, Any], cell: Cell) -> Row:
    from fastki.evaluation.acting import Sampling
    from fastki.sim.evaluate import evaluate_in, find_place

    options = replace(context["options"], floor=cell.parameters["floor"])
    place = find_place(Path(context["folder"]) / cell.parameters["run"], context["env"], None)
    found = evaluate_in(place, None, Sampling(seed=options.seed), options, films=False, opener=context["opener"])
    return {
        "heads": {row.name: _solved(row) for row in found.heads},
        "floors": {row.name: _solved(row) for row in found.floors},
        "frames": found.limit,
        "replan": found.replan,
        "horizon": found.horizon,
    }


def _solved(row: Success) -> list[bool]:
    return [rollout.solved for rollout in row.rollouts]
