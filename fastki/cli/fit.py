"""``fastki fit``."""

from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastki.cli import complete
from fastki.cli.groups import cuts_chunks, reads_data
from fastki.cli.options import (
    OUT,
    SAMPLE,
    Json,
    OrderName,
    Quiet,
    ReferenceName,
)
from fastki.cli.terminal import Terminal, announce_compilation
from fastki.cli.words import command_words
from fastki.data.options import OpenOptions
from fastki.errors import UsageError

if TYPE_CHECKING:
    from fastki.tokenizer import FastTokenizer

LAST = OUT / "last.json"


@cuts_chunks
@reads_data
def fit(
    context: typer.Context,
    reading: OpenOptions,
    cut: dict[str, Any],
    data: Annotated[
        str,
        typer.Argument(
            help="Dataset: folder, file, URL, hub id, or a mixture's .toml.",
            metavar="DATA",
            autocompletion=complete.data,
        ),
    ] = SAMPLE,
    vocab: Annotated[int, typer.Option(help="Token ids at most, 64 or more.")] = 1024,
    horizon: Annotated[int | None, typer.Option(help="Actions in a chunk.", min=1, show_default="16")] = None,
    atol: Annotated[
        float | None,
        typer.Option(
            help="Bound on every value's error that the encoder keeps (normalised units).",
            show_default="0.01",
        ),
    ] = None,
    bins: Annotated[
        float | None,
        typer.Option(help="Quantisation steps over [-1, 1], instead of --atol."),
    ] = None,
    scale: Annotated[float | None, typer.Option(help="FAST's γ = bins / 2, instead of --atol.")] = None,
    order: Annotated[OrderName, typer.Option(help="Frequency-major (FAST) or dimension-major.")] = OrderName.freq,
    reference: Annotated[
        ReferenceName, typer.Option(help="Write chunks as they are, or relative to the action before them.")
    ] = ReferenceName.none,
    deadzone: Annotated[
        float, typer.Option(help="Widens rounding's zero, in steps up to 0.5; with --bins or --scale.")
    ] = 0.0,
    rdo: Annotated[
        float,
        typer.Option(
            help="Round for rate and distortion: squared steps a bit is worth, say 0.1; with --bins or --scale."
        ),
    ] = 0.0,
    out: Annotated[Path, typer.Option(help="Folder of the tokenizer.")] = OUT / "tokenizer",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a FAST tokenizer on DATA, or on the built-in sample, and measure it on held-out episodes."""
    from fastki.cli import fit_report
    from fastki.data.mixture import Mixture
    from fastki.data.open import open_with
    from fastki.files import require_writable
    from fastki.report import payloads
    from fastki.report.runs import write_run
    from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset, fit_on_mixture
    from fastki.tokenizer.store import require_replaceable

    terminal = Terminal(as_json=as_json, quiet=quiet)
    options = FitOptions(
        FitSettings(
            vocab_size=vocab,
            scale=scale,
            bins=bins,
            atol=atol,
            order=order.value,
            reference=reference.value,
            deadzone=deadzone,
            rdo=rdo,
        ),
        horizon=horizon,
        **cut,
    )
    command = shlex.join(command_words(context))
    require_writable(out)
    require_replaceable(out)
    announce_compilation(terminal)
    with terminal.progress() as progress:
        dataset = open_with(data, reading, progress=lambda done, total: progress("listing", done, total))
        if isinstance(dataset, Mixture):
            mixed = fit_on_mixture(dataset, options, progress=progress)
            save(mixed.tokenizer, out)
            write_run(out, command, payloads.mixture_payload(mixed, str(out), dataset.info))
            fit_report.mixture(terminal, dataset, mixed, out)
        else:
            fitted = fit_on_dataset(dataset, options, progress=progress)
            save(fitted.tokenizer, out)
            write_run(out, command, payloads.fit_payload(fitted, str(out), dataset.info))
            fit_report.dataset(terminal, dataset.info, fitted, out)


def save(tokenizer: FastTokenizer, out: Path) -> None:
    """Save the tokenizer, and remember it as the last one in this folder's ``fastki-out``."""
    from fastki.files import write_text

    tokenizer.save(out)
    # In a folder that can't be written to, nothing is remembered: the tokenizer itself is where it was wanted.
    with contextlib.suppress(UsageError):
        write_text(LAST, json.dumps({"tokenizer": str(out.resolve())}) + "\n")
