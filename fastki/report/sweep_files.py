"""A sweep's rows as files: JSON with everything, CSV and Parquet with the table."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

from fastki.config import to_plain
from fastki.files import atomic_path, write_csv, write_json
from fastki.report.html import environment
from fastki.study.grid import SweepOptions
from fastki.study.rows import SweepRow
from fastki.study.sweep import SweepResult

COLUMNS = tuple(field.name for field in dataclasses.fields(SweepRow))


def sweep_payload(result: SweepResult, options: SweepOptions, data: str, notes: tuple[str, ...]) -> dict[str, Any]:
    """The sweep as JSON can hold it: ``rows`` in the table's order, ``pareto`` and ``recommended`` by index."""
    return {
        "data": data,
        "atol": options.bound,
        "max_tokens": options.max_tokens,
        "probe": options.probe,
        "rows": [to_plain(row) for row in result.rows],
        "pareto": list(result.pareto),
        "recommended": result.recommended,
        "recommendation": result.recommendations[0].text if result.recommendations else None,
        "recommendations": [to_plain(chosen) for chosen in result.recommendations],
        "notes": list(notes),
    }


def write_sweep(payload: dict[str, Any], result: SweepResult, command: str, folder: Path) -> list[Path]:
    """Write ``sweep.json`` (the payload, the command, and what figures need), ``sweep.csv`` and ``sweep.parquet``.

    Raises:
        UsageError: the folder can't be written to.
    """
    paths = [folder / name for name in ("sweep.json", "sweep.csv", "sweep.parquet")]
    made_with = dict(environment().pairs)
    write_json(paths[0], {**payload, "command": command, "environment": made_with, "details": list(result.details)})
    write_csv(paths[1], COLUMNS, payload["rows"])
    rows = [
        {name: _whole(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in payload["rows"]
    ]
    with atomic_path(paths[2]) as temporary:
        _write_parquet(rows, temporary)
    return paths


def _whole(text: str) -> str:
    """Half characters, as in the name of a file that is no UTF-8, become the escapes that JSON has for them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _write_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    hints = typing.get_type_hints(SweepRow)
    fields = [pa.field(name, kinds[_plain_kind(hints[name])]) for name in COLUMNS]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(fields)), path)


def _plain_kind(hint: Any) -> Any:
    """The type that a field has where it isn't None."""
    return next(kind for kind in (*typing.get_args(hint), hint) if kind is not type(None))
