"""``fastki report``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from fastki.cli.options import OUT, Json, Quiet
from fastki.cli.roundtrip import fit_sample
from fastki.cli.terminal import Terminal, announce_compilation


def report(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of earlier results, or one above them; by default all in fastki-out.",
            metavar="FOLDER...",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The page.")] = OUT / "report.html",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put the results of earlier commands on one HTML page that needs no network and no folder beside it."""
    from fastki.files import require_writable, write_text
    from fastki.report.bundle import bundle, find_results
    from fastki.report.tables import counted, key_values

    terminal = Terminal(as_json=as_json, quiet=quiet)
    require_writable(out)
    if not folders and not _has_results():
        announce_compilation(terminal)
        fit_sample(terminal)
    found = find_results(folders or [OUT])
    with tempfile.TemporaryDirectory(prefix="fastki-report-") as scratch:
        page = bundle(found, Path(scratch))
    write_text(out, page)
    terminal.payload(
        {"report": str(out), "results": [{"folder": str(one.folder), "kind": one.kind.name} for one in found]}
    )
    terminal.show(
        f"{counted(len(found), 'result')} on one page:", key_values([(one.kind.name, str(one.folder)) for one in found])
    )
    terminal.files([out])


def _has_results() -> bool:
    """Whether the folder of results, as it is by default, holds one already."""
    from fastki.errors import DataError
    from fastki.report.bundle import find_results

    try:
        return bool(find_results([OUT]))
    except DataError:
        return False
