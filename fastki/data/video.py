"""Pictures out of videos, decoded when they are asked for: only from the keyframe before each one on."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastki.data.extras import need
from fastki.data.kept import Kept
from fastki.data.paths import AnyPath
from fastki.data.pictures import MAX_PIXELS
from fastki.errors import DataError

# Playlists and scripts, which would make FFmpeg open other files and URLs, are none of these.
_CONTAINERS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi", "protocol_whitelist": "file"}
_TOLERANCE = 1e-4  # Seconds by which a time and a picture's own may differ through rounding.
_LAST_TICK = 2**62
_SHORT_WAY = 4  # Pictures that are decoded rather than seeked over, whatever the distance of keyframes.


class VideoFrames:
    """The frames of one camera in one episode, out of a video that may hold other episodes too.

    Frame ``i`` is the picture nearest to ``start + i / fps`` seconds from the video's beginning, at most half a
    frame away. The video is opened when the first frame is asked for and stays open, so that frames in order are
    decoded in one go; a frame elsewhere costs a seek and the pictures since the keyframe before it. May be used
    by several threads, one at a time being served, and pickled (unopened).
    """

    def __init__(
        self,
        path: AnyPath,
        *,
        length: int,
        fps: float,
        start: float = 0.0,
        kept: Kept[AnyPath, Video] | None = None,
    ) -> None:
        """``length`` frames; ``kept`` holds the videos open that several share, by default only this one."""
        self._path, self._length, self._fps, self._start = path, length, fps, start
        self._kept: Kept[AnyPath, Video] = kept or Kept(1)

    def __len__(self) -> int:
        """T."""
        return self._length

    def __getitem__(self, frame: int, /) -> NDArray[np.uint8]:
        """Frame ``frame`` as RGB uint8 ``[h, w, 3]``; negative counts from the end.

        Raises:
            IndexError: no such frame.
            DataError: an unreadable or damaged video, or one that shows nothing at that time.
        """
        if not -self._length <= frame < self._length:
            raise IndexError(f"frame {frame} of {self._length}")
        time = self._start + (frame % self._length) / self._fps
        video = self._kept.get(self._path, partial(Video, self._path))
        return video.picture(time, within=0.5 / self._fps)

    def close(self) -> None:
        """Close the video; asking for another frame opens it again."""
        self._kept.close()


class Video:
    """One video, opened for the first picture; closed or failed, it opens again for the next."""

    def __init__(self, path: AnyPath) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._decoder: _Decoder | None = None

    def picture(self, time: float, *, within: float) -> NDArray[np.uint8]:
        """The picture ``[h, w, 3]`` shown nearest to ``time``, at most ``within`` away, both in seconds.

        Raises:
            DataError: an unreadable or damaged video, or one that shows nothing at that time.
        """
        av = need("av", extra="video", what="videos")
        with self._lock:
            try:
                if self._decoder is None:
                    self._decoder = _Decoder(av, self._path)
                shown = self._decoder.nearest(time)
                if shown is None or abs(shown.time - time) > within:
                    raise DataError(f"{self._path} shows nothing at {time:.3f} s: the video is damaged; fetch it again")
                return self._decoder.rgb(shown)
            except FileNotFoundError:
                raise DataError(f"{self._path} is missing: the dataset is incomplete; fetch it again") from None
            except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
                self._drop()
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                raise DataError(f"{self._path} is a damaged video or none ({reason}): fetch it again") from error

    def close(self) -> None:
        """Give back the file and the decoder."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
        self._decoder = None


def claimed_rate(path: AnyPath) -> float:
    """Frames per second of a video's own time.

    Raises:
        DataError: an unreadable or damaged video, or one that does not say.
    """
    av = need("av", extra="video", what="videos")
    try:
        with _opened(av, path) as container:
            rate = container.streams.video[0].average_rate
    except (av.error.FFmpegError, OSError, LookupError, ValueError) as error:
        raise DataError(f"{path} is a damaged video or none ({error}): fetch it again") from error
    if not rate or rate <= 0:
        raise DataError(f"{path} does not give its rate: it is damaged; fetch it again")
    return float(rate)


