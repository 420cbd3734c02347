"""``fastki eval --env``: a trained policy in a simulator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastki.cli.options import OUT
from fastki.cli.terminal import Terminal, announce_compilation
from fastki.errors import UsageError

if TYPE_CHECKING:
    from fastki.evaluation.acting import Head, Sampling
    from fastki.sim.closed_loop import ClosedLoop, LoopOptions
    from fastki.sim.evaluate import Place


def episode_count(said: str | None) -> int:
    """How many episodes ``--episodes`` asks for; 20 where it is not given."""
    if said is None:
        return 20
    if not (said.isascii() and said.isdigit()):
        raise UsageError(f"--episodes {said!r} is no number: with --env it says how many episodes are played")
    return int(said)


def evaluate_in_simulator(
    terminal: Terminal,
    place: Place,
    heads: tuple[Head, ...] | None,
    sampling: Sampling,
    options: LoopOptions,
    *,
    out: Path | None,
    command: str,
) -> None:
    """Measure, write, draw, and show."""
    from fastki.files import require_writable
    from fastki.report.closed_loop import NAME
    from fastki.sim.evaluate import evaluate_in

    name = f"{place.recording.simulator}-{place.task}"
    folder = out or (OUT if place.run is None else place.run) / "evaluation" / name
    require_writable(folder / NAME)
    announce_compilation(terminal)
    with terminal.progress() as progress:
        found = evaluate_in(place, heads, sampling, options, progress=progress)
    _finish(terminal, place, found, sampling, folder, command)


def _finish(
    terminal: Terminal, place: Place, found: ClosedLoop, sampling: Sampling, folder: Path, command: str
) -> None:
    from rich.markup import escape

    from fastki.report.closed_loop import (
        STEMS,
        loop_facts,
        loop_figures,
        loop_payload,
        loop_table,
        loop_verdicts,
        write_films,
        write_loop,
    )
    from fastki.report.drawn import write_drawn

    payload = loop_payload(place, found, sampling)
    paths = [
        *write_loop(payload, command, folder),
        *write_drawn(loop_figures(place.task, found), folder, stems=STEMS),
        *write_films(found, folder),
    ]
    terminal.payload({**payload, "files": [str(path) for path in paths]})
    terminal.show(loop_facts(place, found), "", loop_table(found), "")
    terminal.show(*(escape(line) for line in loop_verdicts(found)))
    terminal.files(paths)
    terminal.next_command("fastki", "eval", str(place.run or place.checkpoint), "--ablate")
