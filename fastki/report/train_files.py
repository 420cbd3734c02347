"""What a training run leaves for people and spreadsheets: CSV and figures out of its log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastki.files import write_csv
from fastki.report.figures import save
from fastki.report.train_figures import gradient_norms, loss_curves
from fastki.training.metrics import best_and_last, columns_of, heldout_rows, learnt_from, read_metrics, read_rows
from fastki.training.run_folder import RunFolder


def write_curves(folder: RunFolder) -> list[Path]:
    """``metrics.csv`` and the figures, from ``metrics.jsonl``; nothing where no step was taken."""
    rows = read_metrics(folder.metrics)
    if not rows:
        return []
    table = folder.metrics.with_suffix(".csv")
    write_csv(table, columns_of(rows), rows)
    figures = {"losses": loss_curves(rows), "gradient_norms": gradient_norms(rows)}
    return [table, *(save(figure, folder.figures / f"{name}.png") for name, figure in figures.items())]


def train_payload(folder: RunFolder, step: int, interrupted: str | None) -> dict[str, Any]:
    """The machine-readable result: where the run is and its last numbers."""
    rows = read_metrics(folder.metrics)
    speed = read_rows(folder.speed) if folder.speed.is_file() else []
    return {
        "run": str(folder.path),
        "step": step,
        "interrupted": interrupted,
        "checkpoint": str(folder.checkpoints / str(step)),
        "metrics": learnt_from(rows[-1]) if rows else {},
        "heldout_losses": best_and_last(heldout_rows(rows)),
        "examples_per_second": speed[-1]["examples_per_second"] if speed else None,
        "waiting": speed[-1]["waiting"] if speed else None,
    }
