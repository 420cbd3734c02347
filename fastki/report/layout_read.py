"""Compared layouts out of the file that :mod:`fastki.report.layout_files` wrote, whole enough for a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.config import from_plain
from fastki.errors import UsageError
from fastki.report.compare_tables import read_comparison
from fastki.report.layout_files import OPTIONS
from fastki.report.runs import damaged, read_object
from fastki.sequence.layout import Layout
from fastki.sequence.sizes import ModelSize
from fastki.study.layouts import Comparison, LayoutRow
from fastki.study.training import TrainingComparison

RESULT = "layouts.json"
MADE_BY = "fastki layouts"
_MEASURED = ("total_mean", "total_max", "padded", "max_token_len", "truncated", "need_all", "train_flops", "usable")
"""What every row has that could be measured."""
_LONGEST = 2**24


def read_layouts(path: Path) -> tuple[dict[str, Any], Comparison, TrainingComparison | None]:
    """What the command printed, the comparison, and what each layout learnt where they were trained.

    Of the comparison, ``state_normalizer`` is None: no page shows it.

    Raises:
        DataError: the file is missing or damaged.
    """
    document = read_object(path, MADE_BY)
    try:
        comparison = _comparison(document)
        payload = {
            "tokenizer": str(document["tokenizer"]),
            "data": str(document["data"]),
            "command": document.get("command"),
            "environment": document.get("environment"),
            "options": {name: _count(document["options"][name]) for name in OPTIONS},
        }
        learnt = None if document["training"] is None else read_comparison(document["training"])
    except (UsageError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, error, MADE_BY) from error
    return payload, comparison, learnt


def _comparison(document: dict[str, Any]) -> Comparison:
    rows = tuple(from_plain(LayoutRow, row) for row in document["rows"])
    layouts = tuple(from_plain(Layout, layout) for layout in document["layouts"])
    if not rows or [row.layout for row in rows] != [layout.name for layout in layouts]:
        raise ValueError("rows of other layouts than those listed")
    measured = [row.layout for row in rows if row.error is None]
    if any(getattr(row, name) is None for row in rows if row.error is None for name in _MEASURED):
        raise ValueError("a measured layout without its figures")
    return Comparison(
        rows,
        layouts,
        {name: _lengths(document["lengths"][name]) for name in measured},
        chunks=int(document["chunks"]),
        episodes=int(document["episodes"]),
        horizon=int(document["horizon"]),
        cameras=int(document["cameras"]),
        size=from_plain(ModelSize, document["model"]),
        text=str(document["text"]),
        state_normalizer=None,
        notes=tuple(str(note) for note in document["notes"]),
    )


def _lengths(plain: Any) -> NDArray[np.int64]:
    """Tokens of each example; the figure's histogram has a place for each length."""
    lengths = np.array(plain, np.int64)
    if lengths.ndim != 1 or not lengths.size or lengths.min() < 0 or lengths.max() > _LONGEST:
        raise ValueError(f"lengths that are none, of shape {list(lengths.shape)}")
    return lengths


def _count(plain: Any) -> int | None:
    return None if plain is None else int(plain)
