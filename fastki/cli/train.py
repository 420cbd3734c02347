"""``fastki train``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastki.cli.groups import reads_data
from fastki.cli.options import OUT, Json, Quiet
from fastki.cli.terminal import Terminal, announce_compilation, keep_stdout_ours
from fastki.cli.words import command_words
from fastki.data.options import OpenOptions
from fastki.errors import UsageError

if TYPE_CHECKING:
    from fastki.training.config import TrainConfig
    from fastki.training.loop import Outcome
    from fastki.training.open_run import OpenRun
    from fastki.training.prepare import Setup
    from fastki.training.run_folder import RunFolder


_MEASURED = 256  # Held-out frames at the end of a run; `fastki eval` takes more.


def _how(help_text: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel="How it trains", **settings)


def _where(help_text: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel="Where it runs", **settings)


@reads_data
def train(
    context: typer.Context,
    reading: OpenOptions,
    preset: Annotated[
        str, typer.Argument(help="tiny, small, pi05_droid_ki or pi05_ki_lora.", metavar="PRESET")
    ] = "tiny",
    data: Annotated[str | None, typer.Option(help="Dataset.", metavar="DATA", show_default="the preset's")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Tokenizer folder or hub id.", show_default="fitted on the data")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="A preset's name, or a .toml file.", show_default="the preset's")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="Text tokenizer: byte, .model, Hugging Face folder or id.", show_default="the preset's"),
    ] = None,
    mode: Annotated[
        str | None,
        _how("ki: both losses, insulated; joint: not insulated; flow or fast: one loss.", show_default="ki"),
    ] = None,
    steps: Annotated[int | None, _how("Updates.", show_default="the preset's")] = None,
    batch_size: Annotated[int | None, _how("Examples of an update.", show_default="the preset's")] = None,
    init: Annotated[
        str | None, _how("Weights to begin with: an openpi checkpoint, a run, PaliGemma's .npz; a folder or URL.")
    ] = None,
    seed: Annotated[int | None, _how("Of parameters, noise and order.", show_default="0")] = None,
    max_token_len: Annotated[
        int | None, _how("Text tokens an example has room for.", show_default="what the data need")
    ] = None,
    truncate: Annotated[bool, _how("Cut off text that is too long, and count it.", "--truncate")] = False,
    images: Annotated[bool, _how("Give the model pictures.", "--images/--no-images")] = True,
    cotrain: Annotated[
        str | None, _how("JSONL file of pictures, prompts and answers to learn beside the actions.")
    ] = None,
    cotrain_weight: Annotated[float | None, _how("Their share of the examples.", show_default="0.1")] = None,
    settings: Annotated[
        list[str] | None, _how("Any value of the configuration, such as recipe.ema_decay=0.999.", "--set")
    ] = None,
    config: Annotated[
        Path | None, _how("TOML file with values of the configuration, which options and --set override.")
    ] = None,
    print_config: Annotated[bool, _how("Print the configuration as TOML and stop.", "--print-config")] = False,
    compare: Annotated[
        str | None,
        _how("Modes to compare, such as ki,joint,flow,fast; or values, such as ki_fast_loss_weight=0.1,1,10."),
    ] = None,
    seeds: Annotated[int, _how("Runs of each that --compare trains.", min=1)] = 3,
    resume: Annotated[bool, _where("Go on with the run that --out holds.", "--resume")] = False,
    overwrite: Annotated[bool, _where("Delete the run that --out holds, and begin anew.", "--overwrite")] = False,
    keep: Annotated[int | None, _where("Newest checkpoints that stay.", min=1, show_default="2")] = None,
    tensorboard: Annotated[bool, _where("Also write TensorBoard's files into the run.", "--tensorboard")] = False,
    wandb: Annotated[str | None, _where("Also log to this project of Weights & Biases.", metavar="PROJECT")] = None,
    evaluate: Annotated[bool, _where("Measure on held-out episodes at the end.", "--eval/--no-eval")] = True,
    coordinator: Annotated[str | None, _where("host:port of process 0, or auto, for several processes.")] = None,
    processes: Annotated[int | None, _where("How many there are.", min=1)] = None,
    process: Annotated[int | None, _where("Which of them this is, from 0.", min=0)] = None,
    out: Annotated[Path, _where("Folder of the run.")] = OUT / "train",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a π0.5-style policy with knowledge insulation; the same command again goes on where it stopped."""
    from fastki.config import to_toml
    from fastki.training.presets import preset as named

    terminal = Terminal(as_json=as_json, quiet=quiet)
    said: dict[str, Any] = {
        "data.uri": data,
        "data.opened": None if reading == OpenOptions() else reading,
        "data.images": None if images else False,
        "tokenizer.path": tokenizer,
        "sequence.layout": layout,
        "sequence.text": text,
        "sequence.max_token_len": max_token_len,
        "sequence.truncate": True if truncate else None,
        "mode": mode,
        "steps": steps,
        "seed": seed,
        "loader.seed": seed,
        "loader.batch_size": batch_size,
        "loader.cotrain": cotrain,
        "loader.cotrain_weight": cotrain_weight,
        "init": init,
        "save.keep": keep,
        "hosts.coordinator": coordinator,
        "hosts.processes": processes,
        "hosts.process": process,
    }
    asked = _configured(named(preset), config, said, settings or [])
    if print_config:
        sys.stdout.write(to_toml(asked))
        return
    announce_compilation(terminal)
    if compare is not None:
        from fastki.cli.train_compare import compare as compare_runs

        place = OUT / "compare" if out == OUT / "train" else out
        compare_runs(terminal, asked, compare, seeds, place, command=shlex.join(command_words(context)))
        return
    _train(terminal, asked, out, resume=resume, overwrite=overwrite, trackers=(tensorboard, wandb), evaluate=evaluate)


