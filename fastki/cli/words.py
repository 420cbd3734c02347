"""The command line as it was given, to be kept with the results and to be run again."""

from __future__ import annotations

import typer


def command_words(context: typer.Context) -> list[str]:
    """The command's words: options that were left to default are left out, arguments come first."""
    arguments: list[str] = []
    options: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        if parameter.param_type_name == "argument":
            arguments += [str(one) for one in values]
        elif isinstance(value, bool):
            options += (parameter.opts if value else parameter.secondary_opts)[:1]
        else:
            options += [word for one in values for word in (parameter.opts[0], _word(one))]
    return [*context.command_path.split(), *arguments, *options]


def _word(value: object) -> str:
    """A value as one would type it: 2, not 2.0."""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
