"""LeRobot v2.0, v2.1 and v3.0 folders. Axes: F rows of a data file, T frames, D dimensions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.checks import as_floats
from fastki.data.episode import Dataset, DatasetInfo, Episode
from fastki.data.files import fingerprint, missing_files, read_json_object
from fastki.data.formats import lerobot_v2, lerobot_v3
from fastki.data.formats.lerobot_cameras import Cameras
from fastki.data.formats.lerobot_index import INFO, Index
from fastki.data.formats.lerobot_rows import BLOCK_BYTES, Rows, SharedFile
from fastki.data.formats.parquet import numeric_columns, read_columns
from fastki.data.kept import Kept
from fastki.data.options import OpenOptions, Progress
from fastki.data.paths import AnyPath
from fastki.data.select import Key, Selection, select_keys
from fastki.data.views import Subset
from fastki.errors import DataError, UsageError

BOOKKEEPING = frozenset({"timestamp", "frame_index", "episode_index", "index", "task_index"})
_RANGE = re.compile(r"(\d{1,12}):(\d{1,12})")
_OPEN = 2  # Data files of which rows are held.
_VERSIONS = {
    "v2.0": lerobot_v2.read_index,
    "v2.1": lerobot_v2.read_index,
    "v3.0": lerobot_v3.read_index,
}


def claims(path: AnyPath) -> bool:
    """Whether ``path`` looks like a LeRobot dataset's folder."""
    return (path / "meta" / "info.json").is_file()


def open_path(path: AnyPath, *, uri: str, options: OpenOptions, progress: Progress | None = None) -> Dataset:
    """The LeRobot dataset in folder ``path``, or one of the splits that its ``info.json`` names."""
    dataset = LeRobotDataset(path, uri=uri, options=options)
    if options.split is None:
        return dataset
    return Subset(dataset, dataset.split(options.split))


class LeRobotDataset(Dataset):
    """Episodes out of parquet files, their images out of those or of videos; may be read by several threads."""

    def __init__(self, root: AnyPath, *, uri: str, options: OpenOptions) -> None:
        self._root = root
        self._index = index = read_index(root, incomplete=options.skip_bad)
        first_file, columns = _first_columns(root, index, skip_bad=options.skip_bad)
        notes: list[str] = []
        hint = f"{index.info.get('robot_type') or ''} {root.name}"
        selection = select_keys(_keys(columns, index), options, where=uri, hint=hint, notes=notes)
        self._action_keys, self._state_keys = selection.action_keys, selection.state_keys
        self._extra = [key for key in ("task_index",) if key in columns]
        width = sum(columns[key] for key in (*self._action_keys, *self._state_keys, *self._extra))
        self._block = max(1, BLOCK_BYTES // (8 * max(width, 1)))
        self._files: Kept[str, SharedFile] = Kept(_OPEN)
        fps = _positive(index.info.get("fps"))
        self._cameras = Cameras(root, index, fps=fps, first_file=first_file, notes=notes)
        self.info = self._describe(uri, selection, notes, fps)

    def split(self, name: str) -> range:
        """The episodes of split ``name``.

        Raises:
            UsageError: there is no such split; the message lists those there are.
        """
        splits = self._index.info.get("splits")
        known = splits if isinstance(splits, dict) else {}
        match = _RANGE.fullmatch(str(known.get(name, "")))
        if match is None:
            listed = f"there are {', '.join(map(str, known))}" if known else "info.json names none"
            raise UsageError(f"{self.info.uri}: no split {name!r}; {listed}: choose another --split, or leave it out")
        chosen = range(len(self))[int(match[1]) : int(match[2])]
        if not chosen:
            raise UsageError(f"{self.info.uri}: split {name!r} is empty: choose another --split, or leave it out")
        return chosen

    def _describe(self, uri: str, selection: Selection, notes: list[str], fps: float | None) -> DatasetInfo:
        index, info = self._index, self._index.info
        features = {key: value for key, value in info["features"].items() if isinstance(value, dict)}
        given = {key: feature.get("names") for key, feature in features.items()}
        if info.get("total_episodes") not in (None, len(index.ids)):
            notes.append(f"info.json counts {info['total_episodes']} episodes, {len(index.ids)} are listed")
        robot, keys = info.get("robot_type"), (self._action_keys, self._state_keys)
        files = sorted({*index.meta_files, *index.data_files})
        absent = set(missing_files(self._root, files))
        return DatasetInfo(
            uri=uri,
            format=f"LeRobot {index.version}",
            robot=robot if isinstance(robot, str) and robot not in ("", "unknown") else None,
            fps=fps,
            **selection.describe(given, notes),
            cameras=self._cameras.there,
            missing_cameras=self._cameras.missing,
            lengths=index.lengths,
            notes=tuple(notes),
            fingerprint=fingerprint(("LeRobot", *keys), self._root, [file for file in files if file not in absent]),
        )

    def _read(self, index: int, *, state: bool) -> Episode:
        rows = self._rows(index, self._state_keys if state else ())
        file = self._root / self._index.data_files[index]

        def joined(keys: Sequence[str]) -> NDArray[Any]:
            parts = [as_floats(_matrix(rows.columns[key]), where=f"{file}, column {key}") for key in keys]
            return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

        actions = joined(self._action_keys)
        return Episode(
            index=index,
            actions=actions,
            state=joined(self._state_keys) if state and self._state_keys else None,
            fps=self.info.fps,
            prompt=self._prompt(index, rows),
            images=self._cameras.frames(index, first=rows.first, length=len(actions)),
        )

    def _rows(self, index: int, state_keys: Sequence[str]) -> Rows:
        name = self._index.data_files[index]
        wanted = list(dict.fromkeys((*self._action_keys, *state_keys, *self._extra)))
        if not self._index.shared:
            return Rows(0, read_columns(self._root / name, wanted))
        file = self._files.get(name, partial(SharedFile, self._root / name, block=self._block))
        return file.rows(int(self._index.ids[index]), wanted)

    def _prompt(self, index: int, rows: Rows) -> str:
        numbers = rows.columns.get("task_index", np.empty(0))
        known = numbers.ndim == 1 and len(numbers) and np.isfinite(numbers[0])
        task = self._index.tasks.get(int(numbers[0])) if known else None
        return task if task is not None else self._index.prompts[index]


def _first_columns(root: AnyPath, index: Index, *, skip_bad: bool) -> tuple[str, dict[str, int]]:
    """The first data file, with ``skip_bad`` the first readable one, and its columns of numbers."""
    failed: DataError | None = None
    for name in dict.fromkeys(index.data_files):
        try:
            return name, numeric_columns(root / name)
        except DataError as error:
            failed = failed or error
            if not skip_bad:
                break
    raise failed or DataError(f"{root}: info.json and the episode tables name no data files: fetch the dataset again")


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


def read_index(root: AnyPath, *, incomplete: bool = False) -> Index:
    """Where the episodes of the dataset in folder ``root`` lie; with ``incomplete`` data files may be absent.

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
    if not incomplete and (missing := missing_files(root, files)):
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
