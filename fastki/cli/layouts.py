"""``fastki layouts``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastki.cli import complete
from fastki.cli.groups import places_ids, reads_data, spell
from fastki.cli.options import OUT, Json, Quiet
from fastki.cli.roundtrip import parts, resolve
from fastki.cli.terminal import Terminal, announce_compilation
from fastki.cli.train_compare import layout_variants, layouts_base, run_comparison
from fastki.cli.words import command_words
from fastki.data.options import OpenOptions
from fastki.errors import UsageError
from fastki.sequence.options import TextOptions

if TYPE_CHECKING:
    from fastki.study.layouts import Comparison
    from fastki.study.training import TrainingComparison
    from fastki.tokenizer import Part


@places_ids
@reads_data
def layouts(
    context: typer.Context,
    reading: OpenOptions,
    placing: TextOptions,
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
    names: Annotated[
        str | None,
        typer.Option(
            "--layouts",
            help="Presets and .toml files of your own, by commas.",
            show_default="all presets",
            autocompletion=complete.layouts,
        ),
    ] = None,
    max_token_len: Annotated[
        int | None,
        typer.Option(help="Text tokens an example has room for.", min=1, show_default="what each layout needs"),
    ] = None,
    cameras: Annotated[
        int | None, typer.Option(help="Pictures of an example.", min=0, show_default="those the data have")
    ] = None,
    max_chunks: Annotated[int, typer.Option(help="Measure on at most so many.", min=1)] = 10_000,
    train_steps: Annotated[
        int | None, typer.Option(help="Also train the tiny model under each layout, for so many updates.", min=1)
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each layout that --train-steps trains.", min=1)] = 3,
    out: Annotated[Path, typer.Option(help="Folder of figures and results.")] = OUT / "layouts",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare sequence layouts on DATA: lengths, truncation, share with loss, FLOPs, pictures of the masks."""
    from fastki.files import require_writable
    from fastki.report.layout_files import layouts_payload, write_layouts
    from fastki.report.layout_html import write_report
    from fastki.sequence.layout import PRESETS, open_layouts
    from fastki.sequence.sizes import model_size
    from fastki.sequence.text import open_text_tokenizer
    from fastki.study.layouts import LayoutOptions, compare_layouts

    terminal = Terminal(as_json=as_json, quiet=quiet)
    words = list(PRESETS) if names is None else _words(names)
    options = LayoutOptions(
        layouts=open_layouts(words),
        size=model_size(placing.model),
        text=open_text_tokenizer(placing.text),
        max_token_len=max_token_len,
        cameras=cameras,
        skip=placing.skip,
        max_chunks=max_chunks,
    )
    require_writable(out / "layouts.json")
    announce_compilation(terminal)
    folder, loaded, dataset = resolve(terminal, tokenizer, data, reading, command="layouts")
    part = _only(parts(loaded, dataset), folder)
    with terminal.progress() as progress:
        comparison = compare_layouts(part.tokenizer, part.dataset, options, progress=progress)
    learnt = None
    if train_steps is not None:
        base = layouts_base(part.dataset.info.uri, part.dataset.info.opened, folder, placing, train_steps)
        learnt = run_comparison(terminal, base, layout_variants(words, options.layouts), seeds, out / "training")
    payload = layouts_payload(comparison, options, folder, part.dataset.info.uri, learnt)
    command = shlex.join(command_words(context))
    report, *figures = write_report(payload, comparison, command, out, learnt=learnt)
    paths = [report, *write_layouts(payload, comparison, command, out), *figures]
    payload["files"] = [str(path) for path in paths]
    terminal.payload(payload)
    _show(terminal, comparison, folder, part.dataset.info.uri, learnt)
    terminal.files(paths)
    terminal.next_command("fastki", "inspect", folder, *spell(placing))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _only(found: list[Part], folder: str) -> Part:
    """The one dataset: layouts of a mixture are those of its datasets, each with its own prompts and state."""
    if len(found) != 1:
        names = ", ".join(part.name for part in found)
        raise UsageError(f"{folder} belongs to a mixture ({names}): give one of its datasets as DATA")
    return found[0]


def _show(
    terminal: Terminal, comparison: Comparison, folder: str, data: str, learnt: TrainingComparison | None
) -> None:
    from rich.markup import escape

    from fastki.report.compare_tables import comparison_table
    from fastki.report.layout_ranking import ranking
    from fastki.report.layout_tables import (
        cost_words,
        costs_table,
        layout_errors,
        lengths_table,
        measured_on,
        truncation_words,
    )

    for note in comparison.notes:
        terminal.note(f"note: {note}")
    terminal.show(escape(measured_on(comparison, folder, data)), "")
    if comparison.totals:
        terminal.show(lengths_table(comparison), "", costs_table(comparison))
        terminal.show(f"[dim]{escape(cost_words(comparison))}[/dim]")
    if learnt is not None:
        terminal.show("", comparison_table(learnt))
    ranked = ranking(comparison, learnt)
    terminal.show(*([""] if ranked else []), *(escape(line) for line in ranked))
    for line in layout_errors(comparison):
        terminal.show("", f"[dim]not measured[/dim] {escape(line)}")
    for line in truncation_words(comparison):
        terminal.show("", f"[bold]{escape(line)}[/bold]")
