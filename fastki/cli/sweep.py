"""``fastki sweep``."""

from __future__ import annotations

import enum
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from fastki.cli import complete
from fastki.cli.fit import save as save_fitted
from fastki.cli.groups import cuts_chunks, reads_data
from fastki.cli.options import OUT, SAMPLE, Json, Quiet
from fastki.cli.sweep_live import following
from fastki.cli.terminal import Terminal, announce_compilation
from fastki.cli.words import command_words
from fastki.data.options import OpenOptions
from fastki.errors import UsageError

if TYPE_CHECKING:
    from fastki.data import Dataset
    from fastki.study.run import Engine
    from fastki.study.sweep import SweepOptions, SweepPlan, SweepResult

T = TypeVar("T")
BEST = "best"


class EngineName(enum.StrEnum):
    """Where cells are computed."""

    local = "local"
    ray = "ray"


@cuts_chunks
@reads_data
def sweep(
    context: typer.Context,
    reading: OpenOptions,
    cut: dict[str, Any],
    data: Annotated[
        str,
        typer.Argument(help="Dataset: folder, file, URL or hub id.", metavar="DATA", autocompletion=complete.data),
    ] = SAMPLE,
    vocab: Annotated[str, typer.Option(help="Vocabularies, 64 or more each.")] = "256,1024,4096",
    bins: Annotated[
        str, typer.Option(help="Quantisation steps over [-1, 1]; `bound`: FAST that keeps --atol on every value.")
    ] = "20,64,256,bound",
    horizon: Annotated[str | None, typer.Option(help="Actions in a chunk.", show_default="16")] = None,
    order: Annotated[str, typer.Option(help="Of FAST's coefficients: freq, dim, or both.")] = "freq",
    method: Annotated[
        str, typer.Option(help="fast, binning, bspline or bspline:K, reference, published:PATH.")
    ] = "fast",
    atol: Annotated[
        float | None, typer.Option(help="Error bound asked about, normalised units.", show_default="0.01")
    ] = None,
    max_tokens: Annotated[
        float | None, typer.Option(help="Recommend what takes at most so many tokens on 99 of 100 chunks.")
    ] = None,
    probe: Annotated[
        int, typer.Option(help="Train a tiny transformer on each cell's tokens for so many steps.", min=0)
    ] = 0,
    pick: Annotated[str | None, typer.Option(help="Row to save: its number, or best.", metavar="best|ROW")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Folder of the picked tokenizer.", show_default=str(OUT / "tokenizer"))
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="Processes here, or a Ray cluster.")] = EngineName.local,
    ray_address: Annotated[str | None, typer.Option(help="Of the cluster; without one a local Ray is started.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes at most.", min=1, show_default="processors there are")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results, and of finished rows to go on from.")] = OUT
    / "sweep",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare tokenizers on DATA: vocabulary × bins × horizon × method; stopped, the same command goes on."""
    from fastki.data.mixture import Mixture
    from fastki.data.open import open_with
    from fastki.files import require_writable
    from fastki.report.sweep_files import sweep_payload, write_sweep
    from fastki.report.sweep_html import FIGURES, write_report
    from fastki.study.sweep import SweepOptions, plan_sweep, run_sweep
    from fastki.tokenizer import FitOptions
    from fastki.tokenizer.store import require_replaceable

    terminal = Terminal(as_json=as_json, quiet=quiet)
    options = SweepOptions(
        vocab=_list("--vocab", vocab, int),
        bins=_list("--bins", bins, _bins),
        horizon=() if horizon is None else _list("--horizon", horizon, int),
        order=_list("--order", order, str),  # type: ignore[arg-type]
        method=_list("--method", method, str),
        atol=atol,
        max_tokens=max_tokens,
        probe=probe,
        data=FitOptions(**cut),
    )
    target = _target(pick, save)
    require_writable(out / "sweep.json")
    require_writable(out / FIGURES / "tradeoff.png")
    if target is not None:
        require_writable(target)
        require_replaceable(target)
    with terminal.progress() as progress:
        dataset = open_with(data, reading, progress=lambda done, total: progress("listing", done, total))
    if isinstance(dataset, Mixture):
        raise UsageError(f"{data} is a mixture: sweep one of its datasets, then `fastki fit {data}` with what is best")
    plan = plan_sweep(dataset, options)
    row = _row_number(pick, plan) if target is not None else None
    runner = _engine(engine, ray_address, workers)
    announce_compilation(terminal)
    for note in plan.notes:
        terminal.note(f"note: {note}")
    with following(terminal, plan.cells) as on_row:
        result = run_sweep(plan, options, engine=runner, store=out / "rows", on_row=on_row)
    payload = sweep_payload(result, options, dataset.info.uri, plan.notes)
    words = command_words(context)
    command = shlex.join(words)
    report, *figures = write_report(payload, result, command, out)
    tables = write_sweep(payload, result, command, out)
    saved = [] if target is None else [_save(terminal, dataset, options, result, row, target)]
    payload["files"] = [str(path) for path in (report, *tables, *figures)]
    if target is not None:
        payload["tokenizer"] = str(target)
    terminal.payload(payload)
    _show(terminal, result)
    terminal.files([report, *tables, *([out / FIGURES] if figures else []), *saved])
    terminal.next_command(*_next(words, data, result, options, target))


def _list(option: str, text: str, kind: Callable[[str], T]) -> tuple[T, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    try:
        return tuple(kind(word) for word in words)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is no list of numbers such as 256,1024") from error


def _bins(word: str) -> float | str:
    from fastki.study.grid import BOUND

    return word if word == BOUND else float(word)


def _target(pick: str | None, save: Path | None) -> Path | None:
    """Where to save a tokenizer, if one is wanted."""
    return None if pick is None and save is None else save or OUT / "tokenizer"


def _row_number(pick: str | None, plan: SweepPlan) -> int | None:
    """The row to save, checked before any work; None for the best one."""
    if pick in (None, BEST):
        return None
    number = int(pick) if str(pick).isdecimal() else -1
    if not 0 <= number < len(plan.cells):
        raise UsageError(f"--pick {pick}: use best, or the number of a row, 0 … {len(plan.cells) - 1}")
    if plan.cells[number].method != "fast":
        raise UsageError(f"--pick {pick} is of the method {plan.cells[number].method}, and only fast can be saved")
    return number


def _engine(name: EngineName, address: str | None, workers: int | None) -> Engine:
    if name is EngineName.local:
        from fastki.study.local import LocalEngine

        if address is not None:
            raise UsageError("--ray-address is of --engine ray")
        return LocalEngine(workers)
    from fastki.study.ray_engine import RayEngine

    return RayEngine(address, workers)


def _save(
    terminal: Terminal, dataset: Dataset, options: SweepOptions, result: SweepResult, row: int | None, target: Path
) -> Path:
    from fastki.study.sweep import pick_tokenizer

    number = result.recommended if row is None else row
    if number is None:
        raise UsageError("every cell was refused, so there is no tokenizer to save")
    with terminal.progress() as progress:
        fitted = pick_tokenizer(dataset, options, result.rows[number], progress=progress)
    save_fitted(fitted.tokenizer, target)
    return target


def _show(terminal: Terminal, result: SweepResult) -> None:
    from rich.markup import escape

    from fastki.report.sweep_tables import BEST as STAR
    from fastki.report.sweep_tables import PARETO, advice, sweep_errors, sweep_marks, sweep_table

    terminal.show(sweep_table(result.rows, marks=sweep_marks(result)), "")
    for line in sweep_errors(result.rows):
        terminal.show(f"[dim]refused[/dim] {escape(line)}")
    terminal.show(f"{PARETO} no other row of its horizon has fewer tokens and a smaller RMSE; {STAR} recommended", "")
    for line in advice(result):
        terminal.show(f"[bold]{escape(line)}[/bold]")


def _next(words: list[str], data: str, result: SweepResult, options: SweepOptions, target: Path | None) -> list[Any]:
    if target is not None:
        bound = ["--atol", f"{options.bound:g}"] if options.atol is not None else []
        return ["fastki", "roundtrip", str(target), *bound]
    if result.recommended is None:
        return ["fastki", "inspect", *([] if data == SAMPLE else [data])]
    return [*words, "--pick", BEST, "--save", str(OUT / "tokenizer")]
