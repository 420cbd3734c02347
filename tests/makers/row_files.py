"""Rows that a study has written."""

from __future__ import annotations

from pathlib import Path


def finished(rows: Path) -> list[Path]:
    """Files of whole rows, without those still being written under a hidden name."""
    return [path for path in rows.glob("*.json") if not path.name.startswith(".")]
