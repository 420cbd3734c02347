"""``fastki eval``."""

from __future__ import annotations

import enum
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastki.cli.eval_sim import episode_count, evaluate_in_simulator
from fastki.cli.groups import reads_data
from fastki.cli.options import OUT, Json, Quiet
from fastki.cli.terminal import Terminal, announce_compilation
from fastki.cli.words import command_words
from fastki.data.options import OpenOptions
from fastki.errors import UsageError

if TYPE_CHECKING:
    from fastki.evaluation.evaluate import EvalOptions, Evaluation
    from fastki.evaluation.reopen import Part, Reopened, ReopenOptions

_RUN = OUT / "train"  # Where `fastki train` leaves its run.


class HeadName(enum.StrEnum):
    """Which of the two ways to act."""

    flow = "flow"
    fast = "fast"
    both = "both"


def _acting(help_text: str, **settings: Any) -> Any:
    return typer.Option(help=help_text, rich_help_panel="In a simulator", **settings)


@reads_data
def evaluate(
    context: typer.Context,
    reading: OpenOptions,
    run: Annotated[Path, typer.Argument(help="Folder of a run, or of one of its checkpoints.", metavar="RUN")] = _RUN,
    data: Annotated[str | None, typer.Argument(help="Dataset; by default the run's own.", metavar="DATA")] = None,
    episodes: Annotated[
        str | None,
        typer.Option(
            help="Which episodes: heldout, train or all. With --env: how many.",
            show_default="heldout of the run's own data, all of others; 20",
        ),
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
    env: Annotated[
        str | None, _acting("Act in a simulator, as the run's data were recorded: metaworld:reach-v3.")
    ] = None,
    replan: Annotated[
        int | None, _acting("Actions carried out of a chunk before the next.", min=1, show_default="half of it")
    ] = None,
    floor: Annotated[
        int | None, _acting("Episodes of random actions and of blind replay.", min=0, show_default="as --episodes")
    ] = None,
    time_limit: Annotated[
        int | None, _acting("Frames an episode.", min=1, show_default="twice the longest that was recorded")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of figures and results.", show_default="RUN/evaluation")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a trained policy on episodes that it has not seen: its actions, or with --env its success."""
    from fastki.data.extras import need

    terminal = Terminal(as_json=as_json, quiet=quiet)
    for library in ("flax", "optax", "orbax.checkpoint"):
        need(library, extra="train", what="a trained policy")
    from fastki.evaluation.ablation import ABLATIONS
    from fastki.evaluation.evaluate import EvalOptions
    from fastki.evaluation.open_loop import OpenLoopOptions
    from fastki.evaluation.policy import HEADS, Sampling
    from fastki.evaluation.reopen import ReopenOptions
    from fastki.sim.closed_loop import LoopOptions
    from fastki.sim.evaluate import find_place

    if run == _RUN and not run.exists():
        raise UsageError("no policy was trained here yet: run `fastki train`, or name a RUN")
    sampling, command = Sampling(num_steps, temperature, seed), shlex.join(command_words(context))
    heads = None if head == HeadName.both else tuple(name for name in HEADS if name == head.value)
    if env is not None:
        if ablate:
            raise UsageError("--ablate measures actions that were recorded: leave out --env, or --ablate")
        loop = LoopOptions(episode_count(episodes), floor, replan, time_limit, seed)
        place = find_place(run, env, data)
        evaluate_in_simulator(terminal, place, heads, sampling, loop, out=out, command=command)
        return
    if (replan, floor, time_limit) != (None, None, None):
        raise UsageError("--replan, --floor and --time-limit are of a simulator: give --env metaworld:TASK too")
    options = EvalOptions(
        OpenLoopOptions(stride, max_frames, batch_size, heads, ABLATIONS if ablate else (), seed), max_frames
    )
    _open_loop(terminal, run, ReopenOptions(data, reading, _part(episodes), sampling), options, out, command)


def _part(said: str | None) -> Part | None:
    from fastki.evaluation.reopen import PARTS

    found = next((part for part in PARTS if part == said), None)
    if said is not None and found is None:
        raise UsageError(f"--episodes {said!r} is unknown: use {', '.join(PARTS)}; a number with --env only")
    return found


def _open_loop(
    terminal: Terminal, run: Path, asked: ReopenOptions, options: EvalOptions, out: Path | None, command: str
) -> None:
    from fastki.evaluation.evaluate import evaluate as measure
    from fastki.evaluation.policy import find_policy
    from fastki.evaluation.reopen import reopen, run_of
    from fastki.files import require_writable
    from fastki.report.eval_payload import NAME

    folder = run_of(find_policy(run))
    place = out or (OUT if folder is None else folder) / "evaluation"
    require_writable(place / NAME)
    announce_compilation(terminal)
    reopened = reopen(run, asked)
    with terminal.progress() as progress:
        found = measure(reopened, options, progress=progress)
    _finish(terminal, reopened, found, command, place)


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
