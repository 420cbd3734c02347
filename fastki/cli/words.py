"""The command that is running, as a line to copy."""

from __future__ import annotations

import typer


def command_words(context: typer.Context) -> list[str]:
    """The command as it was given, its arguments first: options that were left to default are left out."""
    arguments: list[str] = []
    options: list[str] = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[parameter.name or ""]
        if parameter.param_type_name == "argument":
            arguments.append(str(value))
        elif value is not False:
            options += [parameter.opts[0], *([] if value is True else [str(value)])]
    return [*context.command_path.split(), *arguments, *options]
