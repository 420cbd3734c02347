"""Datasets made of others: some of the episodes, or another rate. Axes: T frames, D dimensions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.dims import parse_dims
from fastki.data.episode import Dataset, Episode, FloatArray, FrameSource, held_bytes
from fastki.data.options import OpenOptions, Progress
from fastki.errors import DataError, UsageError

_SHOWN = 5


class Subset(Dataset):
    """The episodes ``indices`` of ``base``, numbered anew from 0; ``notes`` say why."""

    def __init__(self, base: Dataset, indices: Sequence[int], *, notes: Sequence[str] = ()) -> None:
        self._base, self._indices = base, list(indices)
        self.info = replace(
            base.info,
            lengths=base.info.lengths[self._indices],
            notes=(*base.info.notes, *notes),
            fingerprint=derived(base.info.fingerprint, "subset", self._indices),
        )

    def _read(self, index: int, *, state: bool) -> Episode:
        return replace(self._base.read(self._indices[index], state=state), index=index)


def without_bad(dataset: Dataset, *, progress: Progress | None = None) -> Dataset:
    """``dataset`` without the episodes that cannot be read, which its notes list; it reads each one once.

    Raises:
        DataError: no episode can be read.
    """
    good: list[int] = []
    bad: dict[int, str] = {}
    for index in range(len(dataset)):
        try:
            dataset.read(index)
            good.append(index)
        except DataError as error:
            bad[index] = str(error).removeprefix(f"{dataset.info.uri}: ")
        if progress is not None:
            progress(index + 1, len(dataset))
    if not bad:
        return dataset
    if not good:
        raise DataError(f"{dataset.info.uri}: none of its {len(bad)} episodes can be read; the first: {bad[0]}")
    notes = [f"--skip-bad left out {len(bad)} of {len(dataset)} episodes: {', '.join(map(str, bad))}"]
    notes += [f"episode {index} left out: {reason}" for index, reason in list(bad.items())[:_SHOWN]]
    if len(bad) > _SHOWN:
        notes.append(f"and {len(bad) - _SHOWN} more were left out")
    return Subset(dataset, good, notes=notes)


class Resampled(Dataset):
    """``base`` at ``fps`` frames per second.

    Between two recorded frames actions and state are interpolated linearly, ``hold`` dimensions and images
    keep the earlier frame's. Nothing lies beyond the last recorded frame.
    """

    def __init__(self, base: Dataset, fps: float, *, hold: Sequence[int], state_hold: Sequence[int]) -> None:
        recorded = base.info.fps
        if recorded is None:
            raise DataError(f"{base.info.uri}: its rate is unknown, so --fps cannot change it: leave --fps out")
        self._base, self._hold, self._state_hold = base, list(hold), list(state_hold)
        self._step = recorded / fps
        notes = list(base.info.notes)
        if base.info.action_kind == "difference":
            notes.append("actions are differences of one step: --fps interpolates, but does not rescale them")
        self.info = replace(
            base.info,
            fps=fps,
            lengths=np.array([self._length(int(length)) for length in base.info.lengths], dtype=np.int64),
            notes=tuple(notes),
            fingerprint=derived(base.info.fingerprint, "resampled", fps, self._hold, self._state_hold),
        )

    def _length(self, frames: int) -> int:
        # A grain of a frame above, so that the last frame is not lost to rounding.
        return int((frames - 1) / self._step + 1e-6) + 1 if frames else 0

    def _read(self, index: int, *, state: bool) -> Episode:
        episode = self._base.read(index, state=state)
        places = np.minimum(np.arange(self._length(len(episode))) * self._step, len(episode) - 1)
        earlier = np.floor(places + 1e-6).astype(np.int64)
        return replace(
            episode,
            actions=_interpolate(episode.actions, places, earlier, self._hold),
            state=None if episode.state is None else _interpolate(episode.state, places, earlier, self._state_hold),
            fps=self.info.fps,
            images={name: _Picked(frames, earlier) for name, frames in episode.images.items()},
        )


def resampled(dataset: Dataset, options: OpenOptions) -> Dataset:
    """``dataset`` at the rate that ``options`` ask for; the same where they ask for none, or for its own.

    Raises:
        DataError: the recorded rate is unknown.
        UsageError: ``hold`` names a dimension that is not there.
    """
    info = dataset.info
    if options.fps is None or options.fps == info.fps:
        return dataset
    if options.fps > 1000 * (info.fps or options.fps):
        raise UsageError(f"--fps {options.fps:g} is over a thousand times the recorded {info.fps:g}: use a smaller one")
    if options.hold is None:
        return Resampled(dataset, options.fps, hold=info.grippers, state_hold=info.state_grippers)
    hold = parse_dims(options.hold, info.action_dim, info.action_names)
    state_hold = hold if info.state_dim == info.action_dim else info.state_grippers
    return Resampled(dataset, options.fps, hold=hold, state_hold=state_hold)


def derived(fingerprint: str, *facts: object) -> str:
    """The fingerprint of what ``facts`` make of data with ``fingerprint``."""
    return hashlib.sha256(repr((fingerprint, *facts)).encode()).hexdigest()[:32]


def _interpolate(
    values: FloatArray, places: NDArray[np.float64], earlier: NDArray[np.int64], hold: Sequence[int]
) -> NDArray[Any]:
    """``values [T, D]`` at ``places`` between frames, dimensions ``hold`` at the frame ``earlier``."""
    later = np.minimum(earlier + 1, len(values) - 1)
    share = np.clip(places - earlier, 0.0, 1.0)[:, None]
    share[share < 1e-6] = 0.0  # What falls onto a recorded frame is that frame, to the bit.
    low = values[earlier].astype(np.float64)
    result: NDArray[Any] = (low + share * (values[later] - low)).astype(values.dtype)
    columns = list(hold)
    result[:, columns] = values[earlier][:, columns]
    return result


class _Picked:
    """Frames of another source, at ``frames [T]``."""

    def __init__(self, source: FrameSource, frames: NDArray[Any]) -> None:
        self._source, self._frames = source, frames
        self.held_bytes = held_bytes(source)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, frame: int, /) -> NDArray[np.uint8]:
        return self._source[int(self._frames[frame])]