def _configured(base: TrainConfig, file: Path | None, said: dict[str, Any], settings: list[str]) -> TrainConfig:
    """The preset, then the file, then the options, then ``--set``."""
    from fastki.config import from_toml, merged, to_plain
    from fastki.training.presets import configured

    changes: dict[str, Any] = {}
    if file is not None:
        try:
            changes = from_toml(file.read_text(encoding="utf-8"), str(file))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--config {file} can't be read: {error}") from error
    for name, value in said.items():
        if value is None:
            continue
        change: Any = to_plain(value)
        for part in reversed(name.split(".")):
            change = {part: change}
        changes = merged(changes, change)
    return configured(base, changes, settings)


def _train(
    terminal: Terminal,
    asked: TrainConfig,
    out: Path,
    *,
    resume: bool,
    overwrite: bool,
    trackers: tuple[bool, str | None],
    evaluate: bool,
) -> None:
    from fastki.data.extras import need
    from fastki.training.hosts import first_process, hosts_of, join
    from fastki.training.open_run import open_run
    from fastki.training.run_folder import RunFolder
    from fastki.training.tracking import require_trackers

    for library in ("flax", "optax", "orbax.checkpoint"):
        need(library, extra="train", what="fastki train", doing="running")
    require_trackers(*trackers)
    RunFolder(out).require_writable()
    hosts = hosts_of(asked.hosts)
    if hosts.coordinator is not None:
        keep_stdout_ours()  # What processes on CPUs talk through greets on it.
    join(hosts)
    if not first_process():
        terminal.quiet = True  # One tells for all.
    with terminal.progress() as progress:
        run = open_run(out, asked, resume=resume, overwrite=overwrite, progress=progress)
    _note(terminal, run)
    _finish(terminal, run, _run(terminal, run, trackers, evaluate), evaluate)


def _run(terminal: Terminal, run: OpenRun, trackers: tuple[bool, str | None], evaluate: bool) -> Outcome:
    from fastki.cli.train_live import following
    from fastki.evaluation.heldout import HeldOut
    from fastki.training.loop import train
    from fastki.training.tracking import open_trackers

    setup, measure = run.setup, None
    if evaluate and setup.config.save.eval_every is not None:
        measure = HeldOut(setup, run.machinery.definition, examples=setup.config.save.eval_examples)
    tracking = open_trackers(setup.config, run.folder, *trackers, step=run.step)
    with tracking as tracked, following(terminal, setup, tracked) as watcher:
        return train(run.machinery, watcher, evaluate=measure)


def _note(terminal: Terminal, run: OpenRun) -> None:
    """What a user should know before the run begins."""
    from fastki.training.init_stats import init_note

    setup = run.setup
    beginning = None if run.resumed else init_note(setup.config, setup.dataset, setup.assembler.norm_stats())
    for note in (*setup.notes, *([] if beginning is None else [beginning])):
        terminal.note(f"note: {note}")


def _finish(terminal: Terminal, run: OpenRun, outcome: Outcome, evaluate: bool) -> None:
    import jax

    from fastki.training.hosts import first_process

    if not first_process():
        return
    from fastki.report.train_files import train_payload, write_curves

    setup, folder = run.setup, run.folder
    paths = write_curves(folder)
    payload = train_payload(folder, outcome.step, outcome.interrupted)
    for name, reason in outcome.ignored.items():
        terminal.note(f"note: checkpoint {name} was not used: {reason}")
    if outcome.loaded is not None:
        terminal.line(str(outcome.loaded))
    if outcome.interrupted is not None:
        terminal.note(f"{outcome.interrupted}: saved at step {outcome.step}; the same command goes on from there")
    elif evaluate and jax.process_count() == 1:
        payload["heldout"] = _measure(terminal, setup, outcome, folder)
    terminal.payload(payload)
    terminal.show(_summary(setup, outcome), *_heldout_words(payload["heldout_losses"]))
    terminal.files([folder.checkpoints / str(outcome.step), *paths])
    terminal.next_command("fastki", "eval", str(folder.path))


def _summary(setup: Setup, outcome: Outcome) -> str:
    return f"step {outcome.step:,} of {setup.config.steps:,}: {outcome.tally}"


def _heldout_words(measured: dict[str, dict[str, float]]) -> list[str]:
    """Best and last of what was measured during the run, a line each."""
    from fastki.cli.train_live import NAMES

    return [
        f"held out, {NAMES[name]}: {row['last']:.4g} at step {row['last_step']:,}; best {row['best']:.4g} at step "
        f"{row['best_step']:,}"
        for name, row in measured.items()
    ]


def _measure(terminal: Terminal, setup: Setup, outcome: Outcome, folder: RunFolder) -> dict[str, Any]:
    """The errors of each head on held-out episodes, shown and given back."""
    from fastki.evaluation.open_loop import OpenLoopOptions, measure_open_loop
    from fastki.evaluation.policy import Policy
    from fastki.report.eval_tables import summary_table
    from fastki.training.card import load_assets

    episodes = setup.heldout if len(setup.heldout) else setup.train
    policy = Policy(load_assets(folder.assets), outcome.params)
    with terminal.progress() as progress:
        measured = measure_open_loop(
            policy, setup.dataset, episodes, OpenLoopOptions(most=_MEASURED), progress=progress
        )
    terminal.show(summary_table(measured), f"[dim]{measured.episodes} episodes, {measured.frames} frames[/dim]", "")
    return {row.name: {"mae": row.mae, "of_mean": row.of_mean} for row in measured.rows}
