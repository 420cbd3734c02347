"""The comparison of layouts as files: JSON with everything, CSV with the table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from fastki.config import to_plain
from fastki.files import write_csv, write_json
from fastki.report.compare_tables import comparison_payload
from fastki.sequence.sizes import STEPS
from fastki.study.layouts import Comparison, LayoutOptions, LayoutRow
from fastki.study.training import TrainingComparison

OPTIONS = ("max_token_len", "max_chunks", "seed", "skip", "text_vocab")
"""Of :class:`LayoutOptions`, what the payload keeps."""
COLUMNS = tuple(field.name for field in dataclasses.fields(LayoutRow))


def layouts_payload(
    comparison: Comparison,
    options: LayoutOptions,
    tokenizer: str,
    data: str,
    learnt: TrainingComparison | None = None,
) -> dict[str, Any]:
    """The comparison as JSON can hold it; ``layouts`` has the segments of each, ``rows`` the figures.

    ``training`` has what each learnt, where they were trained; see
    :func:`fastki.report.compare_tables.comparison_payload`.
    """
    normalizer = comparison.state_normalizer
    return {
        "tokenizer": tokenizer,
        "data": data,
        "chunks": comparison.chunks,
        "episodes": comparison.episodes,
        "horizon": comparison.horizon,
        "cameras": comparison.cameras,
        "text": comparison.text,
        "model": to_plain(comparison.size),
        "inference_steps": STEPS,
        "options": {name: getattr(options, name) for name in OPTIONS},
        "state_normalizer": None if normalizer is None else to_plain(normalizer),
        "layouts": [to_plain(layout) for layout in comparison.layouts],
        "rows": [to_plain(row) for row in comparison.rows],
        "notes": list(comparison.notes),
        "training": None if learnt is None else comparison_payload(learnt),
    }


def write_layouts(payload: dict[str, Any], comparison: Comparison, command: str, folder: Path) -> list[Path]:
    """Write ``layouts.json`` (the payload, the command, and the lengths that figures need) and ``layouts.csv``.

    Raises:
        UsageError: the folder can't be written to.
    """
    paths = [folder / "layouts.json", folder / "layouts.csv"]
    lengths = {name: totals.tolist() for name, totals in comparison.totals.items()}
    write_json(paths[0], {**payload, "command": command, "lengths": lengths})
    write_csv(paths[1], COLUMNS, ({**row, "segments": " ".join(row["segments"])} for row in payload["rows"]))
    return paths
