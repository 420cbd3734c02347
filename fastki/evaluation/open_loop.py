"""A policy on held-out episodes, open loop: what it would do at each frame against what was done, and three floors.

Axis letters: N frames, B batch, H horizon, A action dimensions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastki.data import ChunkSpec, Dataset
from fastki.errors import UsageError
from fastki.evaluation.frames import choose_frames, recorded
from fastki.evaluation.policy import Frame, Head, Policy
from fastki.tokenizer.fast import FastTokenizer

Progress = Callable[[str, int, int], None]
Ablation = Literal["none", "images", "prompt", "state"]
ABLATIONS: tuple[Ablation, ...] = ("images", "prompt", "state")
FLOORS = ("mean action", "hold last action", "tokenizer")


@dataclass(frozen=True)
class OpenLoopOptions:
    """How a policy is measured.

    Attributes:
        stride: frames between two measured ones.
        most: frames at most, drawn at random; None: all.
        batch_size: frames that go through the model at once.
        heads: to measure; None: all that the policy was trained for.
        ablate: also measure with pictures, prompts or states dealt out anew among the frames of a batch.
        seed: of the choice and the dealing.

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
        for name in ("stride", "most", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} {value} is out of range: 1 or more is needed")


@dataclass(frozen=True, eq=False)
class ErrorRow:
    """Errors of one way to choose actions, over N frames.

    Attributes:
        name: of the head or floor, such as ``flow`` or ``flow, images shuffled``.
        mae: mean absolute error, normalised units, over all values.
        rmse: root of the mean square error, likewise.
        mae_native: float64 ``[A]``, mean absolute error by dimension, native units.
        by_step: float64 ``[H]``, mean absolute error by step of the chunk, normalised.
        of_mean: ``mae`` over that of the mean action; 1 knows nothing.
        tokens: FAST tokens a chunk, on average; None of others.
        malformed: share of token sequences that had to be repaired; None of others.
        latency: seconds a frame, in batches, after compilation; None of floors.
    """

    name: str
    mae: float
    rmse: float
    mae_native: NDArray[np.float64]
    by_step: NDArray[np.float64]
    of_mean: float
    tokens: float | None = None
    malformed: float | None = None
    latency: float | None = None


