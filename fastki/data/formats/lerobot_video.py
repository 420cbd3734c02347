"""The videos of a LeRobot dataset that is being written: the episodes of one camera, one after the other.

Axis letters: T frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.extras import need

CODEC, PIXELS = "libx264", "yuv444p"
_OPTIONS = {"crf": "10", "g": "2", "preset": "medium", "threads": "1"}
_LARGEST = 200 * 2**20  # Bytes after which the next episode begins another file.


class VideoWriter:
    """MP4 files of one camera; use as a context manager.

    H.264 with the colours at full resolution: at half of it, as is usual, what is a few pixels wide in a small
    picture loses its colour.

    Args:
        folder: files become ``folder/chunk-000/file-000.mp4`` and so on.
        fps: frames a second.
        shape: height and width, pixels.
        chunk: files a folder.
    """

    def __init__(self, folder: Path, *, fps: int, shape: tuple[int, int], chunk: int) -> None:
        self._av = need("av", extra="video", what="videos")
        self._folder, self._fps, self._shape, self._chunk = folder, fps, shape, chunk
        self._number, self._frames = -1, 0
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, pictures: NDArray[np.uint8]) -> dict[str, int | float]:
        """Append ``pictures [T, h, w, 3]``; where they are: ``chunk_index``, ``file_index`` and both ``_timestamp``."""
        if self._container is None or self._path.stat().st_size > _LARGEST:
            self._open_next()
        start = self._frames / self._fps
        for picture in pictures:
            frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = self._frames
            self._container.mux(self._stream.encode(frame))
            self._frames += 1
        return {
            "chunk_index": self._number // self._chunk,
            "file_index": self._number % self._chunk,
            "from_timestamp": start,
            "to_timestamp": self._frames / self._fps,
        }

    def close(self) -> None:
        """Finish the file."""
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._container = None

    @property
    def _path(self) -> Path:
        chunk, file = divmod(self._number, self._chunk)
        return self._folder / f"chunk-{chunk:03d}" / f"file-{file:03d}.mp4"

    def _open_next(self) -> None:
        self.close()
        self._number, self._frames = self._number + 1, 0
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._container = self._av.open(str(self._path), "w")
        self._stream = self._container.add_stream(CODEC, rate=self._fps, options=_OPTIONS)
        self._stream.height, self._stream.width = self._shape
        self._stream.pix_fmt = PIXELS


def video_feature(shape: tuple[int, int], fps: int) -> dict[str, Any]:
    """What ``info.json`` says of such a camera."""
    height, width = shape
    info = {
        "video.height": height,
        "video.width": width,
        "video.codec": "h264",
        "video.pix_fmt": PIXELS,
        "video.is_depth_map": False,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
    }
    return {"dtype": "video", "shape": [height, width, 3], "names": ["height", "width", "channels"], "info": info}
