"""Training runs compared: modes, layouts, or any value of the configuration, each over several seeds.

All runs of a seed have the same budget and see the same data in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastki import __version__
from fastki.config import to_plain
from fastki.errors import UsageError
from fastki.study.cells import Cell, Row, Shard, Study
from fastki.study.local import LocalEngine
from fastki.study.run import Engine, run_study
from fastki.study.store import RowStore
from fastki.study.training_cells import Variant, train_rows, variant_config
from fastki.training.config import TrainConfig

METRICS: dict[str, str] = {
    "flow_error": "action error of the flow head, of the mean action's",
    "fast_error": "action error of the FAST head, of the mean action's",
    "nats_per_value": "nats per action value",
    "flow_loss": "flow loss",
}
"""What is compared, all on held-out episodes and lower is better: name → in words."""
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: of them.
        low, high: 95 % interval of Student's t over seeds; None for one seed.
        values: one a seed.
    """

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]

    def overlaps(self, other: Estimate) -> bool:
        """Whether the two intervals meet; with one seed there is none, and nothing can be told apart."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return True
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Compared:
    """One variant.

    Attributes:
        name: its.
        estimates: by metric; those that its mode has.
        curves: of each seed, measurements during the run.
        errors: why runs failed, one each.
    """

    name: str
    estimates: dict[str, Estimate]
    curves: tuple[tuple[dict[str, float], ...], ...]
    errors: tuple[str, ...]


@dataclass(frozen=True)
class TrainingComparison:
    """A finished comparison.

    Attributes:
        variants: in the order asked for.
        rows: of each run: ``variant``, ``seed``, its metrics, ``error``.
        steps: of every run.
        seeds: how many.
    """

    variants: tuple[Compared, ...]
    rows: tuple[Row, ...]
    steps: int
    seeds: int

    def ranking(self) -> list[str]:
        """A sentence a metric: who is best, or that it can't be told."""
        return [words for metric in METRICS if (words := _ranked(metric, self.variants)) is not None]


def plan_training(
    base: TrainConfig, variants: Sequence[Variant], *, seeds: int, folder: Path, fingerprint: str
) -> Study:
    """The study of all variants and seeds.

    Args:
        base: of every run; its tokenizer must be a folder, so that all have the same.
        variants: what is compared.
        seeds: 0 to ``seeds`` − 1.
        folder: of the runs.
        fingerprint: of the data.

    Raises:
        UsageError: fewer than one seed, or a variant that is no configuration.
    """
    if seeds < 1:
        raise UsageError(f"--seeds {seeds} is out of range: 1 or more is needed")
    plain = to_plain(base)
    for variant in variants:
        variant_config(plain, variant.settings, 0)
    cells = tuple(
        Cell({"variant": variant.name, "settings": list(variant.settings), "seed": seed}, "runs", f"v{number}")
        for seed in range(seeds)
        for number, variant in enumerate(variants)
    )
    context = {"base": plain, "folder": str(folder.absolute())}
    settings = {"base": plain, "data": fingerprint, "version": __version__}
    return Study("training", settings, cells, {"runs": lambda: Shard({}, context)}, train_rows)


def compare_training(
    base: TrainConfig,
    variants: Sequence[Variant],
    *,
    seeds: int,
    folder: Path,
    fingerprint: str,
    engine: Engine | None = None,
    on_row: Callable[[int, Row, bool], object] | None = None,
) -> TrainingComparison:
    """Train and measure all variants over all seeds; what was done before in ``folder`` is not done again.

    Args:
        base, variants, seeds, fingerprint: see :func:`plan_training`.
        folder: of rows and runs.
        engine: where; by default one other process, as each run takes the whole machine.
        on_row: told of each run.

    Raises:
        UsageError: as :func:`plan_training`.
        StudyError: a mistake in fastki.
    """
    study = plan_training(base, variants, seeds=seeds, folder=folder / "runs", fingerprint=fingerprint)
    found = run_study(study, engine or LocalEngine(1), store=RowStore(folder / "rows"), on_row=on_row)
    rows = [{**dict(cell.parameters), **row} for cell, row in zip(study.cells, found, strict=True)]
    return summed_up([variant.name for variant in variants], rows, steps=base.steps, seeds=seeds)


def summed_up(names: Sequence[str], rows: Sequence[Row], *, steps: int, seeds: int) -> TrainingComparison:
    """A comparison out of its runs.

    Args:
        names: of the variants, in the order of the tables.
        rows: of the runs, each with its ``variant``, ``seed``, metrics and ``curve``, or its ``error``.
        steps: of every run.
        seeds: how many.
    """
    return TrainingComparison(tuple(_compared(name, rows) for name in names), tuple(rows), steps, seeds)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval.

    >>> found = estimate([1.0, 2.0, 3.0])
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3)
    (2.0, -0.484, 4.484)
    """
    from scipy.stats import t

    mean = sum(values) / len(values)
    if len(values) < 2:
        return Estimate(mean, None, None, tuple(values))
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    reach = float(t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1)) * math.sqrt(variance / len(values))
    return Estimate(mean, mean - reach, mean + reach, tuple(values))


def _compared(name: str, rows: Sequence[Row]) -> Compared:
    mine = [row for row in rows if row["variant"] == name]
    good = [row for row in mine if not row.get("error")]
    estimates = {
        metric: estimate([row[metric] for row in good])
        for metric in METRICS
        if good and all(row.get(metric) is not None for row in good)
    }
    curves = tuple(tuple(row["curve"]) for row in good)
    return Compared(name, estimates, curves, tuple(str(row["error"]) for row in mine if row.get("error")))


def _ranked(metric: str, variants: Sequence[Compared]) -> str | None:
    found = [(one.name, one.estimates[metric]) for one in variants if metric in one.estimates]
    if len(found) < 2:
        return None
    found.sort(key=lambda pair: pair[1].mean)
    (first, best), *others = found
    near = [name for name, other in others if best.overlaps(other)]
    if best.low is None:
        return f"{METRICS[metric]}: one seed tells nothing apart; lowest is {first} ({best.mean:.3g})"
    if near:
        return f"{METRICS[metric]}: no winner, as the intervals of {first} and {', '.join(near)} overlap"
    return f"{METRICS[metric]}: {first} is best, {best.mean:.3g} [{best.low:.3g}, {best.high:.3g}]"
