"""The ``meta`` folder of LeRobot v3.0: parquet tables, several episodes a data file. Axis: E episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.files import missing_files
from fastki.data.formats.lerobot_index import (
    INFO,
    Index,
    first_task,
    place_files,
    rising_order,
    seconds,
    video_keys,
    whole_numbers,
)
from fastki.data.formats.parquet import read_values
from fastki.data.paths import AnyPath, relative_name
from fastki.errors import DataError

_DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_TASKS = "meta/tasks.parquet"
_PLACE = ("chunk_index", "file_index")
_START = "from_timestamp"


def read_index(root: AnyPath, info: Mapping[str, Any], version: str) -> Index:
    """The index of the dataset in folder ``root``; ``info`` is its ``info.json``.

    Raises:
        DataError: metadata that are absent or damaged, or no episodes.
    """
    names = sorted(relative_name(path, root) for path in root.glob("meta/episodes/*/*.parquet"))
    if not names:
        raise DataError(f"{root / 'meta/episodes'} holds no parquet files: fetch the dataset again")
    cameras, videos = video_keys(info), str(info.get("video_path") or "")
    optional = [f"videos/{key}/{part}" for key in cameras for part in (*_PLACE, _START)]
    columns, prompts = _read_tables(root, names, optional)
    order = rising_order(columns["episode_index"], where=root / "meta/episodes")

    def place(template: str, prefix: str, video_key: str = "") -> list[str]:
        if not template or any(f"{prefix}/{part}" not in columns for part in _PLACE):
            return []
        fields = {part: columns[f"{prefix}/{part}"][order].tolist() for part in _PLACE}
        return place_files(root, template, fields, video_key=video_key)

    tasks = _read_tasks(root)
    return Index(
        version=version,
        info=info,
        ids=columns["episode_index"][order],
        lengths=columns["length"][order],
        data_files=place(str(info.get("data_path") or _DATA_PATH), "data"),
        shared=True,
        video_files={key: place(videos, f"videos/{key}", key) for key in cameras},
        video_starts={key: columns[name][order] for key in cameras if (name := f"videos/{key}/{_START}") in columns},
        prompts=[prompts[i] for i in order],
        tasks=tasks,
        meta_files=[INFO, *names, *([_TASKS] if tasks else [])],
    )


def _read_tables(
    root: AnyPath, names: Sequence[str], optional: Sequence[str]
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The columns of numbers of the episode tables, ``[E]`` each, and each episode's first task."""
    needed = ["episode_index", "length", *(f"data/{part}" for part in _PLACE)]
    parts: dict[str, list[NDArray[Any]]] = {}
    prompts: list[str] = []
    for name in names:
        columns = read_values(root / name, needed, optional=[*optional, "tasks"])
        prompts += [first_task(tasks) for tasks in columns.pop("tasks", [None] * len(columns["length"]))]
        for key, values in columns.items():
            check = seconds if key.endswith(_START) else whole_numbers
            parts.setdefault(key, []).append(check(values, where=root / name, key=key))
    return {key: np.concatenate(p) for key, p in parts.items() if len(p) == len(names)}, prompts


def _read_tasks(root: AnyPath) -> dict[int, str]:
    """task_index → task; the task is the table's index, or its column of text."""
    if missing_files(root, [_TASKS]):
        return {}
    columns = read_values(root / _TASKS, ["task_index"], optional=["task", "__index_level_0__"])
    numbers = whole_numbers(columns.pop("task_index"), where=root / _TASKS, key="task_index")
    for values in columns.values():
        if all(isinstance(value, str) for value in values):
            return dict(zip(numbers.tolist(), values, strict=True))
    return {}
