"""``fastki roundtrip``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from fastki.cli.fit import LAST, save
from fastki.cli.options import OUT, SAMPLE, ActionKey, Json, Quiet, SplitName, StateKey
from fastki.cli.terminal import Terminal, announce_compilation

if TYPE_CHECKING:
    from fastki.data import Dataset, DatasetInfo
    from fastki.tokenizer import ActionTokenizer, Measured


def roundtrip(
    tokenizer: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="Tokenizer folder or hub id; by default the last one fitted here.", metavar="[TOKENIZER]"),
    ] = None,
    data: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="Dataset; by default the one it was fitted on.", metavar="[DATA]"),
    ] = None,
    atol: Annotated[float, typer.Option(help="Largest admitted error of a value, normalised units.")] = 0.01,
    split: Annotated[SplitName, typer.Option(help="Episodes of the fitted data.")] = SplitName.heldout,
    dims: Annotated[Optional[str], typer.Option(help="Dimensions, if others than fitted.")] = None,  # noqa: UP045
    horizon: Annotated[Optional[int], typer.Option(help="For published tokenizers.")] = None,  # noqa: UP045
    stride: Annotated[Optional[int], typer.Option(help="Frames between chunks.", show_default="as fitted")] = None,  # noqa: UP045
    action_key: ActionKey = None,
    state_key: StateKey = None,
    out: Annotated[Path, typer.Option(help="Folder of figures and results.")] = OUT / "roundtrip",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Encode and decode every held-out chunk and say what came back; exit 1 if a value misses --atol."""
    from fastki.files import write_text
    from fastki.report.payloads import roundtrip_payload
    from fastki.tokenizer import RoundTripOptions, roundtrip_on_dataset

    terminal = Terminal(as_json=as_json, quiet=quiet)
    announce_compilation(terminal)
    folder, loaded, dataset = _resolve(terminal, tokenizer, data, action_key, state_key)
    options = RoundTripOptions(atol=atol, split=split.value, dims=dims, horizon=horizon, stride=stride)
    with terminal.progress() as progress:
        measured = roundtrip_on_dataset(loaded, dataset, options, progress=progress)
    payload = roundtrip_payload(measured, folder, dataset.info.uri)
    results = out / "roundtrip.json"
    write_text(results, json.dumps(payload, indent=2, ensure_ascii=False) + "\n")
    figures = _figures(measured, dataset.info, out)
    terminal.payload(payload)
    _show(terminal, measured, folder, dataset.info)
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

    if tokenizer is not None and data is None and not is_tokenizer(Path(tokenizer)) and _is_data(tokenizer):
        tokenizer, data = None, tokenizer
    folder = tokenizer or _last_fitted() or _fit_sample(terminal)
    loaded = load_tokenizer(folder)
    if data is None and loaded.method == "published":
        data = SAMPLE
    if data is None:
        return folder, loaded, open_source(loaded)
    return folder, loaded, open_dataset(data, action_key=action_key, state_key=state_key)


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
    return folder if Path(folder).is_dir() else None


def _fit_sample(terminal: Terminal) -> str:
    """With nothing fitted yet, fit the sample, so that the command works on its own."""
    from fastki.data import open_dataset
    from fastki.tokenizer import FitOptions, fit_on_dataset

    terminal.note("no tokenizer was fitted here yet: fitting the built-in sample first")
    with terminal.progress() as progress:
        fitted = fit_on_dataset(open_dataset(SAMPLE), FitOptions(), progress=progress)
    save(fitted, OUT / "tokenizer")
    return str(OUT / "tokenizer")


def _figures(measured: Measured, info: DatasetInfo, out: Path) -> list[Path]:
    from fastki.report import figures

    result = measured.result
    drawn = {
        "reconstruction.png": figures.reconstruction(result, fps=info.fps),
        "errors.png": figures.error_histogram(result),
        "energy.png": figures.energy(result),
        "tokens.png": figures.token_lengths(result),
    }
    return [figures.save(figure, out / name) for name, figure in drawn.items()]


def _show(terminal: Terminal, measured: Measured, folder: str, info: DatasetInfo) -> None:
    from fastki.report.tables import comparison, key_values, number, per_dimension

    result = measured.result
    which = {"heldout": "held out", "fitted": "fitted", "all": "all"}[measured.split]
    terminal.show(
        key_values([("tokenizer", folder), ("data", f"{info.uri}, {result.episodes} episodes ({which})")]),
        "",
        comparison([(which, result)]),
        "",
        per_dimension(result),
        "",
    )
    if measured.split == "fitted" and measured.result.episodes:
        terminal.note("note: these episodes were fitted on")
    if measured.short_episodes:
        terminal.note(f"note: {measured.short_episodes} episodes are shorter than the horizon and were skipped")
    if result.outside:
        clip = measured.tokenizer.normalizer is not None and measured.tokenizer.normalizer.clip
        effect = "clipping loses what lies beyond" if clip else "they are kept: nothing is clipped"
        terminal.note(f"note: {result.outside:.2%} of the values lie outside [-1, 1] after normalising; {effect}")
    worst = result.worst_dimension
    if result.passed:
        terminal.show(
            f"[green]passed[/green]: every value is within {result.atol:g}; "
            f"the largest error is {number(result.max_abs_error)} ({worst.name})"
        )
    else:
        _show_miss(terminal, measured)


def _show_miss(terminal: Terminal, measured: Measured) -> None:
    from fastki.report.tables import number

    result, worst = measured.result, measured.result.worst_dimension
    unit = f" = {number(worst.max_abs_error_native)} {worst.unit}" if worst.unit else ""
    mend = "no number of bins would pass"
    if measured.passing_bins:
        mend = f"these chunks pass from --bins {measured.passing_bins}"
    terminal.show(
        f"[red]missed[/red]: {worst.name} is off by {number(worst.max_abs_error)}{unit} in episode "
        f"{result.worst.episode}, frame {result.worst.start}, more than {result.atol:g}; "
        f"{result.within_atol:.2%} of the chunks are within; {mend}"
    )
