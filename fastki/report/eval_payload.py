"""What ``fastki eval`` found as JSON and CSV can hold it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastki.config import to_plain
from fastki.evaluation.ablation import AblationRow, ablation_words
from fastki.evaluation.errors import ErrorRow
from fastki.evaluation.evaluate import Evaluation
from fastki.evaluation.latency import Latency
from fastki.evaluation.open_loop import OpenLoop
from fastki.evaluation.reopen import Reopened
from fastki.files import write_csv, write_json

NAME = "evaluation.json"
COLUMNS = ("by", "kind", "dimension", "unit", "mae", "low", "high")


def eval_payload(run: Reopened, found: Evaluation) -> dict[str, Any]:
    """All that was measured, under these keys.

    ``run``, ``checkpoint``, ``step``, ``mode``, ``data``, ``part``: what was measured, and on what. ``episodes``,
    ``frames``, ``horizon``: on how much. ``heads``, ``floors``: name → ``mae`` and ``rmse`` (normalised units),
    ``interval`` (95 %, over episodes), ``of_mean`` (against the mean action's), ``dimensions`` (native units),
    ``by_step``, and of the FAST head ``tokens`` and ``malformed``. ``ablations``: a row for each head and thing, with
    its ``rise``; ``sentences`` in words. ``nats_per_value``, ``losses``, ``windows``: of the losses. ``malformed``: of
    the FAST head. ``latency_ms``: of each head. ``sampling``: how actions were drawn. ``notes``.
    """
    measured = found.open_loop
    heads = {row.name: _row(row, measured) for row in measured.heads}
    floors = {row.name: _row(row, measured) for row in measured.rows if row.name not in heads}
    return {
        "run": None if run.run is None else str(run.run),
        "checkpoint": str(run.checkpoint),
        "step": run.step,
        "mode": run.policy.card.mode,
        "data": run.setup.dataset.info.uri,
        "part": run.part,
        "episodes": measured.episodes,
        "frames": measured.frames,
        "horizon": run.policy.horizon,
        "heads": heads,
        "floors": floors,
        "ablations": [_ablation(row) for row in measured.ablations],
        "sentences": ablation_words(measured.ablations),
        "nats_per_value": _finite(found.losses.get("nats_per_value")),
        "losses": {name: _finite(value) for name, value in found.losses.items()},
        "windows": found.windows,
        "malformed": next((row.malformed for row in measured.heads if row.malformed is not None), None),
        "latency_ms": {latency.head: _latency(latency) for latency in found.latency},
        "sampling": to_plain(run.policy.sampling),
        "notes": list(found.notes),
    }


def write_evaluation(payload: dict[str, Any], command: str, folder: Path) -> list[Path]:
    """Write ``evaluation.json`` (the payload and the command) and ``evaluation.csv``.

    Raises:
        UsageError: the folder can't be written to.
    """
    paths = [folder / NAME, folder / "evaluation.csv"]
    write_json(paths[0], {**payload, "command": command})
    write_csv(paths[1], COLUMNS, _csv_rows(payload))
    return paths


def _row(row: ErrorRow, measured: OpenLoop) -> dict[str, Any]:
    ends: Sequence[Any] = [None] * len(measured.names)
    if row.native_intervals is not None:
        ends = row.native_intervals.tolist()
    dimensions = [
        {"name": name, "unit": unit, "mae": mae, "interval": interval}
        for name, unit, mae, interval in zip(measured.names, measured.units, row.mae_native.tolist(), ends, strict=True)
    ]
    return {
        "mae": row.mae,
        "interval": to_plain(row.interval),
        "rmse": row.rmse,
        "of_mean": _finite(row.of_mean),
        "dimensions": dimensions,
        "by_step": row.by_step.tolist(),
        **({} if row.tokens is None else {"tokens": row.tokens, "malformed": row.malformed}),
    }


def _ablation(row: AblationRow) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(row)
    return plain


def _latency(latency: Latency) -> dict[str, Any]:
    plain = dataclasses.asdict(latency)
    return {name: plain[name] * 1e3 for name in ("median", "p90", "model")} | {"calls": latency.calls}


def _csv_rows(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each head and floor over all values, normalised, and one for each of its dimensions, native."""
    lines = []
    for kind in ("heads", "floors"):
        for name, row in payload[kind].items():
            whole = {"name": "", "unit": "normalised", "mae": row["mae"], "interval": row["interval"]}
            for dimension in (whole, *row["dimensions"]):
                low, high = dimension["interval"] or (None, None)
                said = {"by": name, "kind": kind[:-1], "dimension": dimension["name"], "unit": dimension["unit"]}
                lines.append(said | {"mae": dimension["mae"], "low": low, "high": high})
    return lines


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