@dataclass(frozen=True, eq=False)
class Trace:
    """One episode for a picture: what was done, and what each head would do, chunk after chunk.

    Attributes:
        episode: its index.
        true: float64 ``[T, A]``, native units.
        predicted: head → float64 ``[T, A]``, NaN where none is.
    """

    episode: int
    true: NDArray[np.float64]
    predicted: dict[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class OpenLoop:
    """What was measured.

    Attributes:
        rows: heads, then ablations, then floors.
        frames, episodes: measured on.
        names, units: of the action's dimensions.
        trace: of the first episode.
    """

    rows: tuple[ErrorRow, ...]
    frames: int
    episodes: int
    names: tuple[str, ...]
    units: tuple[str | None, ...]
    trace: Trace

    def row(self, name: str) -> ErrorRow:
        """By its name."""
        return next(row for row in self.rows if row.name == name)


@dataclass
class _Sums:
    """Errors of one way to choose actions, as they come."""

    errors: list[NDArray[np.float64]] = field(default_factory=list)
    native: list[NDArray[np.float64]] = field(default_factory=list)
    tokens: list[NDArray[np.int64]] = field(default_factory=list)
    malformed: int = 0
    seconds: list[float] = field(default_factory=list)
    frames: int = 0


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
        DataError: an episode can't be read.
    """
    report: Progress = progress or (lambda *_: None)
    spec = _spec(policy)
    chosen = choose_frames(dataset, episodes, spec, stride=options.stride, most=options.most, seed=options.seed)
    cameras = {slot.name: slot.camera for slot in policy.card.slots}
    heads = policy.heads if options.heads is None else options.heads
    sums: dict[str, _Sums] = {}
    total = sum(map(len, chosen.values()))
    done = 0
    pending: list[tuple[Frame, NDArray[np.float64], NDArray[np.float64]]] = []
    for index, starts in chosen.items():
        found = recorded(dataset, index, spec, cameras, starts=starts)
        pending += zip(found.frames, found.chunks.actions, found.chunks.absolute(), strict=True)
        while len(pending) >= options.batch_size:
            _measure(policy, pending[: options.batch_size], heads, options, sums)
            del pending[: options.batch_size]
            done += options.batch_size
            report("open loop", done, total)
    if pending:
        _measure(policy, pending, heads, options, sums)
        report("open loop", total, total)
    first = next(iter(chosen))
    kept = spec.kept(dataset.info.action_dim)
    trace = _trace(policy, dataset, first, heads, cameras)
    return OpenLoop(
        _rows(policy, sums),
        total,
        len(chosen),
        tuple(dataset.info.action_names[dim] for dim in kept),
        tuple(dataset.info.action_units[dim] for dim in kept),
        trace,
    )


def _spec(policy: Policy) -> ChunkSpec:
    """Whole chunks from every frame, cut as those that the policy was trained on."""
    tokenizer = policy.assets.tokenizer
    source = tokenizer.source if isinstance(tokenizer, FastTokenizer) else None
    spec = ChunkSpec(horizon=policy.horizon) if source is None else source.spec
    return dataclasses.replace(spec, horizon=policy.horizon, stride=1, pad_end="none", idle=None)


def _measure(
    policy: Policy,
    batch: Sequence[tuple[Frame, NDArray[np.float64], NDArray[np.float64]]],
    heads: Sequence[Head],
    options: OpenLoopOptions,
    sums: dict[str, _Sums],
) -> None:
    """One batch; a last one that is not full is filled up with its first frame, so that nothing is compiled anew."""
    frames = [frame for frame, _, _ in batch]
    relative = np.stack([actions for _, actions, _ in batch])
    absolute = np.stack([actions for _, _, actions in batch])
    count = len(frames)
    filled = frames + [frames[0]] * (options.batch_size - count)
    normalizer = policy.assets.tokenizer.normalizer
    assert normalizer is not None, "assets have one"
    true = normalizer.normalize(relative, clip=False)
    for head in heads:
        for ablation in ("none", *options.ablate):
            name = head if ablation == "none" else f"{head}, {ablation} shuffled"
            acted = policy.act(_dealt(filled, count, ablation, options.seed), head)
            entry = sums.setdefault(name, _Sums())
            entry.errors.append(acted.normalized[:count] - true)
            entry.native.append(np.abs(acted.actions[:count] - absolute))
            entry.seconds.append(acted.seconds / options.batch_size)
            entry.malformed += min(acted.malformed, count)
            if acted.tokens is not None:
                entry.tokens.append(acted.tokens[:count])
    for name, guess in _floors(policy, frames, true).items():
        entry = sums.setdefault(name, _Sums())
        entry.errors.append(guess - true)
        entry.native.append(np.abs((guess - true) * normalizer.scale))


def _dealt(frames: Sequence[Frame], count: int, what: str, seed: int) -> list[Frame]:
    """The frames with one thing dealt out anew among the first ``count``."""
    if what == "none":
        return list(frames)
    order = np.random.default_rng([seed, count]).permutation(count)
    name = {"images": "images", "prompt": "prompt", "state": "state"}[what]
    return [
        dataclasses.replace(frame, **{name: getattr(frames[order[place]], name)}) if place < count else frame
        for place, frame in enumerate(frames)
    ]


def _floors(policy: Policy, frames: Sequence[Frame], true: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """What needs no policy: the training data's mean action, the action before held, the tokenizer's own loss."""
    tokenizer = policy.assets.tokenizer
    normalizer = tokenizer.normalizer
    assert normalizer is not None, "assets have one"
    before = np.stack([np.asarray(frame.previous, np.float64) for frame in frames]) - policy.reference(frames)
    previous = normalizer.normalize(before, clip=False)
    held = np.broadcast_to(previous[:, None], true.shape)
    tokens = tokenizer.encode_normalized(true, previous=previous)
    decoded = tokenizer.decode_normalized_report(
        tokens, horizon=true.shape[1], action_dim=true.shape[2], previous=previous
    )
    mean = np.broadcast_to(normalizer.normalize(normalizer.stats.mean), true.shape)
    guesses = (mean, held, decoded.actions)
    return dict(zip(FLOORS, guesses, strict=True))


def _rows(policy: Policy, sums: dict[str, _Sums]) -> tuple[ErrorRow, ...]:
    floor = float(np.abs(np.concatenate(sums[FLOORS[0]].errors)).mean())
    ordered = sorted(sums, key=lambda name: (name in FLOORS, "shuffled" in name))
    return tuple(_row(name, sums[name], floor) for name in ordered)


def _row(name: str, found: _Sums, floor: float) -> ErrorRow:
    errors, native = np.concatenate(found.errors), np.concatenate(found.native)
    absolute = np.abs(errors)
    mae = float(absolute.mean())
    tokens = np.concatenate(found.tokens) if found.tokens else None
    # The first batch was compiled for.
    latency = float(np.median(found.seconds[1:] or found.seconds)) if found.seconds else None
    return ErrorRow(
        name,
        mae,
        float(np.sqrt(np.square(errors).mean())),
        native.mean(axis=(0, 1)),
        absolute.mean(axis=(0, 2)),
        mae / floor if floor else float("nan"),
        None if tokens is None else float(tokens.mean()),
        None if tokens is None else found.malformed / len(errors),
        latency,
    )


def _trace(
    policy: Policy, dataset: Dataset, index: int, heads: Sequence[Head], cameras: dict[str, str | None]
) -> Trace:
    """An episode from its start: a chunk is carried out whole, then the next is asked for."""
    spec = dataclasses.replace(_spec(policy), stride=policy.horizon)
    found = recorded(dataset, index, spec, cameras, starts=None)
    kept = list(spec.kept(dataset.info.action_dim))
    true = found.episode.actions[:, kept].astype(np.float64)
    predicted: dict[str, NDArray[np.float64]] = {}
    for head in heads:
        path = np.full_like(true, np.nan)
        actions = policy.act(found.frames, head).actions
        for start, chunk in zip(found.chunks.start.tolist(), actions, strict=True):
            path[start : start + len(chunk)] = chunk[: len(true) - start]
        predicted[head] = path
    return Trace(index, true, predicted)
