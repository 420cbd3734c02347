"""Zarr replay buffers, versions 2 and 3, as diffusion-policy writes them: a folder, or a ``.zarr.zip`` archive.

``data/`` holds one array a key, the frames of all episodes one after the other along its first dimension, and
``meta/episode_ends [E]`` the frame after each episode's last.

Axes: T frames of an episode, D dimensions, E episodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.checks import as_floats
from fastki.data.episode import Dataset, DatasetInfo, Episode
from fastki.data.files import fingerprint
from fastki.data.formats.zarr_array import ZarrArray
from fastki.data.formats.zarr_meta import ArrayMeta, Unread, parse_array
from fastki.data.formats.zarr_store import Archive, Store, open_store
from fastki.data.hub import in_cache
from fastki.data.options import OpenOptions, Progress
from fastki.data.paths import AnyPath
from fastki.data.pictures import LazyFrames, as_picture
from fastki.data.select import Key, Selection, select_keys
from fastki.errors import DataError

MARKS = (".zgroup", "zarr.json")
METADATA = {2: ".zarray", 3: "zarr.json"}
_ENDS = "meta/episode_ends"
_ARCHIVE = ".zarr.zip"
_MAX_METADATA = 2**24
_MAX_DEPTH = 3
_MIN_SIDE = 16  # Pixels; smaller arrays of three dimensions are matrices or key points.


def claims(path: AnyPath) -> bool:
    """Whether ``path`` is a Zarr hierarchy's folder, or named as an archive of one."""
    if path.name.endswith(_ARCHIVE):
        return path.is_file()
    return any((path / mark).is_file() for mark in MARKS) or (path.suffix == ".zarr" and path.is_dir())


def open_path(path: AnyPath, *, uri: str, options: OpenOptions, progress: Progress | None = None) -> Dataset:
    """The replay buffer in folder or archive ``path``."""
    return ZarrDataset(path, uri=uri, options=options)


