"""Writing LeRobot v3.0 datasets: tables of numbers, episodes and tasks, statistics, and a video a camera.

Axis letters: T frames, D dimensions.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastki.data.formats.lerobot_stats import Stats, column_stats, histogram, picture_stats
from fastki.data.formats.lerobot_video import VideoWriter, video_feature
from fastki.errors import DataError
from fastki.files import write_json

_CHUNK = 1000  # Files a folder.
_LARGEST = 100 * 2**20  # Bytes of numbers after which the next episode begins another file.
_TABLE = "chunk-{:03d}/file-{:03d}.parquet"


@dataclass(frozen=True, eq=False)
class Demonstration:
    """One episode to be written.

    Attributes:
        task: the instruction.
        columns: key → float32 ``[T, D]``.
        images: key → uint8 RGB ``[T, h, w, 3]``.
    """

    task: str
    columns: Mapping[str, NDArray[np.float32]]
    images: Mapping[str, NDArray[np.uint8]]

    def __len__(self) -> int:
        """T."""
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True)
class Description:
    """What holds for all episodes.

    Attributes:
        fps: frames a second.
        robot: its type.
        names: key of a column → names of its D dimensions.
    """

    fps: int
    robot: str
    names: Mapping[str, Sequence[str]]


def write_lerobot(folder: Path, episodes: Iterable[Demonstration], description: Description) -> None:
    """Write ``episodes``, one after the other, to the empty folder ``folder``; all have the keys of the first.

    Raises:
        DataError: no episodes, or one with other keys or shapes than the first; the extra ``video`` is missing.
    """
    with contextlib.ExitStack() as stack:
        writer = _Writer(folder, description, stack)
        for episode in episodes:
            writer.add(episode)
    writer.finish()


@dataclass(eq=False)
class _Writer:
    root: Path
    description: Description
    stack: contextlib.ExitStack
    features: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, int] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    columns: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    videos: dict[str, VideoWriter] = field(default_factory=dict)
    table: pq.ParquetWriter | None = None
    file: int = -1
    frames: int = 0
    held: int = 0

    def add(self, episode: Demonstration) -> None:
        """Write one episode."""
        if not self.features:
            self._begin(episode)
        self._check(episode)
        columns = self._numbers(episode)
        row: dict[str, Any] = {"episode_index": len(self.rows), "tasks": [episode.task], "length": len(episode)}
        row |= self._place(columns)
        for key, values in columns.items():
            self.columns.setdefault(key, []).append(values)
            row |= _flat(key, column_stats(values))
        for key, pictures in episode.images.items():
            row |= {f"videos/{key}/{name}": value for name, value in self.videos[key].write(pictures).items()}
            counts = histogram(pictures)
            self.counts[key] = self.counts.get(key, np.zeros_like(counts)) + counts
            row |= _flat(key, picture_stats(counts, len(pictures)))
        self.rows.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})

    def finish(self) -> None:
        """Write what is known once all episodes are there."""
        if not self.rows:
            raise DataError(f"{self.root}: there is no episode to write")
        meta = self.root / "meta"
        table = pa.Table.from_pylist(self.rows)
        _write_table(table, meta / "episodes" / _TABLE.format(0, 0))
        _write_table(_task_table(self.tasks), meta / "tasks.parquet")
        write_json(meta / "stats.json", self._stats())
        write_json(meta / "info.json", self._info())

    def _begin(self, episode: Demonstration) -> None:
        fps = self.description.fps
        for key, values in episode.columns.items():
            names = list(self.description.names[key])
            self.features[key] = {"dtype": "float32", "shape": [values.shape[1]], "names": names}
        for key, pictures in episode.images.items():
            shape = (pictures.shape[1], pictures.shape[2])
            self.features[key] = video_feature(shape, fps)
            video = VideoWriter(self.root / "videos" / key, fps=fps, shape=shape, chunk=_CHUNK)
            self.videos[key] = self.stack.enter_context(video)
        for key in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
            dtype = "float32" if key == "timestamp" else "int64"
            self.features[key] = {"dtype": dtype, "shape": [1], "names": None}

    def _check(self, episode: Demonstration) -> None:
        arrays: dict[str, NDArray[Any]] = {**episode.columns, **episode.images}
        own = {key: list(values.shape[1:]) for key, values in arrays.items()}
        expected = {key: self.features[key]["shape"] for key in (*self.description.names, *self.videos)}
        lengths = {len(values) for values in arrays.values()}
        if own != expected or lengths != {len(episode)} or not len(episode):
            raise DataError(
                f"{self.root}: episode {len(self.rows)} has {own} with lengths {sorted(lengths)}, not {expected}"
            )

    def _numbers(self, episode: Demonstration) -> dict[str, NDArray[Any]]:
        """All columns of the episode's part of the data table."""
        frame, index = np.arange(len(episode)), self.tasks.setdefault(episode.task, len(self.tasks))
        return {
            **{key: values.astype(np.float32) for key, values in episode.columns.items()},
            "timestamp": (frame / self.description.fps).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.full(len(episode), len(self.rows)),
            "index": frame + self.frames,
            "task_index": np.full(len(episode), index),
        }

    def _place(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """Append to the data table, a row group an episode; where that is."""
        table = pa.table({key: _as_column(values) for key, values in columns.items()})
        if self.table is None or self.held > _LARGEST:
            if self.table is not None:
                self.table.close()
            self.file, self.held = self.file + 1, 0
            path = self.root / "data" / _TABLE.format(*divmod(self.file, _CHUNK))
            path.parent.mkdir(parents=True, exist_ok=True)
            self.table = pq.ParquetWriter(path, table.schema)
            self.stack.callback(self.table.close)
        self.table.write_table(table)
        self.held += table.nbytes
        first, self.frames = self.frames, self.frames + len(table)
        chunk, file = divmod(self.file, _CHUNK)
        place = {"data/chunk_index": chunk, "data/file_index": file}
        return place | {"dataset_from_index": first, "dataset_to_index": self.frames}

    def _stats(self) -> dict[str, Stats]:
        numbers = {key: column_stats(np.concatenate(parts)) for key, parts in self.columns.items()}
        return numbers | {key: picture_stats(counts, self.frames) for key, counts in self.counts.items()}

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": "v3.0",
            "robot_type": self.description.robot,
            "total_episodes": len(self.rows),
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": _CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self.description.fps,
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
            "features": self.features,
        }


def _as_column(values: NDArray[Any]) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _flat(key: str, stats: Stats) -> dict[str, Any]:
    return {f"stats/{key}/{name}": value for name, value in stats.items()}


def _task_table(tasks: Mapping[str, int]) -> pa.Table:
    """Task → index; the tasks are the index of a pandas table, which LeRobot reads it as."""
    columns = [("task_index", "int64", "int64"), ("task", "unicode", "object")]
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
            for name, kind, numpy in columns
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": pa.array(tasks.values(), pa.int64()), "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _write_table(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
