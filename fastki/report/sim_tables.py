"""What ``fastki sim record`` wrote, for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from fastki.config import to_plain
from fastki.report.tables import key_values
from fastki.sim.record import Plan, Tally


def recording_facts(plan: Plan) -> Table:
    """How it was recorded."""
    setting, style = plan.setting, plan.style
    return key_values(
        [
            ("pictures", f"{', '.join(setting.cameras)}, {setting.size} × {setting.size}"),
            ("rate", f"{setting.fps} Hz: an action is held for {setting.every} control steps"),
            (
                "expert",
                f"noise {style.noise:g}, {style.after} frames after the task is solved, wanders for up to "
                f"{style.wander} before, seed {plan.seed}",
            ),
        ]
    )


def recording_table(tallies: Sequence[Tally]) -> Table:
    """A row a task."""
    table = Table(box=None, pad_edge=False)
    table.add_column("task")
    for header in ("episodes", "attempts", "solved"):
        table.add_column(header, justify="right")
    for tally in tallies:
        table.add_row(escape(tally.task), f"{tally.episodes:,}", f"{tally.attempts:,}", f"{tally.solved:,}")
    return table


def recording_payload(out: Path, plan: Plan, tallies: Sequence[Tally]) -> dict[str, Any]:
    """``out``, ``plan`` (tasks, setting, style, seed), ``tasks``: a row each with what became of its attempts."""
    return {"out": str(out), "plan": to_plain(plan), "tasks": [to_plain(tally) for tally in tallies]}
