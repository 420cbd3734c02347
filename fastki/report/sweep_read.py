"""A sweep out of the file that :mod:`fastki.report.sweep_files` wrote, whole enough for every figure and table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastki.config import from_plain, to_plain
from fastki.errors import UsageError
from fastki.report.runs import damaged, read_object
from fastki.study.recommend import Recommendation, pareto_front
from fastki.study.rows import SweepRow
from fastki.study.sweep import SweepResult
from fastki.tokenizer.roundtrip import DimensionError

MADE_BY = "fastki sweep"
_MEASURED = (
    "action_dim",
    "vocab_size",
    "vocab_actual",
    "vocab_used",
    "vocab_use",
    "tokens_mean",
    "tokens_p50",
    "tokens_p99",
    "tokens_max",
    "compression",
    "bits_per_chunk",
    "entropy_bits",
    "rmse",
    "p99_abs_error",
    "max_abs_error",
    "worst_dimension",
    "worst_error_native",
    "within_atol",
    "chunks",
    "episodes",
)
"""What every row has that was not refused."""
_MOST = 2**40


@dataclass(frozen=True)
class _Detail:
    token_lengths: tuple[tuple[int, int], ...] = ()
    per_dim: tuple[DimensionError, ...] = ()


def read_sweep(path: Path) -> tuple[dict[str, Any], SweepResult]:
    """The payload of a sweep, and the sweep.

    Raises:
        DataError: the file is missing or damaged.
    """
    document = read_object(path, MADE_BY)
    try:
        rows = tuple(from_plain(SweepRow, row) for row in document["rows"])
        details = tuple(_detail(detail) for detail in document["details"])
        chosen = tuple(from_plain(Recommendation, one) for one in document["recommendations"])
        payload = _payload(document)
    except (UsageError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error, MADE_BY) from error
    fault = _fault(rows, details, chosen)
    if fault:
        raise damaged(path, fault, MADE_BY)
    return payload, SweepResult(rows, details, pareto_front(rows), chosen)


def _payload(document: dict[str, Any]) -> dict[str, Any]:
    """Of the payload, what a page shows."""
    most = document["max_tokens"]
    return {
        "data": str(document["data"]),
        "atol": float(document["atol"]),
        "max_tokens": None if most is None else float(most),
        "probe": int(document["probe"]),
        "notes": [str(note) for note in document["notes"]],
        "command": document.get("command"),
        "environment": document.get("environment"),
    }


def _detail(plain: Any) -> dict[str, Any]:
    if plain == {}:
        return {}
    detail = from_plain(_Detail, plain)
    for pair in detail.token_lengths:
        if len(pair) != 2 or not (0 <= pair[0] <= _MOST and 0 < pair[1] <= _MOST):
            raise ValueError(f"{list(pair)} is no length and its count")
    shown: dict[str, Any] = to_plain(detail)
    return shown


def _fault(
    rows: tuple[SweepRow, ...], details: tuple[dict[str, Any], ...], chosen: tuple[Recommendation, ...]
) -> str | None:
    """What would stop a figure or a table."""
    if not rows or len(details) != len(rows):
        return f"{len(rows)} rows and {len(details)} details"
    for index, row in enumerate(rows):
        absent = [name for name in _MEASURED if getattr(row, name) is None]
        if row.error is None and (absent or (row.bins is None and row.bound is None)):
            return f"row {index} lacks {', '.join(absent) or 'bins'}"
    if len({len(detail["per_dim"]) for detail in details if detail.get("per_dim")}) > 1:
        return "rows of different action dimensions"
    if any(not 0 <= one.row < len(rows) or rows[one.row].error for one in chosen):
        return "a recommendation of a row that is not there"
    return None
