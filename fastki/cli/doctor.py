"""``fastki doctor``."""

from __future__ import annotations

import typer

from fastki.cli.options import OUT, Json, Quiet
from fastki.cli.terminal import Terminal


def doctor(as_json: Json = False, quiet: Quiet = False) -> None:
    """Say what is here (devices, libraries, extras, caches) and what to mend; exit 1 if what is required is broken."""
    from fastki.config import to_plain
    from fastki.report.doctor import examine
    from fastki.report.doctor_tables import (
        extras_table,
        folders_table,
        libraries_table,
        machine_facts,
        problem_words,
    )

    terminal = Terminal(as_json=as_json, quiet=quiet)
    checkup = examine(OUT)
    terminal.payload({**to_plain(checkup), "healthy": checkup.healthy})
    terminal.show(machine_facts(checkup), "", folders_table(checkup.folders))
    if checkup.libraries:
        terminal.show("", libraries_table(checkup.libraries))
    if checkup.extras:
        terminal.show("", extras_table(checkup.extras))
    terminal.show("", *problem_words(checkup))
    if not checkup.healthy:
        raise typer.Exit(1)
    terminal.next_command("fastki", "fit")
