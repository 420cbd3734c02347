"""DROID's raw release: a ``trajectory.h5`` for each episode, metadata and videos beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.episode import FrameSource
from fastki.data.files import missing_files, read_json_object
from fastki.data.formats.hdf5_dataset import Hdf5Dataset, Place
from fastki.data.formats.hdf5_file import Hdf5File
from fastki.data.paths import AnyPath, relative_name
from fastki.data.video import VideoFrames, claimed_rate
from fastki.errors import DataError

TRAJECTORY = "trajectory.h5"
_CAMERAS = ("ext1", "ext2", "wrist")
_SERIAL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OUTCOMES = ("success", "failure")


class DroidDataset(Hdf5Dataset):
    """Episodes of DROID's raw release."""

    title = "DROID"
    layout = "action/joint_velocity, action/gripper_position, observation/robot_state/…"
    rate = 15.0
    per_frame = ("action/", "observation/robot_state/")
    states = (("observation/robot_state/joint_positions", "observation/robot_state/gripper_position"),)

    @classmethod
    def matches(cls, file: Hdf5File) -> bool:
        return bool(file.children("action") and file.children("observation/robot_state"))

    def _chosen(self, files: Sequence[AnyPath]) -> Sequence[AnyPath]:
        split = self._options.split
        if split is None:
            return files
        chosen = [file for file in files if self._outcome(file) == split]
        if not chosen:
            there = " and ".join(dict.fromkeys(filter(None, map(self._outcome, files))))
            raise DataError(f"{self._uri}: no split {split!r}; there {f'is {there}' if there else 'are none'}")
        return chosen

    def _outcome(self, file: AnyPath) -> str:
        """Whether the folders call the episode a success or a failure, "" if neither."""
        return next((part for part in relative_name(file, self._root).split("/") if part in _OUTCOMES), "")

    def _episodes(self, file: Hdf5File) -> list[Place]:
        metadata = _metadata(file.path)
        task = metadata.get("current_task")
        notes: list[str] = []
        if self._outcome(file.path) == "failure" and self._options.split is None:
            notes.append("there are failed attempts among the episodes: --split success leaves them out")
        return [
            Place(
                file.path,
                format="DROID raw HDF5",
                prompt=task if isinstance(task, str) else file.text("", "current_task", notes),
                videos=_videos(file.path, metadata),
                notes=tuple(notes),
            )
        ]

    def _has_camera(self, file: Hdf5File, place: Place, camera: str) -> bool:
        return place.videos.get(camera) is not None

    def _frames(self, place: Place, camera: str) -> FrameSource:
        video = place.videos[camera]
        assert video is not None, "a camera counts only if all its videos are there"
        return StepFrames(video, place.length)


def _metadata(file: AnyPath) -> Mapping[str, Any]:
    """What stands in the ``metadata_*.json`` beside a ``trajectory.h5``."""
    if file.name != TRAJECTORY:
        return {}
    found: list[AnyPath] = sorted(file.parent.glob("metadata_*.json"), key=str)
    return read_json_object(found[0]) if found else {}


def _videos(file: AnyPath, metadata: Mapping[str, Any]) -> dict[str, AnyPath | None]:
    """Camera → its left eye's video, None where that is absent."""
    names = {}
    for camera in _CAMERAS:
        serial = metadata.get(f"{camera}_cam_serial")
        if isinstance(serial, str | int) and _SERIAL.fullmatch(str(serial)):
            names[camera] = f"recordings/MP4/{serial}.mp4"
    absent = missing_files(file.parent, names.values())
    return {camera: None if name in absent else file.parent / name for camera, name in names.items()}


class StepFrames:
    """The first ``length`` frames of ``video``, one a step of the robot.

    The cameras took a picture a step, 15 a second, whatever rate the video claims (60 usually); so frames are
    counted, and the claimed rate only turns their number into the video's own time.
    """

    held_bytes = 16 << 20
    """About what an open decoder takes."""

    def __init__(self, video: AnyPath, length: int) -> None:
        self._video, self._length = video, length
        self._frames: FrameSource | None = None

    def __len__(self) -> int:
        """T."""
        return self._length

    def __getitem__(self, frame: int, /) -> NDArray[np.uint8]:
        """Frame ``frame`` as RGB uint8 ``[h, w, 3]``; negative counts from the end."""
        if self._frames is None:
            self._frames = VideoFrames(self._video, length=self._length, fps=claimed_rate(self._video))
        return self._frames[frame]
