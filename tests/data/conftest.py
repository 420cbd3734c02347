"""Made datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray


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


class LeRobotFactory:
    """Writes small LeRobot datasets; ``episodes`` are dicts of columns, ``[T]`` or ``[T, D]`` each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
        **info: Any,
    ) -> Path:
        root = self.folder / f"made_{version}"
        described = {
            key: {"dtype": str(v.dtype), "shape": list(v.shape[1:] or [1]), "names": (names or {}).get(key)}
            for key, v in (episodes[0] if episodes else {}).items()
        }
        content = {
            "codebase_version": version,
            "robot_type": "maker",
            "fps": 20,
            "chunks_size": 2,
            "features": {**described, **(features or {})},
            **info,
        }
        (root / "meta").mkdir(parents=True)
        (root / "meta/info.json").write_text(json.dumps(content))
        write = self._write_v3 if version == "v3.0" else self._write_v2
        write(root, episodes, tasks, fixed=fixed, per_file=per_file)
        return root

    @staticmethod
    def _columns(number: int, columns: dict[str, NDArray[Any]], tasks: int, *, fixed: bool) -> dict[str, Any]:
        frames = len(next(iter(columns.values())))
        return {
            **{key: list_column(values, fixed=fixed) for key, values in columns.items()},
            "timestamp": np.arange(frames, dtype=np.float32) / 20,
            "frame_index": np.arange(frames),
            "episode_index": np.full(frames, number),
            "task_index": np.full(frames, number % tasks),
        }

    def _write_v2(self, root: Path, episodes: Any, tasks: Any, *, fixed: bool, per_file: int) -> None:
        lines = []
        for i, columns in enumerate(episodes):
            table = self._columns(i, columns, len(tasks), fixed=fixed)
            write_table(root / f"data/chunk-{i // 2:03d}/episode_{i:06d}.parquet", table)
            lines.append({"episode_index": i, "tasks": [tasks[i % len(tasks)]], "length": len(table["timestamp"])})
        (root / "meta/episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (root / "meta/tasks.jsonl").write_text(
            "".join(json.dumps({"task_index": i, "task": t}) + "\n" for i, t in enumerate(tasks))
        )

    def _write_v3(self, root: Path, episodes: Any, tasks: Any, *, fixed: bool, per_file: int) -> None:
        rows: dict[str, list[Any]] = {}
        for first in range(0, len(episodes), per_file):
            parts = []
            for i in range(first, min(first + per_file, len(episodes))):
                parts.append(pa.table(self._columns(i, episodes[i], len(tasks), fixed=fixed)))
                row = {"episode_index": i, "tasks": [tasks[i % len(tasks)]], "length": len(parts[-1])}
                row |= {"data/chunk_index": 0, "data/file_index": first // per_file}
                for key, value in row.items():
                    rows.setdefault(key, []).append(value)
            path = root / f"data/chunk-000/file-{first // per_file:03d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.concat_tables(parts), path)
        half = (len(episodes) + 1) // 2
        for j, piece in enumerate((slice(0, half), slice(half, None))):
            part = {key: values[piece] for key, values in rows.items()}
            if part and part["length"]:
                write_table(root / f"meta/episodes/chunk-000/file-{j:03d}.parquet", part)
        task_table = {"task_index": list(range(len(tasks))), "__index_level_0__": list(tasks)}
        write_table(root / "meta/tasks.parquet", task_table)


@pytest.fixture
def make_lerobot(tmp_path: Path) -> LeRobotFactory:
    return LeRobotFactory(tmp_path)


@pytest.fixture
def some_episodes() -> list[dict[str, NDArray[Any]]]:
    """Five episodes of 9, 4, 12, 7 and 20 frames: 3 actions, 4 states."""
    rng = np.random.default_rng(1)
    return [
        {
            "action": rng.normal(size=(frames, 3)).astype(np.float32),
            "observation.state": rng.normal(size=(frames, 4)).astype(np.float32),
        }
        for frames in (9, 4, 12, 7, 20)
    ]
