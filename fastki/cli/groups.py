"""Options that several commands share, each group in one place: a command gets a group as one argument."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from fastki.cli import complete
from fastki.cli.options import DeltaFrom, Norm, PadEndName
from fastki.data.options import OpenOptions
from fastki.sequence.options import SKIP, TextOptions

Command = Callable[..., None]
Options = Mapping[str, tuple[Any, Any]]
"""Name of a parameter → its annotation and its default."""


def _reading(help_text: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel="How data are opened", **settings)


def _cutting(help_text: str, **settings: Any) -> Any:
    return typer.Option(help=help_text, rich_help_panel="How chunks are cut", **settings)


def _placing(help_text: str, **settings: Any) -> Any:
    return typer.Option(help=help_text, rich_help_panel="Where FAST's ids stand", **settings)


_READING: Options = {
    "action_key": (
        Annotated[str | None, _reading("Where the actions are; several keys joined by commas. Found by default.")],
        None,
    ),
    "state_key": (Annotated[str | None, _reading("Where the state is, likewise.")], None),
    "split": (
        Annotated[str | None, _reading("Split by name, of TFDS also train[:10%]; robomimic filter key.")],
        None,
    ),
    "robot": (
        Annotated[
            str,
            _reading(
                "Preset of keys, units and grippers: droid, aloha, libero, so101, bridge, metaworld; auto, none.",
                autocompletion=complete.robots,
            ),
        ],
        "auto",
    ),
    "fps": (Annotated[float | None, _reading("Resample to this rate, Hz.", show_default="as recorded")], None),
    "hold": (
        Annotated[
            str | None,
            _reading("Dimensions that --fps steps, not interpolates, such as 7.", show_default="the robot's grippers"),
        ],
        None,
    ),
    "skip_bad": (
        Annotated[bool, _reading("Leave out episodes that can't be read, and list them.", "--skip-bad")],
        False,
    ),
}

_CUTTING: Options = {
    "dims": (Annotated[str | None, _cutting("Dimensions to keep, such as 0:7,13.")], None),
    "delta": (Annotated[str | None, _cutting("Dimensions relative to --delta-from, such as 0:7.")], None),
    "delta_from": (
        Annotated[DeltaFrom, _cutting("The state at the chunk's first frame, or the action before it.")],
        DeltaFrom.state,
    ),
    "stride": (Annotated[int, _cutting("Frames between the starts of chunks.")], 1),
    "pad_end": (
        Annotated[PadEndName, _cutting("Also take chunks that reach beyond an episode's end; repeat is openpi's way.")],
        PadEndName.none,
    ),
    "drop_idle": (
        Annotated[
            float | None,
            _cutting(
                "Leave out chunks that start where the action changes by less than this a frame, native units, as "
                "openpi's DROID training does with 0.001.",
                show_default="keep all",
            ),
        ],
        None,
    ),
    "norm": (Annotated[Norm, _cutting("Normalisation of each dimension.")], Norm.quantile),
    "clip": (Annotated[bool, _cutting("Clip normalised values to [-1, 1]; openpi does not.")], False),
    "holdout": (Annotated[float, _cutting("Share of the episodes held out.")], 0.1),
    "seed": (Annotated[int, _cutting("Of the split and the sampling.")], 0),
    "max_chunks": (Annotated[int, _cutting("Fit, and measure, on at most so many.")], 10_000),
}


_PLACING: Options = {
    "model": (
        Annotated[
            str,
            _placing(
                "Size of the model, in whose table of text they stand: dummy, tiny, small, pi05.",
                autocompletion=complete.models,
            ),
        ],
        "pi05",
    ),
    "text": (
        Annotated[
            str,
            _placing(
                "Text tokenizer: byte, a SentencePiece .model, a Hugging Face folder or hub id.",
                autocompletion=complete.texts,
            ),
        ],
        "byte",
    ),
    "skip": (
        Annotated[int, _placing("Ids at the top of the text's vocabulary that FAST leaves alone.", min=0)],
        SKIP,
    ),
}


def reads_data(command: Command) -> Command:
    """Give a command an option for each field of ``OpenOptions``; it gets them as its argument ``reading``."""
    return _with_group(command, "reading", _READING, lambda said: OpenOptions(**said))


def cuts_chunks(command: Command) -> Command:
    """Give a command the options of ``FitOptions`` that say how chunks are cut, split and normalised.

    It gets them as its argument ``cut``, keywords for ``FitOptions``.
    """
    return _with_group(
        command, "cut", _CUTTING, lambda said: {name: getattr(value, "value", value) for name, value in said.items()}
    )


def places_ids(command: Command) -> Command:
    """Give a command an option for each field of ``TextOptions``; it gets them as its argument ``placing``."""
    return _with_group(command, "placing", _PLACING, lambda said: TextOptions(**said))


def spell(said: OpenOptions | TextOptions) -> list[str]:
    """The words that ask for it on a command line, for the command to run next."""
    words: list[str] = []
    for name, (_, default) in (_READING if isinstance(said, OpenOptions) else _PLACING).items():
        value = getattr(said, name)
        if value != default:
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return words


def _with_group(command: Command, argument: str, options: Options, gather: Callable[[dict[str, Any]], Any]) -> Command:
    """``command`` with ``options`` in place of its argument ``argument``, which gets what ``gather`` makes of them."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [
        *(parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in own if parameter.name != argument),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in options.items()
        ),
    ]

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        said = {name: values.pop(name) for name in options}
        command(**values, **{argument: gather(said)})

    # Typer reads the signature and the annotations, which are no longer those of what is wrapped.
    del with_options.__wrapped__
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options
