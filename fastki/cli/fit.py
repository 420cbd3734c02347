"""``fastki fit``."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastki.cli.options import OUT, SAMPLE, ActionKey, DeltaFrom, Json, Norm, OrderName, Quiet, ReferenceName, StateKey
from fastki.cli.terminal import Terminal, announce_compilation
from fastki.errors import UsageError

if TYPE_CHECKING:
    from fastki.data import DatasetInfo
    from fastki.tokenizer import ActionTokenizer, Fitted, RoundTrip

LAST = OUT / "last.json"


def fit(
    data: Annotated[str, typer.Argument(help="Dataset folder or file.", metavar="DATA")] = SAMPLE,
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
    dims: Annotated[str | None, typer.Option(help="Dimensions to keep, such as 0:7,13.")] = None,
    delta: Annotated[
        str | None,
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
    from fastki.files import require_writable
    from fastki.report.payloads import fit_payload
    from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset
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
    require_writable(out)
    require_replaceable(out)
    announce_compilation(terminal)
    dataset = open_dataset(data, action_key=action_key, state_key=state_key)
    with terminal.progress() as progress:
        fitted = fit_on_dataset(dataset, options, progress=progress)
    save(fitted, out)
    terminal.payload(fit_payload(fitted, str(out), dataset.info))
    show(terminal, dataset.info, fitted)
    terminal.files([out])
    terminal.next_command("fastki", "roundtrip", *([] if out == OUT / "tokenizer" else [str(out)]), *_bound(fitted))


def save(fitted: Fitted, out: Path) -> None:
    """Save the tokenizer, and remember it as the last one in this folder's ``fastki-out``."""
    from fastki.files import write_text

    fitted.tokenizer.save(out)
    # In a folder that can't be written to, nothing is remembered: the tokenizer itself is where it was wanted.
    with contextlib.suppress(UsageError):
        write_text(LAST, json.dumps({"tokenizer": str(out.resolve())}) + "\n")


def show(terminal: Terminal, info: DatasetInfo, fitted: Fitted) -> None:
    """The fit for people: the data, the precision, and what it costs and loses."""
    from fastki.report.tables import comparison, counted, key_values, number

    tokenizer, sample = fitted.tokenizer, fitted.fit_sample
    normalizer = tokenizer.normalizer
    assert normalizer is not None
    rate = f", {info.fps:g} Hz" if info.fps else ""
    bound = tokenizer.codec.atol
    value = "clipped value" if normalizer.clip else "value"
    chosen = f", which keep every {value} within {bound:g} in the fewest tokens" if bound else ""
    drawn = ""
    if len(sample.chunks) < sample.total_chunks:
        drawn = f", out of {sample.total_chunks:,} (--max-chunks)"
    pairs = [
        (
            "data",
            f"{info.uri} ({info.format}{rate}), {counted(info.num_episodes, 'episode')}, {info.num_frames:,} frames",
        ),
        (
            "fitted on",
            f"{counted(len(sample.chunks), 'chunk')} of {tokenizer.horizon} × {tokenizer.action_dim}"
            f"{drawn} from {counted(sample.episodes_used, 'episode')}; "
            f"{fitted.heldout_episodes} held out",
        ),
        ("precision", f"{number(tokenizer.codec.bins)} bins{chosen}"),
        (
            "vocabulary",
            f"{tokenizer.vocab_size:,}: {tokenizer.codec.alphabet.size} base symbols and "
            f"{tokenizer.vocab_size - tokenizer.codec.alphabet.size:,} merges",
        ),
    ]
    terminal.show(key_values(pairs))
    for note in (*info.notes, *_remarks(info, fitted)):
        terminal.note(f"note: {note}")
    columns = [("held out", fitted.heldout)] if fitted.heldout else []
    terminal.show("", comparison([*columns, ("fitted", fitted.fitted)]))


def _remarks(info: DatasetInfo, fitted: Fitted) -> list[str]:
    from fastki.report.tables import counted

    tokenizer = fitted.tokenizer
    assert tokenizer.normalizer is not None
    remarks = []
    short = int((info.lengths < tokenizer.horizon).sum())
    if short:
        remarks.append(f"skipped {counted(short, 'episode')} shorter than the horizon {tokenizer.horizon}")
    if fitted.heldout is None:
        why = "every held-out episode is too short" if fitted.heldout_episodes else "no episode is held out"
        remarks.append(f"{why}, so these figures are of the fitted chunks themselves")
    still = [tokenizer.source.names[dim] for dim in tokenizer.normalizer.constant_dims] if tokenizer.source else []
    if still:
        remarks.append(f"never moving: {', '.join(still[:6])}{', …' if len(still) > 6 else ''}")
    if tokenizer.normalizer.clip:
        remarks += outside(tokenizer, fitted.fitted)
    return remarks


def outside(tokenizer: ActionTokenizer, result: RoundTrip) -> list[str]:
    """What becomes of the values outside [-1, 1], where the normaliser means to have them inside."""
    normalizer = tokenizer.normalizer
    if normalizer is None or normalizer.method not in ("quantile", "minmax") or not result.outside:
        return []
    effect = "clipping loses what lies beyond" if normalizer.clip else "they are kept: nothing is clipped"
    return [f"{result.outside:.2%} of the values lie outside [-1, 1] after normalising; {effect}"]


def _bound(fitted: Fitted) -> list[str]:
    bound = fitted.tokenizer.codec.atol
    return ["--atol", f"{bound:g}"] if bound else []
