"""Videos and LeRobot datasets, made as LeRobot makes them."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

_VIDEO_PATHS = {
    "v2.0": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    "v2.1": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    "v3.0": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}


def list_column(values: NDArray[Any], *, fixed: bool) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(values.ravel())
    if fixed:
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.ListArray.from_arrays(np.arange(len(values) + 1, dtype=np.int32) * values.shape[1], flat)


def write_table(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


class Clips:
    """Pictures that show a number, which lossy codecs leave readable, and videos of them."""

    size = 64  # Pixels; a number has 16 bits, 4 × 4 fields.

    def picture(self, number: int) -> NDArray[np.uint8]:
        """RGB ``[64, 64, 3]``; the first channel is inverted, so that the order of channels matters."""
        bits = (number >> np.arange(16)) & 1
        grey = np.kron(bits.reshape(4, 4), np.full((16, 16), 200)) + 20
        return np.stack([240 - grey, grey, grey], axis=2).astype(np.uint8)

    def pictures(self, numbers: Iterable[int]) -> list[NDArray[np.uint8]]:
        return [self.picture(number) for number in numbers]

    def number(self, picture: NDArray[np.uint8]) -> int:
        """The number that ``picture`` shows."""
        assert (picture.shape, picture.dtype) == ((64, 64, 3), np.uint8)
        fields = picture.reshape(4, 16, 4, 16, 3)[:, 4:12, :, 4:12].mean(axis=(1, 3))
        bits = (fields[..., 1] > 120).ravel()
        np.testing.assert_array_equal(fields[..., 0].ravel() < 120, bits)
        return int((bits << np.arange(16)).sum())

    def encoded(self, number: int, kind: str = "PNG") -> bytes:
        """Its picture in a picture format."""
        buffer = io.BytesIO()
        Image.fromarray(self.picture(number)).save(buffer, kind)
        return buffer.getvalue()

    def write(
        self,
        path: Path,
        numbers: Iterable[int],
        *,
        fps: int = 20,
        codec: str = "libx264",
        gop: int = 2,
        pixels: str = "yuv420p",
        noise: int = 0,
    ) -> Path:
        """A video of the pictures of ``numbers``, a keyframe at least every ``gop``; ``noise`` makes it large."""
        import av

        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        speed = {"preset": "12", "svtav1-params": "lp=1"} if codec == "libsvtav1" else {"preset": "ultrafast"}
        with as_urgent_as_before(), av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=fps, options={"g": str(gop), "crf": "12", **speed})
            stream.width = stream.height = self.size
            stream.pix_fmt = pixels
            for picture in self.pictures(numbers):
                if noise:
                    picture = np.clip(picture + rng.integers(-noise, noise, picture.shape), 0, 255).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return path

    def join(self, parts: list[Path], path: Path) -> None:
        """One video of several, their packets one after the other, as LeRobot does it."""
        import av

        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as joined:
            stream: Any = None
            shift = 0
            for part in parts:
                with av.open(str(part)) as container:
                    source = container.streams.video[0]
                    stream = stream or joined.add_stream_from_template(source, opaque=True)
                    for packet in container.demux(source):
                        if packet.dts is not None:
                            packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                            joined.mux(packet)
                    shift += source.duration


@contextlib.contextmanager
def as_urgent_as_before() -> Iterator[None]:
    """Undo what SVT-AV1 does to a thread of root's that encodes: real time, before all else, and so what it starts.

    Two processes of that kind on two cores leave nothing to any other: browsers then wait for themselves for ever.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


