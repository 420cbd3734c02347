"""Chunks: windows of consecutive actions out of one episode.

Axes: T frames, A chosen action dims, S state dims, N chunks, H horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastki.data.episode import Episode
from fastki.data.idle import IdleFilter
from fastki.errors import DataError, UsageError

PadEnd = Literal["none", "repeat", "zero"]


@dataclass(frozen=True)
class ChunkSpec:
    """How chunks are cut.

    Attributes:
        horizon: H, actions in a chunk, at least 1.
        stride: frames from the start of a chunk to the next one's, at least 1.
        dims: the action dimensions to keep, in this order; None keeps all.
        delta: those (numbered as in the dataset, before ``dims``) that become differences.
        delta_from: what is subtracted there: "state" at the chunk's first frame (state dimension i from
            action dimension i), or "previous", the action before the chunk (at the start of an episode its
            first action).
        pad_end: how chunks go on beyond the last frame: "none" (there are no such chunks), "repeat" (the last
            action, as openpi trains) or "zero". Padding is done before differences are taken.
        idle: leave out chunks that start where hardly anything moves; None keeps them.
        idle_ignores: dimensions (numbered as in the dataset) that this does not look at: the grippers.

    Raises:
        UsageError: a value out of range, or a delta dimension outside ``dims``.
    """

    horizon: int = 16
    stride: int = 1
    dims: tuple[int, ...] | None = None
    delta: tuple[int, ...] = ()
    delta_from: Literal["state", "previous"] = "state"
    pad_end: PadEnd = "none"
    idle: IdleFilter | None = None
    idle_ignores: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for option, value in (("--horizon", self.horizon), ("--stride", self.stride)):
            if value < 1:
                raise UsageError(f"{option} {value} is out of range: 1 or more is needed")
        for option in ("dims", "delta"):
            value = getattr(self, option)
            if value is None:
                continue
            indices = tuple(int(dim) for dim in value)
            object.__setattr__(self, option, indices)
            if len(set(indices)) < len(indices) or min(indices, default=0) < 0:
                raise UsageError(f"--{option} {indices}: each dimension once, from 0")
        if self.dims == ():
            raise UsageError("--dims names no dimension: keep at least one")
        if self.delta_from not in ("state", "previous"):
            raise UsageError(f"--delta-from {self.delta_from!r} is unknown: use state or previous")
        if self.pad_end not in ("none", "repeat", "zero"):
            raise UsageError(f"--pad-end {self.pad_end!r} is unknown: use repeat, zero or none")
        stray = set(self.delta) - set(self.delta if self.dims is None else self.dims)
        if stray:
            raise UsageError(f"--delta names dimensions {sorted(stray)} that --dims leaves out")

    @property
    def needs_state(self) -> bool:
        return bool(self.delta) and self.delta_from == "state"

    def kept(self, action_dim: int) -> tuple[int, ...]:
        """The dataset's action dimensions that chunks keep, in order; UsageError if one is absent."""
        dims = tuple(range(action_dim)) if self.dims is None else self.dims
        for dim in (*dims, *self.delta):
            if dim >= action_dim:
                raise UsageError(f"no action dimension {dim}: the data have 0 to {action_dim - 1}")
        return dims

    def count(self, frames: int) -> int:
        """How many chunks an episode of ``frames`` frames gives, idle ones included.

        >>> ChunkSpec(horizon=16, stride=5).count(30), ChunkSpec(horizon=16, stride=5, pad_end="repeat").count(30)
        (3, 6)
        """
        shortest = self.horizon if self.pad_end == "none" else 1
        return max(0, (frames - shortest) // self.stride + 1)

    def starts(self, episode: Episode) -> NDArray[np.int64]:
        """``[N]``, the frames at which the chunks of ``episode`` begin."""
        starts = np.arange(self.count(len(episode)), dtype=np.int64) * self.stride
        if self.idle is None:
            return starts
        looked_at = [dim for dim in self.kept(episode.actions.shape[1]) if dim not in self.idle_ignores]
        return starts[self.idle.moving(episode.actions[:, looked_at])[starts]]


@dataclass(frozen=True, eq=False)
class Chunks:
    """Chunks of actions in native units.

    Attributes:
        actions: ``[N, H, A]`` float64; in delta dimensions the differences from ``reference``.
        reference: ``[N, A]`` float64, what was subtracted; 0 in the other dimensions.
        previous: ``[N, A]`` float64, the action just before the chunk (at the start of an episode its first
            action), less ``reference``.
        episode: ``[N]`` int32, the episode's index in the dataset.
        start: ``[N]`` int32, the chunk's first frame in its episode.
        spec: how they were cut.
    """

    actions: NDArray[np.float64]
    reference: NDArray[np.float64]
    previous: NDArray[np.float64]
    episode: NDArray[np.int32]
    start: NDArray[np.int32]
    spec: ChunkSpec

    def __len__(self) -> int:
        """N."""
        return len(self.actions)

    def absolute(self) -> NDArray[np.float64]:
        """The recorded actions ``[N, H, A]``, differences undone."""
        return self.actions + self.reference[:, None, :]

    def take(self, indices: NDArray[Any]) -> Chunks:
        """The chunks at ``indices`` (integers or a mask), in that order."""
        return Chunks(
            self.actions[indices],
            self.reference[indices],
            self.previous[indices],
            self.episode[indices],
            self.start[indices],
            self.spec,
        )

    @staticmethod
    def concatenate(parts: Sequence[Chunks]) -> Chunks:
        """All chunks of ``parts``, one part or more, cut by the same spec."""
        if not parts or any(part.spec != parts[0].spec for part in parts):
            raise UsageError("chunks can be joined only if there are some, all cut by the same spec")
        return Chunks(
            np.concatenate([part.actions for part in parts]),
            np.concatenate([part.reference for part in parts]),
            np.concatenate([part.previous for part in parts]),
            np.concatenate([part.episode for part in parts]),
            np.concatenate([part.start for part in parts]),
            parts[0].spec,
        )


def cut_chunks(episode: Episode, spec: ChunkSpec, *, starts: NDArray[np.int64] | None = None) -> Chunks:
    """The chunks of ``episode`` that begin at frames ``starts`` ``[N]``, by default all that ``spec`` gives.

    What lies beyond the last frame is padded as ``spec`` says, and repeated where it says nothing.

    Raises:
        UsageError: the spec names dimensions that the actions lack.
        DataError: differences from a state that is absent or too narrow.
    """
    dims = list(spec.kept(episode.actions.shape[1]))
    if starts is None:
        starts = spec.starts(episode)
    kept = episode.actions[:, dims].astype(np.float64)
    before = kept[np.maximum(starts - 1, 0)] if len(starts) else np.empty((0, len(dims)))
    reference = np.zeros((len(starts), len(dims)))
    frames = starts[:, None] + np.arange(spec.horizon)
    windows = kept[np.minimum(frames, len(kept) - 1)]
    if spec.pad_end == "zero":
        windows[frames >= len(kept)] = 0.0
    if spec.delta:
        columns = [dims.index(dim) for dim in spec.delta]
        source = _states(episode, spec)[starts] if spec.needs_state else before[:, columns]
        reference[:, columns] = source
        windows -= reference[:, None, :]
    return Chunks(
        actions=windows,
        reference=reference,
        previous=before - reference,
        episode=np.full(len(starts), episode.index, dtype=np.int32),
        start=starts.astype(np.int32),
        spec=spec,
    )


def _states(episode: Episode, spec: ChunkSpec) -> NDArray[np.float64]:
    """``[T, len(spec.delta)]``, the state in the delta dimensions."""
    width = 0 if episode.state is None else episode.state.shape[1]
    if episode.state is None or width <= max(spec.delta):
        problem = f"the state has only {width} dimensions" if width else "the dataset has no state"
        raise DataError(
            f"--delta {','.join(map(str, spec.delta))} needs the state in the same dimensions, "
            f"but {problem}: use --delta-from previous"
        )
    return episode.state[:, list(spec.delta)].astype(np.float64)
