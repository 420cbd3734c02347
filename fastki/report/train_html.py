"""A training run as sections of a page: how it went, what it was made of, what was measured."""

from __future__ import annotations

from pathlib import Path

from fastki.config import to_toml
from fastki.report.drawn import Drawn, write_drawn
from fastki.report.eval_tables import TITLES
from fastki.report.html import Command, Facts, Section, Words
from fastki.report.html_table import pictures
from fastki.report.loop_html import loop_parts, played_in
from fastki.report.run_tables import run_pairs
from fastki.report.runs import read_object
from fastki.report.train_figures import gradient_norms, loss_curves
from fastki.training.metrics import read_metrics
from fastki.training.run_folder import RunFolder
from fastki.training.run_summary import RunSummary, summarize_run

MARK, MADE_BY = "config.toml", "fastki train"
_CURVES = "Each step faint, and smoothed over a fortieth of the run; points: held-out episodes."
_NORMS = "Before clipping, by part of the model."


def train_sections(folder: Path, scratch: Path) -> tuple[str, list[Section]]:
    """What the run in ``folder`` learnt, and its sections; figures are written into ``scratch``.

    Raises:
        DataError, UsageError, CheckpointError: a file of the run is damaged.
    """
    run = summarize_run(folder)
    drawn = _drawn(RunFolder(folder))
    write_drawn(drawn, scratch, stems=())
    sections = [
        Section("How far it is", (Facts(tuple(run_pairs(run))),)),
        Section("Learning", pictures(drawn, scratch) or (Words(("No step was taken yet.",)),)),
        *_evaluation(run),
        *_played(folder, scratch),
        Section("Configuration", (Command(to_toml(run.config)),)),
        *_made_by(RunFolder(folder)),
    ]
    return run.config.data.uri, sections


def _drawn(folder: RunFolder) -> list[Drawn]:
    rows = read_metrics(folder.metrics)
    if not rows:
        return []
    return [
        Drawn("losses", "Losses", _CURVES, loss_curves(rows)),
        Drawn("gradients", "Gradient norms", _NORMS, gradient_norms(rows)),
    ]


def _evaluation(run: RunSummary) -> list[Section]:
    found = run.evaluation
    if found is None:
        return []
    pairs = [
        (
            TITLES.get(name, name),
            f"mean absolute error {row['mae']:.4g} normalised, {row['of_mean']:.2f} of the mean action's",
        )
        for part in ("heads", "floors")
        for name, row in found.get(part, {}).items()
        if row.get("of_mean") is not None
    ]
    return [Section("On held-out episodes", (Facts(tuple(pairs)),))] if pairs else []


def _played(folder: Path, scratch: Path) -> list[Section]:
    return [
        Section(f"In the simulator: {played.env}", loop_parts(played, scratch, f"success{number}"))
        for number, played in enumerate(played_in(folder))
    ]


def _made_by(folder: RunFolder) -> list[Section]:
    if not folder.environment.is_file():
        return []
    found = read_object(folder.environment, MADE_BY)
    names: tuple[str, ...] = ("python", "platform", "devices")
    pairs = [(name, str(found[name])) for name in names if name in found]
    libraries = found.get("libraries")
    if isinstance(libraries, dict):
        pairs.append(("libraries", ", ".join(f"{name} {version}" for name, version in libraries.items())))
    command = found.get("command")
    words = " ".join(map(str, command)) if isinstance(command, list) else ""
    return [Section("Trained with", (*([Command(words)] if words else []), Facts(tuple(pairs))))]
