"""The ``fastki`` command: its sub-commands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from fastki import __version__
from fastki.cli.eval import evaluate
from fastki.cli.fit import fit
from fastki.cli.inspect import inspect
from fastki.cli.layouts import layouts
from fastki.cli.roundtrip import roundtrip
from fastki.cli.sweep import sweep
from fastki.errors import FastkiError

INTERRUPTED = 130
COMMAND_LINE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
"""Click's ``ClickException``: recent versions of Typer bring their own Click, older ones import it."""

app = typer.Typer(
    name="fastki",
    invoke_without_command=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="FAST action tokenizers and knowledge-insulated training for π0.5-style robot policies.",
)
app.command()(fit)
app.command()(roundtrip)
app.command()(sweep)
app.command()(layouts)
app.command("eval")(evaluate)
app.command()(inspect)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fastki {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 where a check failed, 130 when interrupted, and 2 for what a user can mend.

    Such an error is one line on standard error; ``--debug`` shows its traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        code = app(args=[word for word in words if word != "--debug"], prog_name="fastki", standalone_mode=False)
        sys.stdout.flush()
    except FastkiError as error:
        if debug:
            raise
        _fail(str(error))
    except COMMAND_LINE_ERROR as error:
        _fail(f"{_wording(error)}: see `{_command(error)} --help`")
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read standard output, such as `head`, has had enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> NoReturn:
    typer.secho(f"error: {' '.join(message.splitlines())}", fg="red", err=True)
    sys.exit(2)


def _wording(error: Exception) -> str:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return message.replace("Value error, ", "").rstrip(".")


def _command(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return "fastki" if context is None else str(context.command_path)
