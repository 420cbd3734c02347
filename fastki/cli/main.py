"""The ``fastki`` command: its sub-commands, and the one place where errors become exit codes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from fastki import __version__
from fastki.cli.doctor import doctor
from fastki.cli.eval import evaluate
from fastki.cli.fit import fit
from fastki.cli.inspect import inspect
from fastki.cli.layouts import layouts
from fastki.cli.report import report
from fastki.cli.roundtrip import roundtrip
from fastki.cli.serve import serve
from fastki.cli.sim import sim
from fastki.cli.sweep import sweep
from fastki.cli.train import train
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
app.command()(train)
app.command("eval")(evaluate)
app.command()(serve)
app.add_typer(sim)
app.command()(inspect)
app.command()(report)
app.command()(doctor)


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
    _print_what_can_be()
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


def _print_what_can_be() -> None:
    """Where standard output is no UTF-8, such as a pipe of an old Windows, let a × become a ? and not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _fail(message: str) -> NoReturn:
    from rich.text import Text

    from fastki.report.console import SafeConsole

    # A line is a line, also where a terminal is narrower.
    SafeConsole(stderr=True).print(Text(f"error: {' '.join(message.splitlines())}", style="red"), soft_wrap=True)
    sys.exit(2)


def _wording(error: Exception) -> str:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return message.replace("Value error, ", "").rstrip(".")


def _command(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return "fastki" if context is None else str(context.command_path)