class ZarrDataset(Dataset):
    """Episodes out of arrays that hold all frames; only the chunks of the episode asked for are read."""

    def __init__(self, path: AnyPath, *, uri: str, options: OpenOptions) -> None:
        self._store = store = open_store(path)
        self._version, end_array = _find_ends(store, path)
        self._ends = ends = _read_ends(end_array, store.where(_ENDS))
        found = find_arrays(store, self._version)
        self._arrays = {key: ZarrArray(store, meta) for key, meta in found.items() if isinstance(meta, ArrayMeta)}
        unread = {key: meta.reason for key, meta in found.items() if isinstance(meta, Unread)}
        notes: list[str] = [f"{key} is not read: {reason}" for key, reason in unread.items()]
        keys = [_key(key, meta) for key, meta in found.items()]
        try:
            selection = select_keys(keys, options, where=uri, hint=path.name, notes=notes)
        except DataError as error:
            why = "; ".join(f"{key} is not read: {reason}" for key, reason in unread.items())
            raise DataError(f"{error} ({why})" if why else str(error)) from error
        self._action_keys, self._state_keys = selection.action_keys, selection.state_keys
        chosen = [self._arrays[key] for key in (*self._action_keys, *self._state_keys)]
        self._check_rows(chosen, options, notes)
        files = self._files([end_array, *chosen], notes)
        cameras, missing = self._find_cameras(path, selection, found, notes)
        self.info = DatasetInfo(
            uri=uri,
            format=f"Zarr v{self._version} replay buffer",
            **selection.describe({}, notes),
            cameras=cameras,
            missing_cameras=missing,
            lengths=np.diff(ends, prepend=0),
            notes=tuple(notes),
            fingerprint=_fingerprint(("Zarr", self._action_keys, self._state_keys), store, path, files),
        )

    def _check_rows(self, chosen: Sequence[ZarrArray], options: OpenOptions, notes: list[str]) -> None:
        total = int(self._ends[-1])
        for array in chosen:
            if not options.skip_bad:
                self._require_rows(array, total)
            if len(array) > total:
                spare, name = len(array) - total, array.meta.name
                notes.append(f"the last {spare} of the {len(array)} rows of {name} belong to no episode")

    def _require_rows(self, array: ZarrArray, stop: int) -> None:
        if len(array) < stop:
            where = self._store.where(array.meta.name)
            raise DataError(f"{where} has {len(array)} rows, but an episode ends at {stop}: fetch the dataset again")

    def _files(self, chosen: Sequence[ZarrArray], notes: list[str]) -> list[str]:
        """The files that hold ``chosen``; ``notes`` says which of their chunks are absent."""
        files = []
        for array in chosen:
            name, total, present = array.meta.name, math.prod(array.meta.grid), array.files()
            files += [f"{name}/{METADATA[self._version]}", *present]
            if len(present) < total:
                notes.append(
                    f"{total - len(present)} of the {total} chunks of {name} are absent and count as "
                    f"{array.meta.fill}: fetch the dataset again unless it was stored so"
                )
        return files

    def _find_cameras(
        self, path: AnyPath, selection: Selection, found: Mapping[str, ArrayMeta | Unread], notes: list[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The cameras that can be read, and the others; ``notes`` says why not."""
        there, missing = [], [key for key, meta in found.items() if isinstance(meta, Unread) and len(meta.shape) == 4]
        for key in selection.cameras:
            array = self._arrays[key]
            if len(array) < self._ends[-1] or not array.has_ends():
                missing.append(key)
                what = "were not downloaded" if in_cache(path) else "are absent"
                notes.append(f"the images of {key} {what}: actions only")
            else:
                there.append(key)
        return tuple(there), tuple(missing)

    def _read(self, index: int, *, state: bool) -> Episode:
        start, stop = int(self._ends[index - 1]) if index else 0, int(self._ends[index])
        return Episode(
            index=index,
            actions=self._numbers(self._action_keys, start, stop),
            state=self._numbers(self._state_keys, start, stop) if state and self._state_keys else None,
            images={key: self._frames(key, start, stop) for key in self.info.cameras},
        )

    def _numbers(self, keys: Sequence[str], start: int, stop: int) -> NDArray[Any]:
        """The rows of ``keys`` side by side, ``[T, D]``."""
        parts = []
        for key in keys:
            array = self._arrays[key]
            self._require_rows(array, stop)
            rows = as_floats(array.rows(start, stop), where=self._store.where(array.meta.name))
            parts.append(rows.reshape(len(rows), -1))
        return np.concatenate(parts, axis=1)

    def _frames(self, key: str, start: int, stop: int) -> LazyFrames:
        array = self._arrays[key]
        where = self._store.where(array.meta.name)

        def picture(frame: int) -> NDArray[np.uint8]:
            row = start + frame
            return as_picture(array.rows(row, row + 1)[0], where=f"{where}, frame {row}")

        return LazyFrames(stop - start, picture)


def find_arrays(store: Store, version: int) -> dict[str, ArrayMeta | Unread]:
    """The arrays below ``data/`` by their names there, groups within it included."""
    found: dict[str, ArrayMeta | Unread] = {}

    def look(folder: str, depth: int) -> None:
        for child in store.children(folder):
            name = f"{folder}/{child}"
            if child.startswith(".") or child == "zarr.json":
                continue
            array = _parse(store, name, version)
            if array is not None:
                found[name.removeprefix("data/")] = array
            elif depth < _MAX_DEPTH:
                look(name, depth + 1)

    look("data", 1)
    return found


def _parse(store: Store, name: str, version: int) -> ArrayMeta | Unread | None:
    """The array ``name``, None where there is none."""
    file = f"{name}/{METADATA[version]}"
    text = store.read(file, limit=_MAX_METADATA)
    return None if text is None else parse_array(text, version, name=name, where=store.where(file))


def _find_ends(store: Store, path: AnyPath) -> tuple[int, ZarrArray]:
    """The version of the hierarchy, and its ``meta/episode_ends``."""
    for version in METADATA:
        meta = _parse(store, _ENDS, version)
        if isinstance(meta, ArrayMeta) and len(meta.shape) == 1 and meta.dtype.kind in "iu":
            return version, ZarrArray(store, meta)
        if meta is not None:
            raise DataError(f"{store.where(_ENDS)} must be whole numbers [E]: write the replay buffer again")
    mend = "its parent folder, perhaps" if path.name in ("data", "meta") else "a folder that has one"
    raise DataError(f"{path} is Zarr, but no replay buffer, for it has no {_ENDS}: give {mend}")


def _read_ends(array: ZarrArray, where: str) -> NDArray[np.int64]:
    """``[E]``, the frame after each episode's last."""
    ends = array.rows(0, len(array)).astype(np.int64)
    if not len(ends):
        raise DataError(f"{where} is empty: the dataset holds no episodes")
    if ends[0] <= 0 or (ends[1:] <= ends[:-1]).any():  # Differences of damaged ends could overflow.
        raise DataError(f"{where} must rise from above 0, episode by episode: the dataset is damaged; fetch it again")
    return ends


def _key(name: str, meta: ArrayMeta | Unread) -> Key:
    row, dtype = meta.shape[1:], meta.dtype if isinstance(meta, Unread) else meta.dtype.name
    if isinstance(meta, Unread) or not meta.shape:
        return Key(name, "other", row, str(dtype))
    return Key(name, "image" if _is_picture(row, meta.dtype) else "numbers", row, str(dtype))


def _is_picture(row: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether a row is as large as a picture, in one of the forms that are taken for one."""
    if dtype.kind == "f" or dtype == np.uint8:
        sides = [size for size in row if size not in (1, 3)]
        return len(row) == 3 and len(sides) == 2 and row[1] in sides and min(sides) >= _MIN_SIDE
    return False


def _fingerprint(facts: tuple[object, ...], store: Store, path: AnyPath, files: Sequence[str]) -> str:
    """Of the numbers alone; an archive's directory has the check sums of its files."""
    if isinstance(store, Archive):
        return fingerprint((*facts, [(name, store.check_sum(name)) for name in files]), path, [])
    return fingerprint(facts, path, files)
