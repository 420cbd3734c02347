"""``fastki export``."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastki.cli import complete
from fastki.cli.options import OUT, Json, Quiet
from fastki.cli.roundtrip import fit_sample, last_fitted
from fastki.cli.terminal import Terminal, announce_compilation
from fastki.cli.things import names_run, names_tokenizer
from fastki.errors import UsageError

if TYPE_CHECKING:
    from fastki.export.run import Exported, ExportOptions
    from fastki.export.source import Source

_RUN = OUT / "train"


class SystemName(enum.StrEnum):
    """Who takes it."""

    openpi = "openpi"
    lerobot = "lerobot"


def export(
    thing: Annotated[
        str | None,
        typer.Argument(
            help="Tokenizer, run, or one of its checkpoints; by default the newest here.",
            metavar="THING",
            autocompletion=complete.tokenizers,
        ),
    ] = None,
    to: Annotated[SystemName, typer.Option(help="System that takes it.")] = SystemName.openpi,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the export.", show_default="fastki-out/export/openpi or …/lerobot")
    ] = None,
    asset_id: Annotated[
        str | None, typer.Option(help="Name of the statistics, such as droid.", show_default="the run's own")
    ] = None,
    step: Annotated[int | None, typer.Option(help="Of a run; by default its newest.", min=0)] = None,
    check: Annotated[bool, typer.Option("--check", help="Read it again and compare; exit 1 on a difference.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is there.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a tokenizer or a trained policy as openpi or LeRobot takes it."""
    from fastki.export.run import ExportOptions, export_payload, require_free
    from fastki.export.run import export as write

    terminal = Terminal(as_json=as_json, quiet=quiet)
    options = ExportOptions(to.value, out or OUT / "export" / to.value, overwrite, check)
    require_free(options.out, overwrite=overwrite)
    if check:
        announce_compilation(terminal)
    source = _source(thing or _newest() or fit_sample(terminal), asset_id, step)
    with terminal.progress() as progress:
        done = write(source, options, progress=progress)
    terminal.payload(export_payload(source, options, done))
    _show(terminal, source, options, done)
    if not done.same:
        wrong = "; ".join(f"{row.what}: {row.found}" for row in done.compared if not row.same)
        terminal.line(f"failed: {done.folder} is not what it was made of ({wrong})")
        raise typer.Exit(1)


def _source(thing: str, asset_id: str | None, step: int | None) -> Source:
    """What a user's word stands for."""
    from fastki.export.source import policy_source, tokenizer_source

    path = Path(thing)
    if names_tokenizer(thing):
        if step is not None:
            raise UsageError(f"--step is of a run, and {thing} is a tokenizer: leave it out")
        return tokenizer_source(thing, asset_id)
    if not path.exists():
        raise UsageError(f"{thing} does not exist: give a tokenizer's folder, a run's, or that of a checkpoint in it")
    from fastki.data.extras import need

    for library in ("flax", "optax", "orbax.checkpoint"):
        need(library, extra="train", what="a trained policy")
    from fastki.evaluation.policy import find_policy
    from fastki.training.steps import PARAMS

    if step is None:
        return policy_source(find_policy(path), thing, asset_id)
    if not names_run(thing):
        raise UsageError(f"--step is of a run, and {thing} is none: give the run's folder")
    place = path / "checkpoints" / str(step)
    if not (place / PARAMS).is_dir():
        from fastki.training.steps import find_steps

        kept = ", ".join(str(one) for one in find_steps(path / "checkpoints", training=False).usable) or "none"
        raise UsageError(f"{thing} has no checkpoint of step {step}: it has {kept}")
    return policy_source(find_policy(place), thing, asset_id)


def _newest() -> str | None:
    """The run that was trained here, or the tokenizer that was fitted here, whichever is the newer."""
    found = {}
    if (run := _RUN / "checkpoints").is_dir() and names_run(str(_RUN)):
        found[str(_RUN)] = run.stat().st_mtime
    if (fitted := last_fitted()) is not None:
        found[fitted] = Path(fitted).stat().st_mtime
    return max(found, key=lambda name: found[name], default=None)


def _show(terminal: Terminal, source: Source, options: ExportOptions, done: Exported) -> None:
    from fastki.report.export_tables import compared_table, export_facts

    terminal.show(export_facts(source, options.system, done))
    if done.compared:
        terminal.show("", compared_table(done.compared))
    for note in done.notes:
        terminal.note(f"note: {note}")
    terminal.files([done.folder, done.folder / "README.md"])
    if options.check:
        policy, openpi = source.card is not None, options.system == "openpi"
        following = ["inspect", str(done.folder)] if policy and openpi else ["inspect", str(done.folder / "tokenizer")]
        terminal.next_command("fastki", *(following if policy or source.tokenizer else ["doctor"]))
    else:
        words = [] if options.system == "openpi" else ["--to", options.system]
        place = [] if options.out == OUT / "export" / options.system else ["--out", str(options.out)]
        terminal.next_command("fastki", "export", source.name, *words, *place, "--check", "--overwrite")
