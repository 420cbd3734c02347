"""``fastki inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastki.cli.options import OUT, SAMPLE, ActionKey, Json, Quiet, StateKey
from fastki.cli.terminal import Terminal
from fastki.cli.things import is_hub_id, load_either, open_either

if TYPE_CHECKING:
    from fastki.tokenizer import ActionTokenizer, RoundTrip


def inspect(
    thing: Annotated[
        str, typer.Argument(help="Dataset, tokenizer folder, or hub id of a tokenizer.", metavar="THING")
    ] = SAMPLE,
    data: Annotated[
        str | None,
        typer.Option(help="Data to count a tokenizer's vocabulary use on; by default those it was fitted on."),
    ] = None,
    tokens: Annotated[int, typer.Option(help="How many of the longest tokens to list.", min=1)] = 12,
    action_key: ActionKey = None,
    state_key: StateKey = None,
    out: Annotated[Path, typer.Option(help="Folder of figures.")] = OUT / "inspect",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what is in a dataset or a tokenizer."""
    from fastki.files import require_writable
    from fastki.tokenizer.store import is_tokenizer

    terminal = Terminal(as_json=as_json, quiet=quiet)
    if is_tokenizer(Path(thing)) or is_hub_id(thing):
        _inspect_tokenizer(terminal, thing, data, tokens)
    else:
        require_writable(out / "dataset.png")
        _inspect_dataset(terminal, thing, action_key, state_key, out)


def _inspect_dataset(terminal: Terminal, uri: str, action_key: str | None, state_key: str | None, out: Path) -> None:
    from fastki.data.summary import summarize
    from fastki.report import figures, tables
    from fastki.report.payloads import dataset_payload

    dataset = open_either(uri, action_key=action_key, state_key=state_key)
    with terminal.progress() as progress:
        summary = summarize(dataset, progress=lambda done, total: progress("statistics", done, total))
    figure = figures.save(figures.dataset_overview(summary), out / "dataset.png")
    terminal.payload(dataset_payload(summary))
    terminal.show(tables.dataset_facts(summary), "", tables.dataset_dimensions(summary))
    for note in dataset.info.notes:
        terminal.note(f"note: {note}")
    terminal.files([figure])
    keys = [
        word for key, flag in ((action_key, "--action-key"), (state_key, "--state-key")) if key for word in (flag, key)
    ]
    terminal.next_command("fastki", "fit", *([] if uri == SAMPLE else [uri]), *keys)


def _inspect_tokenizer(terminal: Terminal, folder: str, data: str | None, count: int) -> None:
    from fastki.report import tables
    from fastki.report.payloads import tokenizer_payload
    from fastki.tokenizer.anatomy import longest_tokens

    tokenizer = load_either(folder)
    measured, why_not = _vocabulary_use(terminal, tokenizer, data)
    entries = longest_tokens(tokenizer, count, uses=None if measured is None else measured.token_use)
    terminal.payload(tokenizer_payload(tokenizer, folder, entries, measured))
    terminal.show(tables.tokenizer_facts(tokenizer, folder, measured), "", tables.token_entries(entries))
    if why_not:
        terminal.note(f"note: vocabulary use was not counted: {why_not}")
    terminal.show("")
    terminal.next_command("fastki", "roundtrip", folder, *([data] if data else []))


def _vocabulary_use(
    terminal: Terminal, tokenizer: ActionTokenizer, data: str | None
) -> tuple[RoundTrip | None, str | None]:
    """A round trip over all episodes of the data, or why there is none."""
    from fastki.data import open_dataset
    from fastki.errors import FastkiError
    from fastki.tokenizer import RoundTripOptions, open_source, roundtrip_on_dataset

    options: dict[str, Any] = {"split": "all"}
    if data is not None:
        dataset = open_dataset(data)
    else:
        try:
            dataset = open_source(tokenizer)
        except FastkiError as error:
            return None, str(error)
    with terminal.progress() as progress:
        measured = roundtrip_on_dataset(tokenizer, dataset, RoundTripOptions(**options), progress=progress)
    return measured.result, None