@contextlib.contextmanager
def _opened(av: Any, path: AnyPath) -> Iterator[Any]:
    """The container in a file, which may make FFmpeg open nothing else."""
    # From PyAV 19 on, words in it that are no UTF-8 are no error.
    forgiving = {"metadata_errors": "replace"} if _version(av) < 19 else {}
    with path.open("rb") as file, av.open(file, container_options=_CONTAINERS, mode="r", **forgiving) as container:
        yield container


def _version(av: Any) -> int:
    return int(av.__version__.partition(".")[0])


class _Shown(NamedTuple):
    """A decoded picture and when it is shown, seconds from the video's beginning."""

    time: float
    frame: Any


class _Decoder:
    """An open video and the place in it that decoding has come to."""

    def __init__(self, av: Any, path: AnyPath) -> None:
        with contextlib.ExitStack() as stack:
            container = stack.enter_context(_opened(av, path))
            if not container.streams.video or container.streams.video[0].codec_context is None:
                raise DataError(f"{path} holds no video that can be decoded: fetch it again")
            self._container, self._stream = container, container.streams.video[0]
            self.close = weakref.finalize(self, stack.pop_all().close)
        self._path = path
        # One thread each: a loader runs many decoders, and after a fork a decoder's own threads would be missed.
        self._stream.codec_context.thread_count = 1
        self._one_thread = {"threads": 1} if _version(av) >= 17 else {}
        self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        self._tick = float(self._stream.time_base or 0) or 1.0
        self._step = 1 / float(self._stream.average_rate or 30)
        self._beginning = self._stream.start_time or 0
        self._frames: Iterator[Any] = iter(())
        self._before: _Shown | None = None
        self._latest: _Shown | None = None
        self._keyframe = 0.0  # When the last keyframe passed was shown.
        self._longest = 0.0  # The longest that any picture passed was shown after its keyframe.

    def nearest(self, time: float) -> _Shown | None:
        """The picture nearest to ``time``, None where the video shows none."""
        if not self._leads_to(time):
            self._seek(time)
        while self._latest is not None and self._latest.time < time - _TOLERANCE and self._advance():
            pass
        around = [shown for shown in (self._before, self._latest) if shown is not None]
        return min(around, key=lambda shown: abs(shown.time - time), default=None)

    def rgb(self, shown: _Shown) -> NDArray[np.uint8]:
        """Its picture ``[h, w, 3]``."""
        if shown.frame.is_corrupt:
            raise DataError(f"{self._path}: the picture at {shown.time:.3f} s is damaged; fetch the video again")
        picture: NDArray[np.uint8] = shown.frame.to_ndarray(format="rgb24", **self._one_thread)
        return picture

    def _leads_to(self, time: float) -> bool:
        """Whether ``time`` lies ahead, and not so far that a keyframe is likely on the way."""
        if self._latest is None:
            return False
        if time < self._latest.time - _TOLERANCE:
            return self._before is not None and time >= self._before.time - _TOLERANCE
        likely = max(2 * self._longest - (self._latest.time - self._keyframe), _SHORT_WAY * self._step)
        return time - self._latest.time <= likely + _TOLERANCE

    def _seek(self, time: float) -> None:
        """Go to the last keyframe not after ``time``."""
        back = 0.0
        while True:
            ticks = int(min((max(time - back, 0.0) + _TOLERANCE) / self._tick, _LAST_TICK)) + self._beginning
            self._container.seek(min(ticks, _LAST_TICK), stream=self._stream)
            self._frames = self._container.decode(self._stream)
            self._before = self._latest = None
            first = self._advance()
            # Where pictures are stored in another order than shown, a seek may come out too late.
            if first is None or first.time <= time + _TOLERANCE or back > time:
                return
            back = 2 * back + 1.0

    def _advance(self) -> _Shown | None:
        """Decode one more picture, None at the end."""
        frame = next((frame for frame in self._frames if frame.pts is not None), None)
        if frame is None:
            self._frames = iter(())
            return None
        shown = _Shown((frame.pts - self._beginning) * self._tick, frame)
        self._before, self._latest = self._latest, shown
        if frame.key_frame:
            self._keyframe = shown.time
        self._longest = max(self._longest, shown.time - self._keyframe)
        return shown
