"""``fastki eval``."""

from __future__ import annotations

import enum
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastki.cli.groups import reads_data
from fastki.cli.options import OUT, Json, Quiet
from fastki.cli.terminal import Terminal, announce_compilation
from fastki.cli.words import command_words
from fastki.data.options import OpenOptions
from fastki.errors import UsageError

if TYPE_CHECKING:
    from fastki.evaluation.evaluate import Evaluation
    from fastki.evaluation.reopen import Reopened

_RUN = OUT / "train"  # Where `fastki train` leaves its run.


class HeadName(enum.StrEnum):
    """Which of the two ways to act."""

    flow = "flow"
    fast = "fast"
    both = "both"


class PartName(enum.StrEnum):
    """Which episodes."""

    heldout = "heldout"
    train = "train"
    all = "all"


@reads_data
def evaluate(
    context: typer.Context,
    reading: OpenOptions,
    run: Annotated[Path, typer.Argument(help="Folder of a run, or of one of its checkpoints.", metavar="RUN")] = _RUN,
    data: Annotated[str | None, typer.Argument(help="Dataset; by default the run's own.", metavar="DATA")] = None,
    episodes: Annotated[
        PartName | None,
        typer.Option(help="Which episodes.", show_default="heldout of the run's own data, all of others"),
    ] = None,
    stride: Annotated[int, typer.Option(help="Frames between two that are measured.", min=1)] = 8,
    max_frames: Annotated[int, typer.Option(help="Measure on at most so many, drawn at random.", min=1)] = 1024,
    batch_size: Annotated[int, typer.Option(help="Frames that go through the model at once.", min=1)] = 32,
    head: Annotated[HeadName, typer.Option(help="Act by flow, by FAST tokens, or both.")] = HeadName.both,
    num_steps: Annotated[int, typer.Option(help="Euler steps of the flow.", min=1)] = 10,
    temperature: Annotated[float, typer.Option(help="Of FAST tokens; 0 takes the likeliest.", min=0)] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the frames, the noise and the tokens.", min=0)] = 0,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Also shuffle pictures, prompts and states, and say what each is worth.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of figures and results.", show_default="RUN/evaluation")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a trained policy's actions on episodes that it has not seen: both heads, beside three floors."""
    from fastki.data.extras import need

    terminal = Terminal(as_json=as_json, quiet=quiet)
    for library in ("flax", "optax", "orbax.checkpoint"):
        need(library, extra="train", what="a trained policy")
    from fastki.evaluation.ablation import ABLATIONS
    from fastki.evaluation.evaluate import EvalOptions
    from fastki.evaluation.evaluate import evaluate as measure
    from fastki.evaluation.open_loop import OpenLoopOptions
    from fastki.evaluation.policy import HEADS, Sampling, find_policy
    from fastki.evaluation.reopen import ReopenOptions, reopen, run_of
    from fastki.files import require_writable
    from fastki.report.eval_payload import NAME

    if run == _RUN and not run.exists():
        raise UsageError("no policy was trained here yet: run `fastki train`, or name a RUN")
    sampling = Sampling(num_steps, temperature, seed)
    asked = ReopenOptions(data, reading, None if episodes is None else episodes.value, sampling)
    heads = None if head == HeadName.both else tuple(name for name in HEADS if name == head.value)
    options = EvalOptions(
        OpenLoopOptions(stride, max_frames, batch_size, heads, ABLATIONS if ablate else (), seed), max_frames
    )
    folder = run_of(find_policy(run))
    place = out or (OUT if folder is None else folder) / "evaluation"
    require_writable(place / NAME)
    announce_compilation(terminal)
    reopened = reopen(run, asked)
    with terminal.progress() as progress:
        found = measure(reopened, options, progress=progress)
    _finish(terminal, reopened, found, shlex.join(command_words(context)), place)


def _finish(terminal: Terminal, run: Reopened, found: Evaluation, command: str, place: Path) -> None:
    """Write, draw, and show."""
    from rich.markup import escape

    from fastki.evaluation.ablation import ablation_words
    from fastki.report.drawn import write_drawn
    from fastki.report.eval_figures import STEMS, eval_figures
    from fastki.report.eval_payload import eval_payload, write_evaluation
    from fastki.report.eval_tables import dimensions_table, eval_facts, summary_table, verdicts

    measured = found.open_loop
    payload = eval_payload(run, found)
    paths = [
        *write_evaluation(payload, command, place),
        *write_drawn(eval_figures(measured), place, stems=STEMS),
    ]
    payload["files"] = [str(path) for path in paths]
    terminal.payload(payload)
    for note in found.notes:
        terminal.note(f"note: {note}")
    terminal.show(eval_facts(run, found), "", summary_table(measured), "", dimensions_table(measured), "")
    terminal.show(*(escape(line) for line in (*verdicts(measured), *ablation_words(measured.ablations))))
    terminal.files(paths)
    ablated = any(row.rise is not None or row.why_not for row in measured.ablations)
    target = str(run.run or run.checkpoint)
    terminal.next_command("fastki", *(["inspect", target] if ablated else ["eval", target, "--ablate"]))
