"""A policy on recorded episodes, open loop: what it would do at each frame against what was done, and three floors.

Axis letters: N frames, B batch, H horizon, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fastki.data import Dataset
from fastki.errors import UsageError
from fastki.evaluation.ablation import Ablation, AblationRow, ablation_row, blind_to, dealt
from fastki.evaluation.acting import Frame, Head
from fastki.evaluation.errors import ErrorRow, FrameErrors, Measured
from fastki.evaluation.fitting import fit_of
from fastki.evaluation.floors import FLOORS, MEAN, floors
from fastki.evaluation.frames import Recorded, choose_frames, read_batches
from fastki.evaluation.policy import Policy
from fastki.evaluation.trace import Trace, act_padded, trace_episode

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class OpenLoopOptions:
    """How a policy is measured.

    Attributes:
        stride: frames between two measured ones.
        most: frames at most, drawn at random; None: all.
        batch_size: frames that go through the model at once.
        heads: to measure; None: all that the policy was trained for.
        ablate: also measure with pictures, prompts or states dealt out anew among the frames of a batch.
        seed: of the choice, the dealing and the intervals.

    Raises:
        UsageError: a number out of range.
    """

    stride: int = 8
    most: int | None = 1024
    batch_size: int = 32
    heads: tuple[Head, ...] | None = None
    ablate: tuple[Ablation, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        named = {"--stride": self.stride, "--max-frames": self.most, "--batch-size": self.batch_size}
        for name, value in named.items():
            if value is not None and value < 1:
                raise UsageError(f"{name} {value} is out of range: 1 or more is needed")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed} is negative: 0 or more is needed")


@dataclass(frozen=True, eq=False)
class OpenLoop:
    """What was measured.

    Attributes:
        rows: heads, then floors.
        ablations: of each thing and head.
        frames, episodes: measured on.
        names, units: of the action's dimensions.
        trace: of an episode with a middling error.
        examples: a few of the frames.
        notes: what a user should know, a sentence each.
    """

    rows: tuple[ErrorRow, ...]
    ablations: tuple[AblationRow, ...]
    frames: int
    episodes: int
    names: tuple[str, ...]
    units: tuple[str | None, ...]
    trace: Trace
    examples: tuple[Frame, ...]
    notes: tuple[str, ...] = ()

    def row(self, name: str) -> ErrorRow:
        """By its name."""
        return next(row for row in self.rows if row.name == name)

    @property
    def heads(self) -> tuple[ErrorRow, ...]:
        """The rows that are no floors."""
        return tuple(row for row in self.rows if row.name not in FLOORS)


def measure_open_loop(
    policy: Policy,
    dataset: Dataset,
    episodes: NDArray[np.int64],
    options: OpenLoopOptions,
    *,
    progress: Progress | None = None,
) -> OpenLoop:
    """Errors of each head, of ablations, and of three floors, on the same frames.

    Args:
        policy: loaded.
        dataset: with the robot's pictures.
        episodes: int64, those to measure on: held-out ones.
        options: how.
        progress: told of stages.

    Raises:
        UsageError: a head that the policy was not trained for, or data of another shape.
        DataError: an episode can't be read, or none is long enough.
    """
    report: Progress = progress or (lambda *_: None)
    heads = _heads(policy, options)
    fit = fit_of(policy, dataset)
    chosen = choose_frames(dataset, episodes, fit.spec, stride=options.stride, most=options.most, seed=options.seed)
    total = sum(map(len, chosen.values()))
    tally, done = _Tally(policy, heads, options), 0
    for batch in read_batches(dataset, chosen, fit, options.batch_size):
        tally.add(batch)
        done += len(batch)
        report("open loop", done, total)
    middling = tally.middling()
    trace = trace_episode(policy, dataset, middling, fit, heads, batch_size=options.batch_size)
    return OpenLoop(
        tally.rows(),
        tally.ablations(),
        total,
        len(chosen),
        fit.names,
        fit.units,
        trace,
        tally.examples,
        fit.notes,
    )


def _heads(policy: Policy, options: OpenLoopOptions) -> tuple[Head, ...]:
    heads = policy.heads if options.heads is None else options.heads
    for head in heads:
        if head not in policy.heads:
            raise UsageError(
                f"this policy was trained with --mode {policy.card.mode}: it has no {head} head, give "
                f"--head {policy.heads[0]}"
            )
    return heads


@dataclass
class _Tally:
    """Errors by name, as batches come.

    Attributes:
        found: head or floor → the errors of each batch.
        shuffled: head and ablation → the mean absolute error of each frame, NaN where nothing could be dealt.
        episodes: of the frames.
        examples: the first frames.
    """

    policy: Policy
    heads: Sequence[Head]
    options: OpenLoopOptions
    found: dict[str, list[FrameErrors]] = field(default_factory=dict)
    shuffled: dict[tuple[Head, Ablation], list[NDArray[np.float64]]] = field(default_factory=dict)
    episodes: list[NDArray[np.int64]] = field(default_factory=list)
    examples: tuple[Frame, ...] = ()

    def add(self, batch: Recorded) -> None:
        """Measure on a batch."""
        tokenizer = self.policy.assets.tokenizer
        assert tokenizer.normalizer is not None, "a policy's tokenizer has one"
        true = tokenizer.normalizer.normalize(batch.actions, clip=False)
        self.examples = self.examples or batch.frames
        for head in self.heads:
            self._note(head, self._errors(batch.frames, head, true))
        for head, what in self._ablations():
            self.shuffled.setdefault((head, what), []).append(self._without(batch, head, what, true))
        for name, guess in floors(tokenizer, batch).items():
            self._note(name, FrameErrors.of(guess - true))
        self.episodes.append(batch.episode)

    def rows(self) -> tuple[ErrorRow, ...]:
        """Heads, then floors."""
        whole = {name: FrameErrors.concatenate(parts) for name, parts in self.found.items()}
        normalizer = self.policy.assets.tokenizer.normalizer
        assert normalizer is not None, "a policy's tokenizer has one"
        floor = float(whole[MEAN].mae.mean())
        measured = Measured(np.concatenate(self.episodes), normalizer.scale, floor, self.options.seed)
        return tuple(measured.row(name, whole[name]) for name in (*self.heads, *FLOORS))

    def ablations(self) -> tuple[AblationRow, ...]:
        """Of each thing and head."""
        rows = []
        for head in self.heads:
            for what in self.options.ablate:
                why_not = blind_to(self.policy, head, what)
                if why_not is not None:
                    rows.append(AblationRow(head, what, why_not=why_not))
                    continue
                errors = self._mae(head), np.concatenate(self.shuffled[head, what])
                rows.append(ablation_row(head, what, errors, np.concatenate(self.episodes), self.options.seed))
        return tuple(rows)

    def middling(self) -> int:
        """The episode of median error, by the first head."""
        names, place = np.unique(np.concatenate(self.episodes), return_inverse=True)
        place = place.reshape(-1)
        means = np.bincount(place, weights=self._mae(self.heads[0])) / np.bincount(place)
        return int(names[np.argsort(means, kind="stable")[(len(names) - 1) // 2]])

    def _mae(self, head: Head) -> NDArray[np.float64]:
        return FrameErrors.concatenate(self.found[head]).mae

    def _ablations(self) -> list[tuple[Head, Ablation]]:
        pairs = [(head, what) for head in self.heads for what in self.options.ablate]
        return [(head, what) for head, what in pairs if blind_to(self.policy, head, what) is None]

    def _errors(self, frames: Sequence[Frame], head: Head, true: NDArray[np.float64]) -> FrameErrors:
        """Each batch has noise of its own, and an ablation the same as what it is compared with."""
        acted = act_padded(self.policy, frames, head, self.options.batch_size, draw=len(self.episodes))
        return FrameErrors.of(acted.normalized[: len(frames)] - true, acted)

    def _without(self, batch: Recorded, head: Head, what: Ablation, true: NDArray[np.float64]) -> NDArray[np.float64]:
        rng = np.random.default_rng([self.options.seed, len(self.episodes)])  # Both heads are dealt the same.
        frames = dealt(batch, what, rng)
        return np.full(len(batch), np.nan) if frames is None else self._errors(frames, head, true).mae

    def _note(self, name: str, errors: FrameErrors) -> None:
        self.found.setdefault(name, []).append(errors)
