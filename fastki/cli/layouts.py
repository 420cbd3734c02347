"""``fastki layouts``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastki.cli import complete
from fastki.cli.groups import reads_data
from fastki.cli.options import OUT, Json, Quiet
from fastki.cli.roundtrip import parts, resolve
from fastki.cli.terminal import Terminal, announce_compilation
from fastki.data.options import OpenOptions
from fastki.errors import UsageError

if TYPE_CHECKING:
    from fastki.sequence.layout import Layout
    from fastki.study.layouts import Comparison
    from fastki.tokenizer import Part

FORMATS = ("png", "svg")


@reads_data
def layouts(
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
    model: Annotated[
        str,
        typer.Option(help="Size whose cost is counted: dummy, tiny, small, pi05.", autocompletion=complete.models),
    ] = "pi05",
    text: Annotated[
        str,
        typer.Option(
            help="Text tokenizer: byte, a SentencePiece .model, a Hugging Face folder or hub id.",
            autocompletion=complete.texts,
        ),
    ] = "byte",
    skip: Annotated[
        int, typer.Option(help="Ids at the top of the text's vocabulary that FAST leaves alone.", min=0)
    ] = 128,
    cameras: Annotated[
        int | None, typer.Option(help="Pictures of an example.", min=0, show_default="those the data have")
    ] = None,
    max_chunks: Annotated[int, typer.Option(help="Measure on at most so many.", min=1)] = 10_000,
    out: Annotated[Path, typer.Option(help="Folder of figures and results.")] = OUT / "layouts",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare sequence layouts on DATA: lengths, truncation, share with loss, FLOPs, pictures of the masks."""
    from fastki.files import require_writable
    from fastki.report.layout_files import layouts_payload, write_layouts
    from fastki.sequence.layout import PRESETS, open_layouts
    from fastki.sequence.sizes import model_size
    from fastki.sequence.text import open_text_tokenizer
    from fastki.study.layouts import LayoutOptions, compare_layouts

    terminal = Terminal(as_json=as_json, quiet=quiet)
    options = LayoutOptions(
        layouts=open_layouts(list(PRESETS) if names is None else _words(names)),
        size=model_size(model),
        text=open_text_tokenizer(text),
        max_token_len=max_token_len,
        cameras=cameras,
        skip=skip,
        max_chunks=max_chunks,
    )
    require_writable(out / "layouts.json")
    announce_compilation(terminal)
    folder, loaded, dataset = resolve(terminal, tokenizer, data, reading, command="layouts")
    part = _only(parts(loaded, dataset), folder)
    with terminal.progress() as progress:
        comparison = compare_layouts(part.tokenizer, part.dataset, options, progress=progress)
    payload = layouts_payload(comparison, folder, part.dataset.info.uri)
    paths = write_layouts(payload, comparison, out)
    paths += _draw(comparison, options.layouts, out)
    terminal.payload(payload)
    _show(terminal, comparison, folder, part.dataset.info.uri)
    terminal.files(paths)
    terminal.next_command("fastki", "inspect", folder)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _only(found: list[Part], folder: str) -> Part:
    """The one dataset: layouts of a mixture are those of its datasets, each with its own prompts and state."""
    if len(found) != 1:
        names = ", ".join(part.name for part in found)
        raise UsageError(f"{folder} belongs to a mixture ({names}): give one of its datasets as DATA")
    return found[0]


def _draw(comparison: Comparison, shown: tuple[Layout, ...], out: Path) -> list[Path]:
    from fastki.report.figures import save
    from fastki.report.layout_figures import attention_masks, length_histograms

    figures = {"masks": attention_masks(shown)}
    if comparison.totals:
        figures["lengths"] = length_histograms(comparison)
    return [save(figure, out / f"{name}.{suffix}") for name, figure in figures.items() for suffix in FORMATS]


def _show(terminal: Terminal, comparison: Comparison, folder: str, data: str) -> None:
    from rich.markup import escape

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
    for line in layout_errors(comparison):
        terminal.show("", f"[dim]not measured[/dim] {escape(line)}")
    for line in truncation_words(comparison):
        terminal.show("", f"[bold]{escape(line)}[/bold]")
