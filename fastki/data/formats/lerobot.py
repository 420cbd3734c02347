"""LeRobot v2.0, v2.1 and v3.0 folders. Axes: F rows of a data file, T frames, D dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.checks import as_floats
from fastki.data.episode import Dataset, DatasetInfo, Episode
from fastki.data.files import fingerprint, missing_files, read_json_object
from fastki.data.formats import lerobot_v2, lerobot_v3
from fastki.data.formats.lerobot_index import INFO, Index
from fastki.data.formats.parquet import numeric_columns, read_columns
from fastki.data.options import OpenOptions, Progress
from fastki.data.paths import AnyPath
from fastki.data.select import Key, Selection, select_keys
from fastki.errors import DataError

BOOKKEEPING = frozenset({"timestamp", "frame_index", "episode_index", "index", "task_index"})
_VERSIONS = {
    "v2.0": lerobot_v2.read_index,
    "v2.1": lerobot_v2.read_index,
    "v3.0": lerobot_v3.read_index,
}


def claims(path: AnyPath) -> bool:
    """Whether ``path`` looks like a LeRobot dataset's folder."""
    return (path / "meta" / "info.json").is_file()


def open_path(path: AnyPath, *, uri: str, options: OpenOptions, progress: Progress | None = None) -> Dataset:
    """The LeRobot dataset in folder ``path``."""
    return LeRobotDataset(path, uri=uri, options=options)


class LeRobotDataset(Dataset):
    """Episodes out of parquet files; the last file's columns stay in memory, since episodes share files."""

    def __init__(self, root: AnyPath, *, uri: str, options: OpenOptions) -> None:
        self._root = root
        self._index = index = read_index(root)
        columns = numeric_columns(root / index.data_files[0])
        notes: list[str] = []
        hint = f"{index.info.get('robot_type') or ''} {root.name}"
        selection = select_keys(_keys(columns, index), options, where=uri, hint=hint, notes=notes)
        self._action_keys, self._state_keys = selection.action_keys, selection.state_keys
        self._extra = [key for key in ("task_index",) if key in columns]
        self._extra += ["episode_index"] if index.shared else []
        self._cached: tuple[str, Mapping[str, NDArray[Any]]] = ("", {})
        self.info = self._describe(uri, selection, notes)

    def _describe(self, uri: str, selection: Selection, notes: list[str]) -> DatasetInfo:
        index, info = self._index, self._index.info
        features = {key: value for key, value in info["features"].items() if isinstance(value, dict)}
        given = {key: feature.get("names") for key, feature in features.items()}
        cameras, missing = _find_cameras(self._root, index, notes)
        if info.get("total_episodes") not in (None, len(index.ids)):
            notes.append(f"info.json counts {info['total_episodes']} episodes, {len(index.ids)} are listed")
        robot, keys = info.get("robot_type"), (self._action_keys, self._state_keys)
        files = sorted({*index.meta_files, *index.data_files})
        return DatasetInfo(
            uri=uri,
            format=f"LeRobot {index.version}",
            robot=robot if isinstance(robot, str) and robot not in ("", "unknown") else None,
            fps=_positive(info.get("fps")),
            **selection.describe(given, notes),
            cameras=cameras,
            missing_cameras=missing,
            lengths=index.lengths,
            notes=tuple(notes),
            fingerprint=fingerprint(("LeRobot", *keys), self._root, files),
        )

    def _read(self, index: int, *, state: bool) -> Episode:
        rows, columns = self._rows(index, self._state_keys if state else ())
        file = self._root / self._index.data_files[index]

        def joined(keys: Sequence[str]) -> NDArray[Any]:
            parts = [as_floats(_matrix(columns[key][rows]), where=f"{file}, column {key}") for key in keys]
            return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

        return Episode(
            index=index,
            actions=joined(self._action_keys),
            state=joined(self._state_keys) if state and self._state_keys else None,
            fps=self.info.fps,
            prompt=self._prompt(index, columns, rows),
        )

    def _rows(self, index: int, state_keys: Sequence[str]) -> tuple[slice, Mapping[str, NDArray[Any]]]:
        """The rows of episode ``index`` in its data file, and that file's columns (``[F]`` or ``[F, D]``)."""
        name = self._index.data_files[index]
        wanted = list(dict.fromkeys((*self._action_keys, *state_keys, *self._extra)))
        if self._cached[0] != name or not self._cached[1].keys() >= set(wanted):
            self._cached = (name, read_columns(self._root / name, wanted))
        columns = self._cached[1]
        if not self._index.shared:
            return slice(None), columns
        where = np.flatnonzero(columns["episode_index"] == self._index.ids[index])
        rows = slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)
        if rows.stop - rows.start != len(where):
            raise DataError(f"{self._root / name}: rows of episode {self._index.ids[index]} are scattered")
        return rows, columns

    def _prompt(self, index: int, columns: Mapping[str, NDArray[Any]], rows: slice) -> str:
        numbers = columns.get("task_index", np.empty(0))[rows]
        task = self._index.tasks.get(int(numbers[0])) if len(numbers) else None
        return task if task is not None else self._index.prompts[index]


