"""HDF5 files of robot data: DROID's raw release, robomimic and LIBERO, ALOHA; told apart by what they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator

from fastki.data.episode import Dataset
from fastki.data.formats.hdf5_aloha import AlohaDataset
from fastki.data.formats.hdf5_dataset import Hdf5Dataset, outline
from fastki.data.formats.hdf5_droid import TRAJECTORY, DroidDataset
from fastki.data.formats.hdf5_file import natural, opened
from fastki.data.formats.hdf5_robomimic import RobomimicDataset
from fastki.data.options import OpenOptions, Progress
from fastki.data.paths import AnyPath, is_local
from fastki.errors import DataError

CONVENTIONS: tuple[type[Hdf5Dataset], ...] = (DroidDataset, RobomimicDataset, AlohaDataset)
_SUFFIXES = (".h5", ".hdf5")
_LOOKED_INTO = 256  # Folders, before a tree is said to hold no trajectories.


def claims(path: AnyPath) -> bool:
    """Whether ``path`` is named as an HDF5 file, or holds such files, or ``trajectory.h5`` files further down."""
    try:
        if path.is_file():
            return path.suffix.lower() in _SUFFIXES
        return bool(_beside(path)) or next(_below(path, limit=_LOOKED_INTO), None) is not None
    except OSError:
        return False


def open_path(path: AnyPath, *, uri: str, options: OpenOptions, progress: Progress | None = None) -> Dataset:
    """The dataset in the HDF5 file ``path``, or in the files of that folder."""
    try:
        files = [path] if path.is_file() else _beside(path) or list(_below(path))
    except OSError as error:
        raise DataError(f"{uri} cannot be read: {error.strerror or error}") from error
    if not files:
        raise DataError(f"{uri} holds no HDF5 files: give a folder or a file that does")
    convention = _convention(files, options)
    return convention(files, path, uri=uri, options=options, progress=progress)


def _convention(files: list[AnyPath], options: OpenOptions) -> type[Hdf5Dataset]:
    """The convention of the first file; with ``skip_bad`` of the first that can be read and follows one."""
    problem: DataError | None = None
    for path in files:
        try:
            with opened(path) as file:
                for convention in CONVENTIONS:
                    if convention.matches(file):
                        return convention
                known = "; ".join(f"{convention.title} ({convention.layout})" for convention in CONVENTIONS)
                raise DataError(
                    f"{path} holds {outline(file)}, which is none of the conventions that are read: {known}; "
                    "convert it to one of them, or to .npz with actions and episode_ends"
                )
        except DataError as error:
            if not options.skip_bad:
                raise
            problem = problem or error
    raise problem or DataError("no files")


def _beside(folder: AnyPath) -> list[AnyPath]:
    """The HDF5 files directly in ``folder``, ``episode_2`` before ``episode_10``; an episode's folder has one."""
    files, _ = _listing(folder)
    if TRAJECTORY in files:
        return [folder / TRAJECTORY]
    names = [name for name in files if name.lower().endswith(_SUFFIXES) and not name.startswith(".")]
    return [folder / name for name in sorted(names, key=natural)]


def _below(root: AnyPath, *, limit: int | None = None) -> Iterator[AnyPath]:
    """The files ``trajectory.h5`` anywhere below ``root``, by path; at most ``limit`` folders are looked into."""
    if limit is None and not is_local(root):  # One long listing, where each folder's own would be a request.
        found: list[AnyPath] = sorted(root.glob(f"**/{TRAJECTORY}"), key=lambda path: path.parts)
        yield from found
        return
    waiting, seen = [root], set[str]()
    while waiting and (limit is None or len(seen) < limit):
        folder = waiting.pop()
        place = str(folder.resolve()) if is_local(folder) else str(folder)
        if place in seen:  # Links can lead in circles.
            continue
        seen.add(place)
        files, folders = _listing(folder)
        if TRAJECTORY in files:
            yield folder / TRAJECTORY
        else:
            waiting += [folder / name for name in sorted(folders, reverse=True) if not name.startswith(".")]


def _listing(folder: AnyPath) -> tuple[list[str], list[str]]:
    """The names of the files and of the folders in ``folder``."""
    files: list[str] = []
    folders: list[str] = []
    if is_local(folder):
        with os.scandir(folder) as entries:
            for entry in entries:
                (folders if entry.is_dir() else files).append(entry.name)
    else:
        for path in folder.iterdir():
            (folders if path.is_dir() else files).append(path.name)
    return files, folders
