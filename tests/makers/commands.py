"""Every command of the command line, by the words that it is called with."""

from __future__ import annotations

from fastki.cli import main


def _name(command) -> str:
    return command.name or command.callback.__name__


COMMANDS = [_name(command) for command in main.app.registered_commands]
COMMANDS += [
    f"{group.typer_instance.info.name} {_name(command)}"
    for group in main.app.registered_groups
    for command in group.typer_instance.registered_commands
]