def _keys(columns: Mapping[str, int], index: Index) -> list[Key]:
    """All that a frame holds, but for LeRobot's own bookkeeping."""
    features = index.info["features"]
    keys = []
    for name, width in columns.items():
        if name not in BOOKKEEPING and not name.startswith("next."):
            dtype = features[name].get("dtype", "") if isinstance(features.get(name), dict) else ""
            keys.append(Key(name, "numbers", (width,), str(dtype)))
    for name, feature in features.items():
        if isinstance(feature, dict) and feature.get("dtype") in ("video", "image"):
            shape = feature.get("shape")
            sizes = tuple(size for size in shape if type(size) is int) if isinstance(shape, list) else ()
            keys.append(Key(name, "image", sizes, str(feature["dtype"])))
    return keys


def read_index(root: AnyPath) -> Index:
    """Where the episodes of the dataset in folder ``root`` lie.

    Raises:
        DataError: metadata that are absent, damaged or of another version, no episodes, or absent data files.
    """
    info = read_json_object(root / INFO)
    version = str(info.get("codebase_version", "of unknown version"))
    if not isinstance(info.get("features"), dict):
        raise DataError(f"{root / INFO} is damaged: it has no 'features'")
    if version not in _VERSIONS:
        raise DataError(
            f"{root}: LeRobot {version} cannot be read, only {', '.join(_VERSIONS)}: "
            "convert it with LeRobot's own scripts"
        )
    index = _VERSIONS[version](root, info, version)
    files = list(dict.fromkeys(index.data_files))
    if missing := missing_files(root, files):
        raise DataError(
            f"{root / missing[0]} is missing ({len(missing)} of {len(files)} data files are): fetch the dataset again"
        )
    return index


def _matrix(column: NDArray[Any]) -> NDArray[Any]:
    """``[T]`` as ``[T, 1]``; ``[T, D]`` as it is."""
    return column[:, None] if column.ndim == 1 else column


def _positive(value: object) -> float | None:
    if isinstance(value, int | float) and math.isfinite(value) and value > 0:
        return float(value)
    return None


def _find_cameras(root: AnyPath, index: Index, notes: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The cameras all of whose videos are there, and the others; ``notes`` says what is amiss."""
    there, missing = [], []
    for camera, files in index.video_files.items():
        absent = len(missing_files(root, files)) if files else len(index.ids)
        if absent == 0:
            there.append(camera)
            continue
        missing.append(camera)
        which = "all episodes" if absent == len(index.ids) else f"{absent} of {len(index.ids)} episodes"
        notes.append(f"the videos of {camera} are absent for {which}: actions only")
    if there:
        notes.append(f"the videos of {', '.join(there)} are there, but this version does not decode them")
    for key, feature in index.info["features"].items():
        if isinstance(feature, dict) and feature.get("dtype") == "image":
            missing.append(key)
            notes.append(f"the images of {key} lie in the parquet files; this version does not decode them")
    return tuple(there), tuple(missing)
