"""LeRobot datasets of made-up recordings, as large as wanted. Axes: E episodes, T frames of each, D dimensions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FPS = 30
DIMS = 8
"""Of the actions and of the state."""
_BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_TASKS = ("pick it up", "put it down", "open the drawer")


@dataclass(frozen=True)
class Recording:
    """What to write.

    Attributes:
        title: for the table.
        version: of LeRobot's format, "v2.1" or "v3.0".
        episodes: E.
        frames: T.
        episodes_per_file: of v3.0.
        one_group: v3.0 files of a single row group, as LeRobot's converter writes them; else one an episode,
            as its recorder does.
    """

    title: str
    version: str
    episodes: int
    frames: int = 250
    episodes_per_file: int = 2000
    one_group: bool = False

    def write(self, root: Path) -> None:
        """Write the dataset into the new folder ``root``."""
        (root / "meta").mkdir(parents=True)
        if self.version == "v3.0":
            self._write_v3(root)
        else:
            self._write_v2(root)
        features: dict[str, Any] = {
            key: {"dtype": "float32", "shape": [DIMS], "names": [f"joint_{i}" for i in range(DIMS)]}
            for key in ("action", "observation.state")
        }
        for key in _BOOKKEEPING:
            features[key] = {"dtype": "float32" if key == "timestamp" else "int64", "shape": [1], "names": None}
        info = {"codebase_version": self.version, "fps": FPS, "chunks_size": 1000, "features": features}
        (root / "meta/info.json").write_text(json.dumps(info))

    def _tables(self) -> Iterator[pa.Table]:
        rng = np.random.default_rng(0)
        for episode in range(self.episodes):
            state = np.cumsum(rng.normal(scale=0.02, size=(self.frames, DIMS)), axis=0).astype(np.float32)
            action = state + rng.normal(scale=0.01, size=state.shape).astype(np.float32)
            steps = np.arange(self.frames)
            yield pa.table(
                {
                    "action": pa.FixedSizeListArray.from_arrays(pa.array(action.ravel()), DIMS),
                    "observation.state": pa.FixedSizeListArray.from_arrays(pa.array(state.ravel()), DIMS),
                    "timestamp": (steps / FPS).astype(np.float32),
                    "frame_index": steps,
                    "episode_index": np.full(self.frames, episode),
                    "index": steps + episode * self.frames,
                    "task_index": np.full(self.frames, episode % len(_TASKS)),
                }
            )

    def _write_v2(self, root: Path) -> None:
        lines = []
        for episode, table in enumerate(self._tables()):
            path = root / f"data/chunk-{episode // 1000:03d}/episode_{episode:06d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, path)
            lines.append({"episode_index": episode, "tasks": [_TASKS[episode % len(_TASKS)]], "length": self.frames})
        _write_lines(root / "meta/episodes.jsonl", lines)
        _write_lines(root / "meta/tasks.jsonl", [{"task_index": i, "task": task} for i, task in enumerate(_TASKS)])

    def _write_v3(self, root: Path) -> None:
        (root / "data/chunk-000").mkdir(parents=True)
        tables = self._tables()
        for file in range(-(-self.episodes // self.episodes_per_file)):
            count = min(self.episodes_per_file, self.episodes - file * self.episodes_per_file)
            parts = [next(tables) for _ in range(count)]
            with pq.ParquetWriter(root / f"data/chunk-000/file-{file:03d}.parquet", parts[0].schema) as writer:
                for part in [pa.concat_tables(parts).combine_chunks()] if self.one_group else parts:
                    writer.write_table(part)
        numbers = np.arange(self.episodes)
        columns = {
            "episode_index": numbers,
            "tasks": [[_TASKS[i % len(_TASKS)]] for i in range(self.episodes)],
            "length": np.full(self.episodes, self.frames),
            "data/chunk_index": np.zeros(self.episodes, dtype=np.int64),
            "data/file_index": numbers // self.episodes_per_file,
        }
        (root / "meta/episodes/chunk-000").mkdir(parents=True)
        pq.write_table(pa.table(columns), root / "meta/episodes/chunk-000/file-000.parquet")
        tasks = {"task_index": list(range(len(_TASKS))), "__index_level_0__": list(_TASKS)}
        pq.write_table(pa.table(tasks), root / "meta/tasks.parquet")


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
