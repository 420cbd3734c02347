"""``fastki inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastki.cli import complete
from fastki.cli.groups import places_ids, reads_data, spell
from fastki.cli.options import OUT, SAMPLE, Json, Quiet
from fastki.cli.terminal import Terminal
from fastki.cli.things import names_checkpoint, names_run, names_tokenizer, open_looked_at
from fastki.data.options import OpenOptions
from fastki.errors import UsageError
from fastki.sequence.options import TextOptions

if TYPE_CHECKING:
    from fastki.sequence.id_map import IdMap
    from fastki.tokenizer import ActionTokenizer, RoundTrip


@places_ids
@reads_data
def inspect(
    reading: OpenOptions,
    placing: TextOptions,
    thing: Annotated[
        str,
        typer.Argument(
            help="Dataset, tokenizer, run or checkpoint: a folder, file, URL or hub id.",
            metavar="THING",
            autocompletion=complete.tokenizers_or_data,
        ),
    ] = SAMPLE,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data to count a tokenizer's vocabulary use on; by default those it was fitted on.",
            autocompletion=complete.data,
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(help="How many of the longest tokens to list.", min=1)] = 12,
    out: Annotated[Path, typer.Option(help="Folder of figures.")] = OUT / "inspect",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what is in a dataset, a tokenizer, a training run or a model's checkpoint."""
    from fastki.files import require_writable

    terminal = Terminal(as_json=as_json, quiet=quiet)
    if names_tokenizer(thing):
        _inspect_tokenizer(terminal, thing, data, tokens, placing)
    elif placing != TextOptions():
        raise UsageError(f"{' '.join(spell(placing))} says where a tokenizer's ids stand, and {thing} is no tokenizer")
    elif names_run(thing):
        _inspect_run(terminal, thing)
    elif names_checkpoint(thing):
        _inspect_checkpoint(terminal, thing)
    else:
        require_writable(out / "dataset.png")
        _inspect_dataset(terminal, thing, reading, out)


