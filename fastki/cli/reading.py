"""The options that say how data are opened, the same for every command that takes DATA."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from fastki.data.options import OpenOptions


def _option(help_text: str, **settings: Any) -> Any:
    return typer.Option(help=help_text, rich_help_panel="How data are opened", **settings)


_OPTIONS: dict[str, tuple[Any, Any]] = {
    "action_key": (
        Annotated[str | None, _option("Where the actions are; several keys joined by commas. Found by default.")],
        None,
    ),
    "state_key": (Annotated[str | None, _option("Where the state is, likewise.")], None),
    "split": (
        Annotated[str | None, _option("Split of a TFDS dataset, such as train[:10%], or robomimic filter key.")],
        None,
    ),
    "robot": (
        Annotated[str, _option("Preset of keys, units and grippers: droid, aloha, libero, so101, bridge; auto, none.")],
        "auto",
    ),
    "fps": (Annotated[float | None, _option("Resample to this rate, Hz.", show_default="as recorded")], None),
    "hold": (
        Annotated[
            str | None,
            _option("Dimensions that --fps steps, not interpolates, such as 7.", show_default="the robot's grippers"),
        ],
        None,
    ),
    "skip_bad": (Annotated[bool, _option("Leave out episodes that can't be read, and list them.")], False),
}


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of ``OpenOptions``; it gets them as its argument ``reading``."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [
        *(parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in own if parameter.name != "reading"),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in _OPTIONS.items()
        ),
    ]

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        command(reading=OpenOptions(**{name: values.pop(name) for name in _OPTIONS}), **values)

    # Typer reads the signature and the annotations, which are no longer those of what is wrapped.
    del with_options.__wrapped__
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def spell(reading: OpenOptions) -> list[str]:
    """The words that ask for ``reading`` on a command line, for the command to run next."""
    words: list[str] = []
    for name, (_, default) in _OPTIONS.items():
        value = getattr(reading, name)
        if value != default:
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return words
