"""``fastki roundtrip``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastki.cli.fit import LAST, outside, save
from fastki.cli.options import OUT, SAMPLE, ActionKey, Json, Quiet, SplitName, StateKey
from fastki.cli.terminal import Terminal, announce_compilation
from fastki.cli.things import open_either

if TYPE_CHECKING:
    from fastki.data import Dataset, DatasetInfo
    from fastki.tokenizer import ActionTokenizer, CorruptionRow, Measured


def roundtrip(
    tokenizer: Annotated[
        str | None,
        typer.Argument(help="Tokenizer folder or hub id; by default the last one fitted here.", metavar="TOKENIZER"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(help="Dataset; by default the one it was fitted on.", metavar="DATA"),
    ] = None,
    atol: Annotated[float, typer.Option(help="Largest admitted error of a value, normalised units.")] = 0.01,
    split: Annotated[SplitName, typer.Option(help="Episodes of the fitted data.")] = SplitName.heldout,
    dims: Annotated[str | None, typer.Option(help="Dimensions, if others than fitted.")] = None,
    horizon: Annotated[int | None, typer.Option(help="For published tokenizers.", min=1)] = None,
    stride: Annotated[int | None, typer.Option(help="Frames between chunks.", min=1, show_default="as fitted")] = None,
    corrupt: Annotated[
        float | None,
        typer.Option(help="Also damage this share of the tokens and say what comes back.", min=0, max=1),
    ] = None,
    action_key: ActionKey = None,
    state_key: StateKey = None,
    out: Annotated[Path, typer.Option(help="Folder of figures and results.")] = OUT / "roundtrip",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Encode and decode every held-out chunk and say what came back; exit 1 if a value misses --atol."""
    from fastki.files import require_writable, write_text
    from fastki.report import tables
    from fastki.report.payloads import roundtrip_payload
    from fastki.tokenizer import RoundTripOptions, corruption_on_dataset, roundtrip_on_dataset

    terminal = Terminal(as_json=as_json, quiet=quiet)
    results = out / "roundtrip.json"
    require_writable(results)
    announce_compilation(terminal)
    folder, loaded, dataset = _resolve(terminal, tokenizer, data, action_key, state_key)
    options = RoundTripOptions(atol=atol, split=split.value, dims=dims, horizon=horizon, stride=stride)
    with terminal.progress() as progress:
        measured = roundtrip_on_dataset(loaded, dataset, options, progress=progress)
        rates = [] if corrupt is None else [0.0, corrupt / 4, corrupt / 2, corrupt]
        damage = corruption_on_dataset(loaded, dataset, options, rates, progress=progress) if rates else []
    payload = roundtrip_payload(measured, folder, dataset.info.uri, damage)
    write_text(results, json.dumps(payload, indent=2, ensure_ascii=False) + "\n")
    figures = _figures(measured, damage, dataset.info, out)
    terminal.payload(payload)
    _show(terminal, measured, folder, dataset.info)
    if damage:
        terminal.show("", tables.corruption(damage))
    terminal.files([results, *figures])
    terminal.next_command("fastki", "inspect", folder)
    if not measured.result.passed:
        raise typer.Exit(1)


def _resolve(
    terminal: Terminal, tokenizer: str | None, data: str | None, action_key: str | None, state_key: str | None
) -> tuple[str, ActionTokenizer, Dataset]:
    """Tokenizer folder, tokenizer and dataset of what the user named and what is left to default."""
    from fastki.data import open_dataset
    from fastki.tokenizer import load_tokenizer, open_source
    from fastki.tokenizer.store import is_tokenizer

    dataset = None
    if data is not None:
        dataset = open_dataset(data, action_key=action_key, state_key=state_key)
    elif tokenizer is not None and not is_tokenizer(Path(tokenizer)) and _is_data(tokenizer):
        dataset = open_either(tokenizer, action_key=action_key, state_key=state_key)
        tokenizer = None
    folder = tokenizer or _last_fitted() or _fit_sample(terminal)
    loaded = load_tokenizer(folder)
    if dataset is None:
        dataset = open_dataset(SAMPLE) if loaded.method == "published" else open_source(loaded)
    return folder, loaded, dataset


def _is_data(name: str) -> bool:
    return name.startswith("synthetic:") or Path(name).exists()


def _last_fitted() -> str | None:
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


def _fit_sample(terminal: Terminal) -> str:
    """With nothing fitted yet, fit the sample, so that the command works on its own."""
    from fastki.data import open_dataset
    from fastki.tokenizer import FitOptions, fit_on_dataset

    terminal.note("no tokenizer was fitted here yet: fitting the built-in sample first")
    with terminal.progress() as progress:
        fitted = fit_on_dataset(open_dataset(SAMPLE), FitOptions(), progress=progress)
    save(fitted, OUT / "tokenizer")
    return str(OUT / "tokenizer")


def _figures(measured: Measured, damage: list[CorruptionRow], info: DatasetInfo, out: Path) -> list[Path]:
    from fastki.report import figures

    result = measured.result
    drawn = {
        "reconstruction.png": figures.reconstruction(result, fps=info.fps),
        "errors.png": figures.error_histogram(result),
        "energy.png": figures.energy(result),
        "tokens.png": figures.token_lengths(result),
    }
    if damage:
        drawn["corruption.png"] = figures.corruption(damage)
    return [figures.save(figure, out / name) for name, figure in drawn.items()]


def _show(terminal: Terminal, measured: Measured, folder: str, info: DatasetInfo) -> None:
    from rich.markup import escape

    from fastki.report.tables import comparison, counted, key_values, number, per_dimension

    result = measured.result
    which = {"heldout": "held out", "fitted": "fitted", "all": "all"}[measured.split]
    terminal.show(
        key_values([("tokenizer", folder), ("data", f"{info.uri}, {counted(result.episodes, 'episode')} ({which})")]),
        "",
        comparison([(which, result)]),
        "",
        per_dimension(result),
        "",
    )
    if measured.split == "fitted" and measured.result.episodes:
        terminal.note("note: these episodes were fitted on")
    if measured.short_episodes:
        terminal.note(f"note: skipped {counted(measured.short_episodes, 'episode')} shorter than the horizon")
    for remark in outside(measured.tokenizer, result):
        terminal.note(f"note: {remark}")
    if result.passed:
        worst = result.worst_dimension
        terminal.show(
            f"[green]passed[/green]: every value is within {result.atol:g}; "
            f"the largest error is {number(result.max_abs_error)} ({escape(worst.name)})"
        )
    else:
        _show_miss(terminal, measured)


def _show_miss(terminal: Terminal, measured: Measured) -> None:
    from rich.markup import escape

    from fastki.report.tables import number

    result, worst = measured.result, measured.result.worst_dimension
    unit = f" = {number(worst.max_abs_error_native)} {escape(worst.unit)}" if worst.unit else ""
    clipped = measured.tokenizer.normalizer is not None and measured.tokenizer.normalizer.clip
    unclipped = "--no-clip " if clipped else ""
    mend = f"fit with {unclipped}--atol {result.atol:g}"
    if measured.passing_bins:
        mend += f", or with {unclipped}--bins {measured.passing_bins}, the fewest at which plain rounding passes here"
    terminal.show(
        f"[red]missed[/red]: {escape(worst.name)} is off by {number(worst.max_abs_error)}{unit} in episode "
        f"{result.worst.episode}, frame {result.worst.start}, more than {result.atol:g}; "
        f"{result.within_atol:.2%} of the chunks are within; {mend}"
    )
