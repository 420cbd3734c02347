"""The ``fastki`` command: its sub-commands, and the one place where errors become exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from fastki import __version__
from fastki.cli.fit import fit
from fastki.cli.inspect import inspect
from fastki.cli.roundtrip import roundtrip
from fastki.errors import FastkiError

app = typer.Typer(
    name="fastki",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="FAST action tokenizers and knowledge-insulated training for π0.5-style robot policies.",
)
app.command()(fit)
app.command()(roundtrip)
app.command()(inspect)


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        typer.echo(f"fastki {__version__}")
        raise typer.Exit


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every error that a user can mend is one line on stderr and exit code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        app(args=[word for word in words if word != "--debug"], prog_name="fastki")
    except FastkiError as error:
        if debug:
            raise
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)
