"""Layouts by what they cost, in words."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from fastki.report.layout_tables import amount
from fastki.study.layouts import Comparison, LayoutRow
from fastki.study.training import TrainingComparison


def ranking(comparison: Comparison, learnt: TrainingComparison | None = None) -> list[str]:
    """Layouts that can act, from cheap to dear, what their expert lacks, and which can't act: a sentence each.

    Where they were trained, which learns better comes first, or that it can't be told. Of costs there is none where
    fewer than two were measured: then there is nothing to rank.
    """
    lines = _costs(comparison)
    if learnt is not None:
        return [*learnt.ranking(), *lines]
    return [*lines, "this ranks cost: which layout learns better --train-steps measures"] if lines else []


def _costs(comparison: Comparison) -> list[str]:
    measured = [row for row in comparison.rows if row.error is None]
    if len(measured) < 2:
        return []
    able = [row for row in measured if row.usable]
    lines = []
    if len(able) > 1:
        lines.append(_by_cost("to train", able, lambda row: row.train_flops or 0))
        lines.append(_by_cost("to act", able, lambda row: row.infer_flops or 0))
    lines += [f"{row.layout}: {row.verdict.removeprefix('yes, but ')}" for row in able if row.verdict != "yes"]
    return lines + [
        f"{row.layout} can't act as it stands: {row.verdict.removeprefix('no: ')}" for row in measured if not row.usable
    ]


def _by_cost(what: str, rows: Sequence[LayoutRow], cost: Callable[[LayoutRow], int]) -> str:
    """``least to train: a 3 T FLOPs an example; b and c 6 T (2.00×)``: those of one cost together."""
    least = min(cost(row) for row in rows)
    parts: list[str] = []
    for flops, same in itertools.groupby(sorted(rows, key=cost), cost):
        *others, last = [row.layout for row in same]
        names = f"{', '.join(others)} and {last}" if others else last
        parts.append(f"{names} {amount(flops)}" + (f" ({flops / least:.2f}×)" if parts else " FLOPs an example"))
    if len(parts) == 1:
        return f"all are alike {what}: {amount(least)} FLOPs an example"
    return f"least {what}: {'; '.join(parts)}"
