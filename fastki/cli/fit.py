"""``fastki fit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from fastki.cli.options import OUT, SAMPLE, ActionKey, DeltaFrom, Json, Norm, OrderName, Quiet, StateKey
from fastki.cli.terminal import Terminal, announce_compilation

if TYPE_CHECKING:
    from fastki.data import DatasetInfo
    from fastki.tokenizer import Fitted

LAST = OUT / "last.json"


def fit(
    data: Annotated[str, typer.Argument(help="Dataset folder or file.", metavar="[DATA]")] = SAMPLE,
    vocab: Annotated[int, typer.Option(help="Token ids at most, 64 or more.")] = 1024,
    horizon: Annotated[Optional[int], typer.Option(help="Actions in a chunk.", show_default="16")] = None,  # noqa: UP045
    atol: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Bound on every value's error that the encoder keeps (normalised units).",
            show_default="0.01",
        ),
    ] = None,
    bins: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Quantisation steps over [-1, 1], instead of --atol."),
    ] = None,
    scale: Annotated[Optional[float], typer.Option(help="FAST's γ = bins / 2, instead of --atol.")] = None,  # noqa: UP045
    order: Annotated[OrderName, typer.Option(help="Frequency-major (FAST) or dimension-major.")] = OrderName.freq,
    dims: Annotated[Optional[str], typer.Option(help="Dimensions to keep, such as 0:7,13.")] = None,  # noqa: UP045
    delta: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Dimensions relative to --delta-from, such as 0:7."),
    ] = None,
    delta_from: Annotated[
        DeltaFrom, typer.Option(help="The state at the chunk's first frame, or the action before it.")
    ] = DeltaFrom.state,
    stride: Annotated[int, typer.Option(help="Frames between the starts of chunks.")] = 1,
    norm: Annotated[Norm, typer.Option(help="Normalisation of each dimension.")] = Norm.quantile,
    clip: Annotated[bool, typer.Option(help="Clip normalised values to [-1, 1]; openpi does not.")] = False,
    holdout: Annotated[float, typer.Option(help="Share of the episodes held out.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the split and the sampling.")] = 0,
    max_chunks: Annotated[int, typer.Option(help="Fit on at most so many, spread over episodes.")] = 10_000,
    action_key: ActionKey = None,
    state_key: StateKey = None,
    out: Annotated[Path, typer.Option(help="Folder of the tokenizer.")] = OUT / "tokenizer",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a FAST tokenizer on DATA, or on the built-in sample, and measure it on held-out episodes."""
    from fastki.data import open_dataset
    from fastki.report.payloads import fit_payload
    from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset

    terminal = Terminal(as_json=as_json, quiet=quiet)
    options = FitOptions(
        FitSettings(vocab_size=vocab, scale=scale, bins=bins, atol=atol, order=order.value),
        horizon=horizon,
        stride=stride,
        dims=dims,
        delta=delta,
        delta_from=delta_from.value,
        norm=norm.value,
        clip=clip,
        holdout=holdout,
        seed=seed,
        max_chunks=max_chunks,
    )
    announce_compilation(terminal)
    dataset = open_dataset(data, action_key=action_key, state_key=state_key)
    with terminal.progress() as progress:
        fitted = fit_on_dataset(dataset, options, progress=progress)
    save(fitted, out)
    payload = fit_payload(fitted, str(out))
    terminal.payload(payload)
    show(terminal, dataset.info, fitted)
    terminal.files([out])
    terminal.next_command("fastki", "roundtrip", *([] if out == OUT / "tokenizer" else [str(out)]), *_bound(fitted))


def save(fitted: Fitted, out: Path) -> None:
    """Save the tokenizer, and remember it as the last one in this folder's ``fastki-out``."""
    from fastki.files import write_text

    fitted.tokenizer.save(out)
    write_text(LAST, json.dumps({"tokenizer": str(out.resolve())}) + "\n")


def show(terminal: Terminal, info: DatasetInfo, fitted: Fitted) -> None:
    """The fit for people: the data, the precision, and what it costs and loses."""
    from fastki.report.tables import comparison, key_values, number

    tokenizer, sample = fitted.tokenizer, fitted.fit_sample
    normalizer = tokenizer.normalizer
    assert normalizer is not None
    rate = f", {info.fps:g} Hz" if info.fps else ""
    chosen = f", the cheapest that keep every value of every chunk within {fitted.fitted.atol:g}"
    drawn = len(sample.chunks) < sample.total_chunks
    pairs = [
        ("data", f"{info.uri} ({info.format}{rate}), {info.num_episodes} episodes, {info.num_frames:,} frames"),
        (
            "fitted on",
            f"{len(sample.chunks):,} {f'of {sample.total_chunks:,} ' if drawn else ''}chunks"
            f"{' (--max-chunks, spread over all episodes)' if drawn else ''} of {tokenizer.horizon} × "
            f"{tokenizer.action_dim} from {sample.episodes_used} episodes; {fitted.heldout_episodes} held out",
        ),
        ("precision", f"{number(tokenizer.codec.bins)} bins{chosen if fitted.fitted.atol else ''}"),
        (
            "vocabulary",
            f"{tokenizer.vocab_size:,}: {tokenizer.codec.alphabet.size} base symbols and "
            f"{tokenizer.vocab_size - tokenizer.codec.alphabet.size:,} merges",
        ),
    ]
    terminal.show(key_values(pairs))
    for note in (*info.notes, *_remarks(fitted)):
        terminal.note(f"note: {note}")
    columns = [("held out", fitted.heldout)] if fitted.heldout else []
    terminal.show("", comparison([*columns, ("fitted", fitted.fitted)]))


def _remarks(fitted: Fitted) -> list[str]:
    tokenizer, sample = fitted.tokenizer, fitted.fit_sample
    assert tokenizer.normalizer is not None
    remarks = []
    if sample.short_episodes:
        remarks.append(
            f"{len(sample.short_episodes)} episodes are shorter than the horizon {tokenizer.horizon} and were skipped"
        )
    if fitted.heldout is None:
        remarks.append("nothing could be held out, so these figures are of the fitted chunks themselves")
    still = [tokenizer.source.names[dim] for dim in tokenizer.normalizer.constant_dims] if tokenizer.source else []
    if still:
        remarks.append(f"{len(still)} dimensions never move ({', '.join(still[:6])}{' …' if len(still) > 6 else ''})")
    return remarks


def _bound(fitted: Fitted) -> list[str]:
    return ["--atol", f"{fitted.fitted.atol:g}"] if fitted.fitted.atol else []
