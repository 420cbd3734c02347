"""What a command leaves beside its results so that a report can be made of them later; and reading results again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from fastki.errors import DataError
from fastki.files import write_text
from fastki.report.html import Command, Facts, Section, environment

RUN = "run.json"
_LARGEST = 64 * 2**20


def write_run(folder: Path, command: str, result: dict[str, Any] | None = None) -> Path:
    """Write ``run.json``: the command as it was given, what it ran with and on, and its result if no other file has it.

    Raises:
        UsageError: the folder can't be written to.
    """
    document = {"command": command, "environment": dict(environment().pairs), "result": result}
    write_text(folder / RUN, json.dumps(document, indent=2, allow_nan=False) + "\n")
    return folder / RUN


def read_object(path: Path, made_by: str) -> dict[str, Any]:
    """A JSON object that a command wrote: finite numbers only, 64 MiB at most.

    Raises:
        DataError: it is missing, too large or damaged; the message names the command that writes it.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path} is larger than the {_LARGEST >> 20} MiB of a result: run `{made_by}` again")
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number, parse_float=_finite)
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error, made_by) from error
    if not isinstance(document, dict):
        raise damaged(path, "no object at its top", made_by)
    return document


def damaged(path: Path, why: object, made_by: str) -> DataError:
    """The error of a result that can't be understood."""
    return DataError(f"{path} can't be read ({why}): run `{made_by}` again")


def run_section(run: dict[str, Any], heading: str) -> Section:
    """The command and what it ran with, as far as a ``run.json`` (or a sweep's own file) says so."""
    command, ran_with = run.get("command"), run.get("environment")
    parts: list[Command | Facts] = [Command(command)] if isinstance(command, str) else []
    if isinstance(ran_with, dict):
        parts.append(Facts(tuple((str(name), str(value)) for name, value in ran_with.items())))
    return Section(heading, tuple(parts) or (Facts((("command", "not recorded"),)),))


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number that can be")
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")
