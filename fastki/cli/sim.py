"""``fastki sim``: simulators, and demonstrations recorded in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastki.cli.options import OUT, Json, Quiet
from fastki.cli.terminal import Terminal

if TYPE_CHECKING:
    from fastki.sim.record import Plan, Tally

sim = typer.Typer(name="sim", help="Demonstrations out of a simulator.", invoke_without_command=True)
_TASK = "reach-v3"


@sim.callback()
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@sim.command("record")
def record(
    task: Annotated[str, typer.Option(help="Tasks of Meta-World, joined by commas.")] = _TASK,
    episodes: Annotated[int, typer.Option(help="Demonstrations of each task.", min=1)] = 50,
    out: Annotated[Path, typer.Option(help="Folder of the dataset.")] = OUT / "sim",
    camera: Annotated[
        str, typer.Option(help="Cameras, joined by commas: front, side, topview, corner, corner2, gripperPOV …")
    ] = "front",
    size: Annotated[int, typer.Option(help="Height and width of the pictures, pixels.")] = 64,
    every: Annotated[int, typer.Option(help="Control steps (80 a second) a frame, the action being held.")] = 4,
    noise: Annotated[
        float, typer.Option(help="Added to what is carried out, standard deviation; what is recorded has none.")
    ] = 0.0,
    after: Annotated[int, typer.Option(help="Frames recorded after the task is solved.", min=0)] = 10,
    wander: Annotated[
        int, typer.Option(help="Frames, at most, that the hand is pushed somewhere before an episode begins.", min=0)
    ] = 0,
    keep_failed: Annotated[bool, typer.Option("--keep-failed", help="Also keep what did not solve the task.")] = False,
    seed: Annotated[int, typer.Option(help="Of the episodes.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Processes that record.", min=1)] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Record Meta-World's scripted experts as a LeRobot dataset with pictures and prompts; killed, it goes on."""
    from fastki.files import require_writable
    from fastki.sim.demonstrate import Style
    from fastki.sim.record import Plan
    from fastki.sim.record import record as write
    from fastki.sim.world import Setting

    terminal = Terminal(as_json=as_json, quiet=quiet)
    setting = Setting(_words(camera), size, every)
    plan = Plan(_words(task), setting, Style(noise, after, wander), seed, keep_failed)
    require_writable(out)
    with terminal.progress() as progress:
        tallies = write(out, plan, episodes, workers=workers, overwrite=overwrite, progress=progress)
    _finish(terminal, out, plan, tallies)


def _words(said: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in said.split(",") if word.strip())


def _finish(terminal: Terminal, out: Path, plan: Plan, tallies: tuple[Tally, ...]) -> None:
    from fastki.report.sim_tables import recording_facts, recording_payload, recording_table

    terminal.payload(recording_payload(out, plan, tallies))
    terminal.show(recording_facts(plan), "", recording_table(tallies))
    terminal.files([out])
    terminal.next_command("fastki", "train", "--data", str(out))
