"""``fastki roundtrip``."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastki.cli import complete, roundtrip_report
from fastki.cli.fit import LAST, save
from fastki.cli.groups import reads_data
from fastki.cli.options import OUT, SAMPLE, Json, PartName, Quiet
from fastki.cli.terminal import Terminal, announce_compilation
from fastki.cli.things import open_either
from fastki.cli.words import command_words
from fastki.data.options import OpenOptions

if TYPE_CHECKING:
    from fastki.data import Dataset
    from fastki.tokenizer import ActionTokenizer, Part, RoundTripOptions


@reads_data
def roundtrip(
    context: typer.Context,
    reading: OpenOptions,
    tokenizer: Annotated[
        str | None,
        typer.Argument(
            help="Tokenizer folder or hub id; by default the last one fitted here.",
            metavar="TOKENIZER",
            autocompletion=complete.tokenizers_or_data,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(
            help="Dataset; by default the one it was fitted on.", metavar="DATA", autocompletion=complete.data
        ),
    ] = None,
    atol: Annotated[float, typer.Option(help="Largest admitted error of a value, normalised units.")] = 0.01,
    episodes: Annotated[PartName, typer.Option(help="Which of the fitted data's episodes.")] = PartName.heldout,
    dims: Annotated[str | None, typer.Option(help="Dimensions, if others than fitted.")] = None,
    horizon: Annotated[int | None, typer.Option(help="For published tokenizers.", min=1)] = None,
    stride: Annotated[int | None, typer.Option(help="Frames between chunks.", min=1, show_default="as fitted")] = None,
    corrupt: Annotated[
        float | None,
        typer.Option(help="Also damage this share of the tokens and say what comes back.", min=0, max=1),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of figures and results.")] = OUT / "roundtrip",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Encode and decode every held-out chunk and say what came back; exit 1 if a value misses --atol."""
    from fastki.files import require_writable, write_text
    from fastki.report.runs import write_run
    from fastki.tokenizer import RoundTripOptions

    terminal = Terminal(as_json=as_json, quiet=quiet)
    results = out / "roundtrip.json"
    require_writable(results)
    announce_compilation(terminal)
    folder, loaded, dataset = resolve(terminal, tokenizer, data, reading)
    options = RoundTripOptions(atol=atol, part=episodes.value, dims=dims, horizon=horizon, stride=stride)
    payload, shown = _measure(terminal, folder, parts(loaded, dataset), options, corrupt, out)
    write_text(results, json.dumps(payload, indent=2, allow_nan=False) + "\n")
    write_run(out, shlex.join(command_words(context)))
    terminal.payload(payload)
    for part in shown:
        roundtrip_report.show(terminal, folder, part)
    terminal.files([results, *(figure for part in shown for figure in part.figures)])
    terminal.next_command("fastki", "inspect", folder)
    if not payload["passed"]:
        raise typer.Exit(1)


def _measure(
    terminal: Terminal, folder: str, parts: list[Part], options: RoundTripOptions, corrupt: float | None, out: Path
) -> tuple[dict[str, Any], list[roundtrip_report.Shown]]:
    """The machine-readable result, and what people are shown of each part."""
    from fastki.report.payloads import mixture_roundtrip_payload, roundtrip_payload
    from fastki.tokenizer import corruption_on_dataset, roundtrip_on_dataset

    rates = [] if corrupt is None else [0.0, corrupt / 4, corrupt / 2, corrupt]
    shown, payloads = [], {}
    for part in parts:
        tokenizer, dataset = part.tokenizer, part.dataset
        mine = replace(options, dims=options.dims or part.dims)
        with terminal.progress() as progress:
            measured = roundtrip_on_dataset(tokenizer, dataset, mine, progress=progress)
            damage = corruption_on_dataset(tokenizer, dataset, mine, rates, progress=progress) if rates else []
        figures = roundtrip_report.draw(measured, damage, dataset.info, out / part.name if len(parts) > 1 else out)
        shown.append(roundtrip_report.Shown(dataset.info, measured, damage, figures))
        payloads[part.name] = roundtrip_payload(measured, folder, dataset.info.uri, damage)
    if len(parts) == 1:
        return next(iter(payloads.values())), shown
    return mixture_roundtrip_payload(folder, payloads), shown


def parts(tokenizer: ActionTokenizer, dataset: Dataset | None) -> list[Part]:
    """What to measure on: the dataset, or that of the fit; the sample for a published tokenizer, which names none."""
    from fastki.data import open_dataset
    from fastki.tokenizer import parts_of

    if dataset is None and tokenizer.method == "published":
        dataset = open_dataset(SAMPLE)
    return parts_of(tokenizer, dataset)


def resolve(
    terminal: Terminal, tokenizer: str | None, data: str | None, reading: OpenOptions, *, command: str = "roundtrip"
) -> tuple[str, ActionTokenizer, Dataset | None]:
    """Tokenizer folder, tokenizer, and the dataset if the user named one.

    With nothing named it is the tokenizer that was fitted last, or else one of the sample, fitted now.
    """
    from fastki.data import open_with
    from fastki.errors import UsageError
    from fastki.tokenizer import load_tokenizer
    from fastki.tokenizer.store import is_tokenizer

    dataset = None
    if data is not None:
        dataset = open_with(data, reading)
    elif tokenizer is not None and not is_tokenizer(Path(tokenizer)) and _is_data(tokenizer):
        dataset = open_either(tokenizer, reading)
        tokenizer = None
    elif reading != OpenOptions():
        raise UsageError(f"how data are opened can be said only of DATA: give it, as `fastki {command} TOKENIZER DATA`")
    folder = tokenizer or last_fitted() or fit_sample(terminal)
    return folder, load_tokenizer(folder), dataset


def _is_data(name: str) -> bool:
    return name.startswith("synthetic:") or Path(name).exists()


def last_fitted() -> str | None:
    """The tokenizer that the last ``fastki fit`` in this folder wrote, as long as it is there."""
    if not LAST.is_file():
        return None
    try:
        folder = str(json.loads(LAST.read_text(encoding="utf-8"))["tokenizer"])
    except (ValueError, KeyError, TypeError):
        return None
    path = Path(folder)
    if not path.is_dir():
        return None
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def fit_sample(terminal: Terminal) -> str:
    """With nothing fitted yet, fit the sample, so that the command works on its own."""
    from fastki.data import open_dataset
    from fastki.tokenizer import FitOptions, fit_on_dataset

    terminal.note("no tokenizer was fitted here yet: fitting the built-in sample first")
    with terminal.progress() as progress:
        fitted = fit_on_dataset(open_dataset(SAMPLE), FitOptions(), progress=progress)
    save(fitted.tokenizer, OUT / "tokenizer")
    return str(OUT / "tokenizer")
