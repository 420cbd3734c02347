"""The ``meta`` folder of LeRobot v2.0 and v2.1: JSON lines, one data file an episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastki.data.files import read_json_lines
from fastki.data.formats.lerobot_index import (
    INFO,
    Index,
    first_task,
    place_files,
    rising_order,
    video_keys,
    whole_numbers,
)
from fastki.data.paths import AnyPath

_DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_EPISODES = "meta/episodes.jsonl"
_TASKS = "meta/tasks.jsonl"


def read_index(root: AnyPath, info: Mapping[str, Any], version: str) -> Index:
    """The index of the dataset in folder ``root``; ``info`` is its ``info.json``.

    Raises:
        DataError: metadata that are absent or damaged, or no episodes.
    """
    where = root / _EPISODES
    rows = read_json_lines(where)
    ids = whole_numbers([row.get("episode_index") for row in rows], where=where, key="episode_index")
    lengths = whole_numbers([row.get("length") for row in rows], where=where, key="length")
    order = rising_order(ids, where=where)
    ids = ids[order]
    size = whole_numbers([info.get("chunks_size", 1000)], where=root / INFO, key="chunks_size")
    fields = {"episode_index": ids.tolist(), "episode_chunk": (ids // max(int(size[0]), 1)).tolist()}
    videos, cameras = str(info.get("video_path") or ""), video_keys(info)
    tasks = read_json_lines(root / _TASKS) if (root / _TASKS).is_file() else []
    return Index(
        version=version,
        info=info,
        ids=ids,
        lengths=lengths[order],
        data_files=place_files(root, str(info.get("data_path") or _DATA_PATH), fields),
        shared=False,
        video_files={key: place_files(root, videos, fields, video_key=key) if videos else [] for key in cameras},
        video_starts={key: np.zeros(len(ids)) for key in cameras},
        prompts=[first_task(rows[i].get("tasks")) for i in order],
        tasks={i: str(row.get("task", "")) for row in tasks if type(i := row.get("task_index")) is int},
        meta_files=[INFO, _EPISODES, *([_TASKS] if tasks else [])],
    )
