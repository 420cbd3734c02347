"""The tokenizer sweep: what ``fastki sweep`` does, for a notebook.

>>> from fastki import open_dataset
>>> from fastki.study.sweep import SweepOptions, sweep
>>> options = SweepOptions(vocab=(256, 512), bins=(20, 40))
>>> result = sweep(open_dataset("synthetic:droid?episodes=8"), options)  # doctest: +SKIP
>>> result.rows[result.recommended].tokens_mean, result.recommendations[0].text  # doctest: +SKIP

In a script, call it under ``if __name__ == "__main__":``, as whatever starts processes.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastki import __version__
from fastki.config import from_plain, to_plain
from fastki.data import Dataset, split_episodes
from fastki.data.gather import too_short
from fastki.errors import UsageError
from fastki.study.cells import Cell, Row, Study
from fastki.study.grid import SweepCell, SweepOptions, grid
from fastki.study.local import LocalEngine
from fastki.study.recommend import Recommendation, pareto_front, recommend
from fastki.study.rows import SweepRow, row_of_cell
from fastki.study.run import Engine, run_study
from fastki.study.store import RowStore
from fastki.study.sweep_data import heldout_episodes, horizon_spec, make_shard
from fastki.study.sweep_work import sweep_rows
from fastki.tokenizer.fit import Progress
from fastki.tokenizer.pipeline import FitOptions, Fitted, choose_horizon, fit_on_dataset

__all__ = ["SweepOptions", "SweepResult", "pick_tokenizer", "plan_sweep", "sweep"]

_DETAILS = ("token_lengths", "per_dim")

OnSweepRow = Callable[[int, SweepRow, bool], object]
"""Called with a row's index, the row, and whether it was stored before this run."""


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that has passed all checks and not begun.

    Attributes:
        study: for the runner.
        cells: of the grid, in the order of the rows.
        notes: what a user should know, a sentence each.
    """

    study: Study
    cells: tuple[SweepCell, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep.

    Attributes:
        rows: a row a cell, by method, horizon, order, bins and vocabulary.
        details: of each row, what figures need: ``token_lengths`` and ``per_dim``; empty for refused cells.
        pareto: indices of the rows that no other of their horizon beats in both tokens and RMSE.
        recommendations: one a horizon, the best first.
    """

    rows: tuple[SweepRow, ...]
    details: tuple[dict[str, Any], ...]
    pareto: tuple[int, ...]
    recommendations: tuple[Recommendation, ...]

    @property
    def recommended(self) -> int | None:
        """Index of the row to take; None where every cell was refused."""
        return self.recommendations[0].row if self.recommendations else None


def sweep(
    dataset: Dataset,
    options: SweepOptions,
    *,
    engine: Engine | None = None,
    store: Path | None = None,
    on_row: OnSweepRow | None = None,
) -> SweepResult:
    """Fit and measure every tokenizer of a grid.

    Args:
        dataset: what to compare on.
        options: the grid.
        engine: where to compute; a process pool by default.
        store: folder of finished rows; the same sweep goes on where it was stopped.
        on_row: told of each row as it comes.

    Raises:
        UsageError, DataError, TokenizerError: as :func:`plan_sweep`.
    """
    return run_sweep(plan_sweep(dataset, options), options, engine=engine, store=store, on_row=on_row)


def plan_sweep(dataset: Dataset, options: SweepOptions) -> SweepPlan:
    """Check the whole grid against the data, before any work.

    Raises:
        UsageError: a cell that can't be, such as a spline with more control points than steps.
        DataError: every fitted episode is shorter than a horizon.
        TokenizerError: a published tokenizer that can't be read.
    """
    if options.probe and importlib.util.find_spec("jax") is None:
        raise UsageError("--probe trains a network and needs JAX: `pip install 'fastki[probe]'`")
    horizons = options.horizon or (choose_horizon(dataset, None),)
    everything = np.arange(len(dataset))
    seen, _ = split_episodes(len(dataset), holdout=options.data.holdout, seed=options.data.seed)
    notes = []
    for horizon in horizons:
        spec = horizon_spec(dataset, options, horizon)
        spec.kept(dataset.info.action_dim)
        if (dataset.info.lengths[seen] < horizon).all():
            raise too_short(dataset, spec, seen if (dataset.info.lengths >= horizon).any() else everything)
        if not len(heldout_episodes(dataset, options, horizon)):
            notes.append(f"horizon {horizon}: no held-out episode is long enough, so its rows are of the fitted ones")
    cells = grid(options, horizons)
    study = Study(
        name="sweep",
        settings=_settings(dataset, options),
        cells=tuple(Cell(to_plain(cell), shard=str(cell.horizon), group=_group(cell, options)) for cell in cells),
        shards={str(horizon): functools.partial(make_shard, dataset, options, horizon) for horizon in horizons},
        work=sweep_rows,
    )
    return SweepPlan(study, cells, tuple(notes))


def run_sweep(
    plan: SweepPlan,
    options: SweepOptions,
    *,
    engine: Engine | None = None,
    store: Path | None = None,
    on_row: OnSweepRow | None = None,
) -> SweepResult:
    """Run what :func:`plan_sweep` planned."""

    def tell(index: int, row: Row, stored: bool) -> None:
        if on_row is not None:
            on_row(index, _row(plan.cells[index], row), stored)

    stored = None if store is None else RowStore(store)
    raw = run_study(plan.study, engine or LocalEngine(), store=stored, on_row=tell)
    rows = tuple(_row(cell, row) for cell, row in zip(plan.cells, raw, strict=True))
    details = tuple({name: value for name, value in row.items() if name in _DETAILS} for row in raw)
    return SweepResult(rows, details, pareto_front(rows), recommend(rows, options))


def pick_tokenizer(
    dataset: Dataset, options: SweepOptions, row: SweepRow, *, progress: Progress | None = None
) -> Fitted:
    """The tokenizer of a row, fitted anew on the same chunks: bit for bit the one that was measured.

    Raises:
        UsageError: the row is of a method whose tokenizers fastki does not save, or was refused.
    """
    if row.error or row.method != "fast":
        why = f"was refused ({row.error})" if row.error else f"is of the method {row.method}"
        raise UsageError(f"this row {why}, and only tokenizers of the method fast can be saved: pick another row")
    cell = SweepCell(
        row.method,
        row.horizon,
        None if row.bound else row.bins,
        row.bound,
        row.vocab_size,
        "dim" if row.order == "dim" else "freq",
    )
    return fit_on_dataset(
        dataset, replace(options.data, tokenizer=cell.settings, horizon=row.horizon), progress=progress
    )


def _row(cell: SweepCell, row: Row) -> SweepRow:
    return from_plain(SweepRow, row["row"]) if "row" in row else row_of_cell(cell, error=row.get("error"))


def _group(cell: SweepCell, options: SweepOptions) -> str:
    """With a probe, whose training takes far longer than a fit, every cell is a task of its own."""
    return f"{cell.group} {cell.vocab_size}" if options.probe else cell.group


def _settings(dataset: Dataset, options: SweepOptions) -> dict[str, Any]:
    """All that changes a row besides its cell."""
    return {
        "version": __version__,
        "fingerprint": dataset.info.fingerprint,
        "data": to_plain(replace(options.data, tokenizer=FitOptions().tokenizer, horizon=None)),
        "atol": options.bound,
        "probe": options.probe,
    }
