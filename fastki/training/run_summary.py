"""A run's folder in brief: what it was made of, how far it is, and how it went. Nothing large is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastki.errors import DataError
from fastki.training.config import TrainConfig
from fastki.training.metrics import learnt_from, read_metrics, read_rows
from fastki.training.run_folder import RunFolder, read_config
from fastki.training.steps import Steps, find_steps

_LAST = 20  # Steps that the losses at the end are the means of.
_MAX_BYTES = 1 << 26
_EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class RunSummary:
    """What is in a run's folder.

    Attributes:
        folder: of the run.
        config: as resolved.
        step: the last that is noted; 0 where none is.
        losses: each metric at the end, the mean over the last 20 steps.
        speed: the last line of ``speed.jsonl``: examples a second, share of waiting, seconds; empty without one.
        checkpoints: that can be read, and why others can't.
        evaluation: what the last ``fastki eval`` wrote; None where there is nothing.
    """

    folder: Path
    config: TrainConfig
    step: int
    losses: Mapping[str, float] = field(default_factory=dict)
    speed: Mapping[str, float] = field(default_factory=dict)
    checkpoints: Steps = field(default_factory=Steps)
    evaluation: Mapping[str, Any] | None = None


def summarize_run(path: Path) -> RunSummary:
    """The summary of the run at ``path``.

    Raises:
        CheckpointError: there is none.
        UsageError, DataError: one of its files is damaged.
    """
    folder = RunFolder(path)
    config = read_config(folder)
    rows = read_metrics(folder.metrics)
    speeds = read_rows(folder.speed) if folder.speed.is_file() else []
    return RunSummary(
        path,
        config,
        int(rows[-1].get("step", 0)) if rows else 0,
        _at_the_end(rows),
        {name: value for name, value in speeds[-1].items() if name != "step"} if speeds else {},
        find_steps(folder.checkpoints, training=False),
        _evaluation(folder.evaluation / _EVALUATION),
    )


def _at_the_end(rows: list[dict[str, Any]]) -> dict[str, float]:
    last = rows[-_LAST:]
    names = list(learnt_from(last[-1])) if last else []
    return {name: float(np.mean([row[name] for row in last if name in row])) for name in names}


def _evaluation(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("it is too large")
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict) or not isinstance(found.get("heads"), dict):
            raise ValueError("it has no heads")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error}): run `fastki eval` again, or remove it") from error
    return found
