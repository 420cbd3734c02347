"""Everything that ``fastki eval`` measures of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastki.evaluation.heldout import HeldOut
from fastki.evaluation.latency import Latency, measure_latency
from fastki.evaluation.open_loop import OpenLoop, OpenLoopOptions, Progress, measure_open_loop
from fastki.evaluation.reopen import Reopened


@dataclass(frozen=True)
class EvalOptions:
    """What is measured.

    Attributes:
        open_loop: how actions are.
        windows: that the losses are measured on, at most.
        latency: also measure how long a frame takes.
    """

    open_loop: OpenLoopOptions = field(default_factory=OpenLoopOptions)
    windows: int = 1024
    latency: bool = True


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured.

    Attributes:
        open_loop: errors of actions.
        losses: as :class:`fastki.evaluation.heldout.HeldOut` names them.
        windows: that they are the means of.
        latency: of each head; empty where it was not measured.
        notes: what a user should know, a sentence each.
    """

    open_loop: OpenLoop
    losses: dict[str, float]
    windows: int
    latency: tuple[Latency, ...]
    notes: tuple[str, ...]


def evaluate(run: Reopened, options: EvalOptions, *, progress: Progress | None = None) -> Evaluation:
    """Errors of actions, losses, and latency of a run.

    Raises:
        UsageError: a head that the policy was not trained for.
        DataError: an episode can't be read, or none is long enough.
    """
    report: Progress = progress or (lambda *_: None)
    policy, seed = run.policy, options.open_loop.seed
    measured = measure_open_loop(policy, run.setup.dataset, run.episodes, options.open_loop, progress=report)
    heldout = HeldOut(run.setup, policy.definition, examples=options.windows, seed=seed, episodes=run.episodes)
    losses = heldout(policy.params, progress=lambda done, total: report("losses", done, total))
    notes = [*run.notes, *measured.notes]
    if heldout.lost:
        room = policy.card.model.max_token_len
        notes.append(
            f"the text of {heldout.lost} of {len(heldout)} windows is longer than the policy's {room} tokens and was "
            "cut off: the losses are of what is left"
        )
    for row in measured.heads:
        if row.malformed:
            notes.append(f"{row.malformed:.2%} of the chunks that the {row.name} head wrote were malformed and mended")
    heads = policy.heads if options.open_loop.heads is None else options.open_loop.heads
    latency = []
    for number, head in enumerate(heads if options.latency else ()):
        report("latency", number, len(heads))
        latency.append(measure_latency(policy, measured.examples, head))
    return Evaluation(measured, losses, len(heldout), tuple(latency), tuple(notes))
