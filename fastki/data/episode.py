"""What travels out of a reader: episodes, and what is known of their dataset.

Axes: T frames, A action dims, S state dims, E episodes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from fastki.data.camera_slots import chosen_slots
from fastki.data.checks import check_finite, read_only
from fastki.data.options import OpenOptions
from fastki.data.paths import reaching
from fastki.data.robots import ROBOTS, SLOTS, Kind
from fastki.data.select import Key
from fastki.errors import DataError

FloatArray = NDArray[np.float32] | NDArray[np.float64]


class FrameSource(Protocol):
    """The frames of one camera in one episode, decoded when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, frame: int, /) -> NDArray[np.uint8]:
        """Frame ``frame`` as RGB uint8 ``[h, w, 3]``, 0 to 255."""
        ...


def held_bytes(frames: FrameSource) -> int:
    """Memory that ``frames`` hold on to for as long as they are kept: 0 where each is read anew."""
    return int(getattr(frames, "held_bytes", 0))


@dataclass(frozen=True, eq=False)
class Episode:
    """One recorded demonstration; arrays are read-only and finite.

    Attributes:
        index: position in its dataset, from 0.
        actions: ``[T, A]`` float32 or float64, native units.
        state: ``[T, S]`` float32 or float64, native units; None where there is none or it was not asked for.
        fps: frames per second, None where unknown.
        prompt: the instruction, "" where there is none.
        images: camera name → frames (uint8 ``[h, w, 3]``), empty where images cannot be read.

    Raises:
        DataError: arrays of the wrong rank, or a state of another length than the actions.
    """

    index: int
    actions: FloatArray
    state: FloatArray | None = None
    fps: float | None = None
    prompt: str = ""
    images: Mapping[str, FrameSource] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.actions.ndim != 2:
            raise DataError(f"episode {self.index}: actions have shape {self.actions.shape}, not [T, A]")
        if self.state is not None and (self.state.ndim != 2 or len(self.state) != len(self.actions)):
            raise DataError(
                f"episode {self.index}: the state has shape {self.state.shape}, "
                f"but the actions have {len(self.actions)} frames"
            )
        object.__setattr__(self, "actions", read_only(self.actions))
        if self.state is not None:
            object.__setattr__(self, "state", read_only(self.state))

    def __len__(self) -> int:
        """T, the number of frames."""
        return len(self.actions)


@dataclass(frozen=True, eq=False, kw_only=True)
class DatasetInfo:
    """What is known of a dataset before any episode is read.

    Attributes:
        uri: as given to ``open_dataset``.
        format: such as "LeRobot v2.1".
        robot: the robot's name, None where unknown.
        fps: frames per second, None where unknown.
        action_key, state_key: where they were found; several keys joined by commas; no state: None.
        action_names: A names, made up as ``action[0]`` … where the dataset has none.
        state_names: S names, likewise; empty without a state.
        action_units, state_units: A and S units such as "rad/s", None where unknown.
        grippers, state_grippers: the dimensions known to open and close a gripper.
        action_kind: whether actions are positions, velocities or differences of one step, None where unknown.
        preset: the robot preset in force, None if there is none; preset_reason: why that one, or none.
        keys: all that the dataset has for every frame.
        cameras: cameras whose images are there; missing_cameras: named by the dataset, but not there.
        lengths: ``[E]`` int64, frames per episode.
        action_dim, state_dim: A and S (0 without a state).
        chunked_horizon: H where the data are chunks ``[N, H, A]`` already, else None.
        opened: how it was opened, as the user asked.
        notes: what a user should know, a sentence each.
        fingerprint: hex; same data and keys, same value, wherever they lie.
    """

    uri: str
    format: str
    action_key: str
    action_names: tuple[str, ...]
    lengths: NDArray[np.int64]
    fingerprint: str
    state_key: str | None = None
    state_names: tuple[str, ...] = ()
    action_units: tuple[str | None, ...] = ()
    state_units: tuple[str | None, ...] = ()
    grippers: tuple[int, ...] = ()
    state_grippers: tuple[int, ...] = ()
    action_kind: Kind | None = None
    preset: str | None = None
    preset_reason: str = ""
    keys: tuple[Key, ...] = ()
    robot: str | None = None
    fps: float | None = None
    cameras: tuple[str, ...] = ()
    missing_cameras: tuple[str, ...] = ()
    chunked_horizon: int | None = None
    opened: OpenOptions = field(default_factory=OpenOptions)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for units, names in (("action_units", self.action_names), ("state_units", self.state_names)):
            if not getattr(self, units):
                object.__setattr__(self, units, (None,) * len(names))
        if len(self.lengths) == 0:
            raise DataError(f"{self.uri}: the dataset holds no episodes")
        object.__setattr__(self, "lengths", read_only(self.lengths))

    @property
    def action_dim(self) -> int:
        return len(self.action_names)

    @property
    def state_dim(self) -> int:
        return len(self.state_names)

    @property
    def slots(self) -> dict[str, str | None]:
        """openpi's camera slots → the camera that fills each, None for a masked slot: as said, else by the preset."""
        if self.opened.slots is not None:
            return chosen_slots(self.opened.slots, self.cameras)
        return ROBOTS[self.preset].slots(self.cameras) if self.preset else dict.fromkeys(SLOTS)

    @property
    def num_episodes(self) -> int:
        return len(self.lengths)

    @property
    def num_frames(self) -> int:
        return int(self.lengths.sum())


class Dataset(Sequence[Episode]):
    """Episodes, each read when it is asked for. A reader implements ``_read`` and sets ``info``."""

    info: DatasetInfo

    @abstractmethod
    def _read(self, index: int, *, state: bool) -> Episode:
        """Episode ``index`` (0 ≤ index < E) as it is stored; the caller checks it."""

    def read(self, index: int, *, state: bool = True) -> Episode:
        """Episode ``index`` from 0; with ``state=False`` the state is neither read nor checked.

        Raises:
            IndexError: no such episode.
            DataError: an unreadable file, NaN or Inf, or another length or width than the metadata say.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"episode {index} of {len(self)}")
        with reaching(self.info.uri):
            episode = self._read(index, state=state)
        self._check(episode)
        return episode

    def _check(self, episode: Episode) -> None:
        info, where = self.info, f"{self.info.uri}: episode {episode.index}"
        if len(episode) != info.lengths[episode.index]:
            raise DataError(
                f"{where} has {len(episode)} frames, but the metadata say {info.lengths[episode.index]}: "
                "the dataset is damaged or half downloaded; fetch it again"
            )
        pairs = (("action", episode.actions, info.action_names), ("state", episode.state, info.state_names))
        for what, array, names in pairs:
            if array is None:
                continue
            if array.shape[1] != len(names):
                raise DataError(
                    f"{where} has {array.shape[1]} {what} dimensions, but the dataset has {len(names)}: "
                    "episodes of different robots cannot be mixed in one dataset"
                )
            check_finite(array, names, where=f"{where}, {what}")

    def __len__(self) -> int:
        return self.info.num_episodes

    @overload
    def __getitem__(self, index: int) -> Episode: ...
    @overload
    def __getitem__(self, index: slice) -> list[Episode]: ...
    def __getitem__(self, index: int | slice) -> Episode | list[Episode]:
        if isinstance(index, slice):
            return [self.read(i) for i in range(*index.indices(len(self)))]
        return self.read(index + len(self) if index < 0 else index)
