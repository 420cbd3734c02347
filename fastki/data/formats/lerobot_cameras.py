"""The cameras of a LeRobot dataset: one video each for one episode or several, or pictures in the data files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.episode import FrameSource
from fastki.data.files import missing_files
from fastki.data.formats.lerobot_index import Index
from fastki.data.formats.lerobot_pictures import PictureColumn, embedded_frames, picture_columns
from fastki.data.hub import fetch_more, in_cache
from fastki.data.kept import Kept
from fastki.data.paths import AnyPath, is_local
from fastki.data.video import Video, VideoFrames

_OPEN = 8  # Files at a time, of each kind.


class Cameras:
    """Those of a dataset that can be read.

    Attributes:
        there: their names; videos are there for all episodes.
        missing: the other names; ``notes`` say why.
    """

    def __init__(self, root: AnyPath, index: Index, *, fps: float | None, first_file: str, notes: list[str]) -> None:
        self._root, self._index, self._fps = root, index, fps
        self._on_hub = in_cache(root)  # Then absent videos were not asked for yet.
        self._to_fetch: list[str] = []
        self._videos: Kept[AnyPath, Video] = Kept(_OPEN)
        self._columns: Kept[tuple[str, str], PictureColumn] = Kept(_OPEN)
        features = {key: value for key, value in index.info["features"].items() if isinstance(value, dict)}
        kinds = {key: value["dtype"] for key, value in features.items() if value.get("dtype") in ("video", "image")}
        embedded = picture_columns(root / first_file) if "image" in kinds.values() else frozenset()
        reasons = {}
        for key, kind in kinds.items():
            if _is_depth(features[key]):
                reasons[key] = f"{key} holds depth maps, no pictures: left out"
            elif kind == "video":
                reasons[key] = self._why_no_video(key)
            else:
                reasons[key] = "" if key in embedded else f"the images of {key} are absent: actions only"
        notes += [reason for reason in reasons.values() if reason]
        if self._to_fetch:
            which = ", ".join(self._to_fetch)
            notes.append(f"the videos of {which} are not downloaded: each is, when a frame of it is asked for")
        self.there = tuple(key for key, reason in reasons.items() if not reason)
        self.missing = tuple(key for key, reason in reasons.items() if reason)
        self._embedded = frozenset(key for key in self.there if kinds[key] == "image")

    def frames(self, index: int, *, first: int, length: int) -> dict[str, FrameSource]:
        """Camera → the ``length`` frames of episode ``index``, whose rows begin at ``first`` in its data file."""
        return {key: self._camera(key, index, first, length) for key in self.there}

    def _camera(self, key: str, index: int, first: int, length: int) -> FrameSource:
        if key in self._embedded:
            name = self._index.data_files[index]
            return embedded_frames(self._root, name, key, first=first, length=length, kept=self._columns)
        file, start = self._index.video_files[key][index], float(self._index.video_starts[key][index])
        path = self._root / file
        frames = VideoFrames(path, length=length, fps=self._fps or 0.0, start=start, kept=self._videos)
        if self._on_hub and is_local(self._root) and not path.is_file():
            return FetchedFrames(self._root, file, frames)
        return frames

    def _why_no_video(self, key: str) -> str:
        """Why the videos of camera ``key`` cannot be read, "" if they can."""
        files, episodes = self._index.video_files[key], len(self._index.ids)
        absent = len(missing_files(self._root, files)) if files else episodes
        if absent and files and self._on_hub:
            self._to_fetch.append(key)
        elif absent:
            which = "all episodes" if absent == episodes else f"{absent} of {episodes} episodes"
            return f"the videos of {key} are absent for {which}: actions only"
        if self._fps is None:
            return f"the videos of {key} are there, but info.json has no fps to place frames by: actions only"
        if key not in self._index.video_starts:
            return f"the videos of {key} are there, but not where episodes begin in them: actions only"
        return ""


class FetchedFrames:
    """A video's frames, the video downloaded from the hub when the first of them is asked for."""

    def __init__(self, root: Path, file: str, frames: VideoFrames) -> None:
        self._root, self._file, self._frames = root, file, frames

    def __len__(self) -> int:
        """T."""
        return len(self._frames)

    def __getitem__(self, frame: int, /) -> NDArray[np.uint8]:
        """Frame ``frame`` as RGB uint8 ``[h, w, 3]``; DataError if the video can't be had."""
        if not (self._root / self._file).is_file():
            fetch_more(self._root, [self._file])
        return self._frames[frame]


def _is_depth(feature: Mapping[str, Any]) -> bool:
    described = [feature.get("info"), feature.get("video_info")]
    facts = [feature, *(part for part in described if isinstance(part, dict))]
    return any(part.get(key) is True for part in facts for key in ("video.is_depth_map", "is_depth_map"))
