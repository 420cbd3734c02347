"""``open_dataset``: from a path or name to the reader that knows the format."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fastki.data import lerobot, numpy_files, synthetic
from fastki.data.episode import Dataset
from fastki.errors import DataError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class OpenPath(Protocol):
    """What opens a path of one format."""

    def __call__(self, path: Path, *, uri: str, action_key: str | None, state_key: str | None) -> Dataset: ...


@dataclass(frozen=True)
class Reader:
    """One format: what it is called, whether a path is of it, and how such a path is opened."""

    name: str
    claims: Callable[[Path], bool]
    open_path: OpenPath


READERS = (
    Reader("LeRobot v2.0, v2.1 and v3.0 folders (meta/info.json)", lerobot.claims, lerobot.open_path),
    Reader(".npy and .npz files", numpy_files.claims, numpy_files.open_path),
)


def open_dataset(
    uri: str | os.PathLike[str], *, action_key: str | None = None, state_key: str | None = None
) -> Dataset:
    """The dataset at ``uri``, its episodes read when they are asked for.

    Args:
        uri: a LeRobot folder, an ``.npy`` or ``.npz`` file, or ``synthetic:droid`` (also with
            ``?episodes=20&seed=3``).
        action_key: where the actions are, several keys joined by commas; found if None.
        state_key: likewise for the state; a dataset need not have one.

    Raises:
        DataError: no such dataset, a format that is not read, no or several possible action keys, or damaged
            files; the message names the mend.
    """
    text = os.fspath(uri)
    if text.startswith(synthetic.SCHEME):
        return synthetic.open_uri(text, action_key=action_key, state_key=state_key)
    path = Path(text).expanduser()
    _require_existing(text, path)
    for reader in READERS:
        if reader.claims(path):
            return reader.open_path(path, uri=text, action_key=action_key, state_key=state_key)
    raise DataError(_unknown_format(text, path))


def _require_existing(text: str, path: Path) -> None:
    if "://" in text:
        hub = text.removeprefix("hf://").removeprefix("datasets/") if text.startswith("hf://") else None
        raise DataError(_hub_message(hub, text) if hub else f"{text}: only local paths are read: fetch it first")
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


def _near_sibling(path: Path) -> Path | None:
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


def _unknown_format(text: str, path: Path) -> str:
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