def _inspect_dataset(terminal: Terminal, uri: str, reading: OpenOptions, out: Path) -> None:
    from fastki.data.contact import contact_sheet
    from fastki.data.summary import summarize
    from fastki.report import figures, tables
    from fastki.report.payloads import dataset_payload
    from fastki.tokenizer.pipeline import DEFAULT_HORIZON

    with terminal.progress() as progress:
        dataset = open_looked_at(uri, reading, progress=lambda done, total: progress("listing", done, total))
        summary = summarize(dataset, progress=lambda done, total: progress("statistics", done, total))
        sheet = contact_sheet(dataset, progress=lambda done, total: progress("frames", done, total))
    written = [figures.save(figures.dataset_overview(summary), out / "dataset.png")]
    if sheet.strips:
        written.append(figures.save(figures.contact(sheet, title=uri), out / "contact.png"))
    info = dataset.info
    terminal.payload(dataset_payload(summary))
    terminal.show(tables.dataset_facts(summary), "", tables.dataset_dimensions(summary))
    if info.keys:
        terminal.show("", tables.dataset_keys(info))
    for note in (*info.notes, *sheet.failures):
        terminal.note(f"note: {note}")
    terminal.files(written)
    longest = int(info.lengths.max())
    horizon = ["--horizon", str(max(1, longest // 2))] if longest < DEFAULT_HORIZON else []
    terminal.next_command("fastki", "fit", *([] if uri == SAMPLE else [uri]), *horizon, *spell(reading))


def _inspect_tokenizer(terminal: Terminal, folder: str, data: str | None, count: int, placing: TextOptions) -> None:
    from fastki.report import tables
    from fastki.report.payloads import tokenizer_payload
    from fastki.tokenizer import load_tokenizer
    from fastki.tokenizer.anatomy import longest_tokens

    tokenizer = load_tokenizer(folder)
    ids = _mapped(tokenizer, placing)
    measured, why_not = _vocabulary_use(terminal, tokenizer, data)
    entries = longest_tokens(tokenizer, count, uses=None if measured is None else measured.token_use)
    terminal.payload(tokenizer_payload(tokenizer, folder, entries, measured, ids))
    terminal.show(tables.tokenizer_facts(tokenizer, folder, measured), "", tables.token_entries(entries), "")
    _show_ids(terminal, ids)
    if why_not:
        terminal.note(f"note: vocabulary use was not counted: {why_not}")
    terminal.show("")
    terminal.next_command("fastki", "roundtrip", folder, *([data] if data else []))


def _inspect_run(terminal: Terminal, folder: str) -> None:
    from fastki.data.extras import need

    need("jax", extra="train", what="a training run")
    from rich.markup import escape

    from fastki.report.closed_loop import loop_table
    from fastki.report.loop_html import played_in
    from fastki.report.run_tables import run_evaluation, run_facts, run_losses, run_payload
    from fastki.training.run_summary import summarize_run

    summary = summarize_run(Path(folder))
    played = played_in(Path(folder))
    terminal.payload({**run_payload(summary), "closed_loop": [one.document for one in played]})
    terminal.show(run_facts(summary))
    if summary.losses:
        terminal.show("", run_losses(summary))
    if summary.evaluation is not None:
        terminal.show("", run_evaluation(summary.evaluation))
    for one in played:
        terminal.show("", escape(f"{one.env}, {one.found.prompt!r}"), loop_table(one.found))
    if summary.checkpoints.usable:
        terminal.show("")
        terminal.next_command("fastki", "eval", folder)


def _inspect_checkpoint(terminal: Terminal, folder: str) -> None:
    from fastki.model.checkpoint_describe import describe
    from fastki.report.checkpoint_tables import checkpoint_facts, checkpoint_parts, checkpoint_payload

    contents = describe(folder)
    terminal.payload(checkpoint_payload(contents))
    terminal.show(checkpoint_facts(contents), "", checkpoint_parts(contents))
    if contents.traits.model is not None:
        terminal.show("")
        terminal.next_command("fastki", "layouts", "--model", contents.traits.model)


def _mapped(tokenizer: ActionTokenizer, placing: TextOptions) -> IdMap:
    from fastki.sequence.id_map import map_ids
    from fastki.sequence.sizes import model_size
    from fastki.sequence.text import open_text_tokenizer

    size, text = model_size(placing.model), open_text_tokenizer(placing.text)
    return map_ids(tokenizer.vocab_size, text, size, skip=placing.skip)


def _show_ids(terminal: Terminal, ids: IdMap) -> None:
    from rich.markup import escape

    from fastki.report.id_tables import id_ends, id_facts, id_runs, unknown_words

    terminal.show(id_facts(ids))
    if ids.rows:
        terminal.show("", id_runs(ids), "", id_ends(ids))
    if ids.refusal is not None:
        terminal.show("", f"[bold red]refused:[/bold red] {escape(ids.refusal)}")
    elif (unknown := unknown_words(ids)) is not None:
        terminal.show(f"[dim]{escape(unknown)}[/dim]")


def _vocabulary_use(
    terminal: Terminal, tokenizer: ActionTokenizer, data: str | None
) -> tuple[RoundTrip | None, str | None]:
    """A round trip over all episodes of the data, or why there is none."""
    from fastki.data import open_dataset
    from fastki.errors import FastkiError
    from fastki.tokenizer import RoundTripOptions, parts_of, roundtrip_on_dataset

    try:
        parts = parts_of(tokenizer, None if data is None else open_dataset(data))
    except FastkiError as error:
        if data is not None:
            raise
        return None, str(error)
    if len(parts) > 1:
        return None, "it was fitted on a mixture: name one of its datasets with --data"
    part = parts[0]
    with terminal.progress() as progress:
        options = RoundTripOptions(part="all", dims=part.dims)
        measured = roundtrip_on_dataset(part.tokenizer, part.dataset, options, progress=progress)
    return measured.result, None