class LeRobotFactory:
    """Writes small LeRobot datasets; ``episodes`` are dicts of columns, ``[T]`` or ``[T, D]`` each.

    Cameras show, in frame ``t`` of episode ``e``, the number ``1000 e + t``: those in ``videos`` in video files
    of up to 3 episodes (v3.0) or one, those in ``embedded`` as encoded pictures in the data files.
    """

    def __init__(self, folder: Path, clips: Clips) -> None:
        self.folder, self.clips = folder, clips

    def __call__(
        self,
        episodes: list[dict[str, NDArray[Any]]],
        *,
        version: str = "v2.1",
        names: dict[str, Any] | None = None,
        features: dict[str, Any] | None = None,
        per_file: int = 2,
        fixed: bool = True,
        tasks: tuple[str, ...] = ("pick it", "place it"),
        videos: tuple[str, ...] = (),
        codec: str = "libx264",
        embedded: tuple[str, ...] = (),
        picture: Callable[[int], Any] | None = None,
        **info: Any,
    ) -> Path:
        root = self.folder / f"made_{version}"
        described = {
            key: {"dtype": str(v.dtype), "shape": list(v.shape[1:] or [1]), "names": (names or {}).get(key)}
            for key, v in (episodes[0] if episodes else {}).items()
        }
        described |= {key: {"dtype": "video", "shape": [64, 64, 3]} for key in videos}
        described |= {key: {"dtype": "image", "shape": [64, 64, 3]} for key in embedded}
        content = {
            "codebase_version": version,
            "robot_type": "maker",
            "fps": 20,
            "chunks_size": 2,
            "features": {**described, **(features or {})},
            **info,
        }
        if videos:
            content["video_path"] = _VIDEO_PATHS[version]
        (root / "meta").mkdir(parents=True)
        (root / "meta/info.json").write_text(json.dumps(content))
        write = self._write_v3 if version == "v3.0" else self._write_v2
        cell = picture or (lambda number: {"bytes": self.clips.encoded(number), "path": None})
        pictures = dict.fromkeys(embedded, cell)
        write(root, episodes, tasks, fixed=fixed, per_file=per_file, pictures=pictures, videos=(videos, codec))
        return root

    @staticmethod
    def _columns(
        number: int, columns: dict[str, NDArray[Any]], tasks: int, *, fixed: bool, pictures: dict[str, Any]
    ) -> dict[str, Any]:
        frames = len(next(iter(columns.values())))
        return {
            **{key: list_column(values, fixed=fixed) for key, values in columns.items()},
            **{key: pa.array([cell(1000 * number + t) for t in range(frames)]) for key, cell in pictures.items()},
            "timestamp": np.arange(frames, dtype=np.float32) / 20,
            "frame_index": np.arange(frames),
            "episode_index": np.full(frames, number),
            "task_index": np.full(frames, number % tasks),
        }

    def _write_v2(
        self, root: Path, episodes: Any, tasks: Any, *, fixed: bool, per_file: int, pictures: Any, videos: Any
    ) -> None:
        lines = []
        for i, columns in enumerate(episodes):
            table = self._columns(i, columns, len(tasks), fixed=fixed, pictures=pictures)
            length = len(table["timestamp"])
            write_table(root / f"data/chunk-{i // 2:03d}/episode_{i:06d}.parquet", table)
            lines.append({"episode_index": i, "tasks": [tasks[i % len(tasks)]], "length": length})
            for key in videos[0]:
                path = root / f"videos/chunk-{i // 2:03d}/{key}/episode_{i:06d}.mp4"
                self.clips.write(path, range(1000 * i, 1000 * i + length), codec=videos[1])
        (root / "meta/episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (root / "meta/tasks.jsonl").write_text(
            "".join(json.dumps({"task_index": i, "task": t}) + "\n" for i, t in enumerate(tasks))
        )

    def _write_v3(
        self, root: Path, episodes: Any, tasks: Any, *, fixed: bool, per_file: int, pictures: Any, videos: Any
    ) -> None:
        rows: dict[str, list[Any]] = {}
        files: dict[int, list[pa.Table]] = {}
        for i, columns in enumerate(episodes):
            table = pa.table(self._columns(i, columns, len(tasks), fixed=fixed, pictures=pictures))
            files.setdefault(i // per_file, []).append(table)
            row = {"episode_index": i, "tasks": [tasks[i % len(tasks)]], "length": len(table)}
            row |= {"data/chunk_index": 0, "data/file_index": i // per_file}
            for key in videos[0]:
                before = rows.get("length", [])[i - i % 3 :]
                row |= {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": i // 3}
                row |= {f"videos/{key}/from_timestamp": sum(before) / 20}
            for key, value in row.items():
                rows.setdefault(key, []).append(value)
        for number, tables in files.items():
            path = root / f"data/chunk-000/file-{number:03d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            with pq.ParquetWriter(path, tables[0].schema) as writer:
                for table in tables:
                    writer.write_table(table)
        for key in videos[0]:
            parts = [
                self.clips.write(self.folder / f"{key}_{i}.mp4", range(1000 * i, 1000 * i + length), codec=videos[1])
                for i, length in enumerate(rows["length"])
            ]
            for first in range(0, len(parts), 3):
                self.clips.join(parts[first : first + 3], root / f"videos/{key}/chunk-000/file-{first // 3:03d}.mp4")
        half = (len(episodes) + 1) // 2
        for j, piece in enumerate((slice(0, half), slice(half, None))):
            part = {key: values[piece] for key, values in rows.items()}
            if part and part["length"]:
                write_table(root / f"meta/episodes/chunk-000/file-{j:03d}.parquet", part)
        task_table = {"task_index": list(range(len(tasks))), "__index_level_0__": list(tasks)}
        write_table(root / "meta/tasks.parquet", task_table)
