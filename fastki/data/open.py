"""``open_dataset``: from a path or name to the reader that knows the format."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from fastki.data import synthetic
from fastki.data.episode import Dataset
from fastki.data.formats import lerobot, numpy_files
from fastki.data.options import OpenOptions, Progress
from fastki.data.paths import AnyPath, as_path
from fastki.data.views import resampled, without_bad
from fastki.errors import DataError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class OpenPath(Protocol):
    """What opens a path of one format."""

    def __call__(self, path: AnyPath, *, uri: str, options: OpenOptions, progress: Progress | None) -> Dataset: ...


@dataclass(frozen=True)
class Reader:
    """One format: what it is called, whether a path is of it, and how such a path is opened."""

    name: str
    claims: Callable[[AnyPath], bool]
    open_path: OpenPath


READERS = (
    Reader("LeRobot v2.0, v2.1 and v3.0 folders (meta/info.json)", lerobot.claims, lerobot.open_path),
    Reader(".npy and .npz files", numpy_files.claims, numpy_files.open_path),
)


def open_dataset(
    uri: str | os.PathLike[str],
    *,
    action_key: str | None = None,
    state_key: str | None = None,
    split: str | None = None,
    robot: str = "auto",
    fps: float | None = None,
    hold: str | None = None,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """The dataset at ``uri``, its episodes read when they are asked for.

    Args:
        uri: a folder or file of a supported format, here or on a remote file system, or ``synthetic:droid``
            (also with ``?episodes=20&seed=3``).
        action_key, state_key, split, robot, fps, hold, skip_bad: see :class:`OpenOptions`.
        progress: told what goes on while a dataset without an index is listed.

    Raises:
        DataError: no such dataset, a format that is not read, no or several possible action keys, or damaged
            files; the message names the mend.
        UsageError: an option is out of range.
    """
    options = OpenOptions(action_key, state_key, split, robot, fps, hold, skip_bad)
    return open_with(uri, options, progress=progress)


def open_with(uri: str | os.PathLike[str], options: OpenOptions, *, progress: Progress | None = None) -> Dataset:
    """As :func:`open_dataset`, the options in one value."""
    dataset = _open(os.fspath(uri), options, progress)
    if options.skip_bad:
        dataset = without_bad(dataset, progress=progress)
    dataset = resampled(dataset, options)
    dataset.info = replace(dataset.info, opened=options)
    return dataset


def _open(text: str, options: OpenOptions, progress: Progress | None) -> Dataset:
    if text.startswith(synthetic.SCHEME):
        return synthetic.open_uri(text, options=options)
    path = as_path(text)
    _require_existing(text, path)
    for reader in READERS:
        if reader.claims(path):
            return reader.open_path(path, uri=text, options=options, progress=progress)
    raise DataError(_unknown_format(text, path))


def _require_existing(text: str, path: AnyPath) -> None:
    if text.startswith("hf://"):
        raise DataError(_hub_message(text.removeprefix("hf://").removeprefix("datasets/"), text))
    if "\0" in text or not text:
        raise DataError(f"{text!r} is no path: give a folder, a file or synthetic:droid")
    if path.exists():
        return
    near = _near_sibling(path)
    if near is None and _HUB_ID.fullmatch(text) and not path.parent.exists():
        raise DataError(_hub_message(text, text))
    hint = f": did you mean {near}?" if near else ": give a folder, a file or synthetic:droid"
    raise DataError(f"{text}: no such file or folder{hint}")


def _hub_message(hub: str, text: str) -> str:
    local = hub.rstrip("/").rpartition("/")[2]
    return (
        f"{text}: no such file or folder, and hub ids are not read yet: download it with "
        f"`hf download --repo-type dataset {hub} --local-dir {local}` and give the folder {local}"
    )


def _near_sibling(path: AnyPath) -> AnyPath | None:
    """What ``path`` may have meant: a near name where the first of its parts does not exist."""
    for part in (path, *path.parents):
        if part.parent.is_dir() and not part.exists():
            try:
                names = sorted(entry.name for entry in part.parent.iterdir())
            except OSError:
                return None
            near = difflib.get_close_matches(part.name, names, n=1)
            return part.parent / near[0] / path.relative_to(part) if near else None
    return None


def _unknown_format(text: str, path: AnyPath) -> str:
    known = "; ".join(reader.name for reader in READERS) + "; synthetic:droid"
    if not path.is_dir():
        return f"{text}: this type of file is not read. Supported: {known}"
    if path.name == "meta" and (path / "info.json").is_file():
        return f"{text} is the metadata of a LeRobot dataset: give its parent folder {path.absolute().parent}"
    try:
        inside = sorted(entry for entry in path.iterdir() if any(reader.claims(entry) for reader in READERS))
    except OSError as error:
        return f"{text} cannot be read: {error.strerror}"
    if inside:
        names = ", ".join(entry.name for entry in inside[:5])
        return f"{text} is no dataset itself but holds some ({names}): give one of them, such as {inside[0]}"
    return f"{text} is no dataset: there is no meta/info.json in it. Supported: {known}"
