"""``open_dataset``: from a path or name to the reader that knows the format."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from fastki.data import mixture, synthetic
from fastki.data.camera_slots import chosen_slots
from fastki.data.episode import Dataset
from fastki.data.formats import hdf5, lerobot, numpy_files, rlds, zarr_buffer
from fastki.data.hub import SCHEME as HUB
from fastki.data.hub import HubError, fetch_dataset, parse_hub_name
from fastki.data.options import OpenOptions, Progress
from fastki.data.paths import AnyPath, as_path, exists, is_local, reaching, relative_name
from fastki.data.views import resampled, without_bad
from fastki.errors import DataError, UsageError

# Entries of a folder that is no dataset among which some are looked for; if it is remote, each costs many requests.
_LOOKED_AT, _LOOKED_AT_REMOTE = 64, 8


class OpenPath(Protocol):
    """What opens a path of one format."""

    def __call__(self, path: AnyPath, *, uri: str, options: OpenOptions, progress: Progress | None) -> Dataset: ...


@dataclass(frozen=True)
class Reader:
    """One format: what it is called, whether a path is of it, how such a path is opened, and whether it has splits."""

    name: str
    claims: Callable[[AnyPath], bool]
    open_path: OpenPath
    has_splits: bool = False


READERS = (
    Reader("LeRobot v2.0, v2.1 and v3.0 folders (meta/info.json)", lerobot.claims, lerobot.open_path, has_splits=True),
    Reader("Zarr replay buffers (data/ and meta/episode_ends)", zarr_buffer.claims, zarr_buffer.open_path),
    Reader("RLDS / TFDS folders (features.json and TFRecord shards)", rlds.claims, rlds.open_path, has_splits=True),
    Reader("HDF5 files of DROID, robomimic, LIBERO and ALOHA", hdf5.claims, hdf5.open_path, has_splits=True),
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
    slots: str | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The dataset at ``uri``, its episodes read when they are asked for.

    Args:
        uri: a folder or file of a supported format, here or on a remote file system; ``user/name`` on the hub;
            or ``synthetic:droid`` (also with ``?episodes=20&seed=3``).
        action_key, state_key, split, robot, fps, hold, skip_bad, slots: see :class:`OpenOptions`.
        progress: told what goes on while a dataset without an index is listed.

    Raises:
        DataError: no such dataset, a format that is not read, no or several possible action keys, or damaged
            files; the message names the mend.
        UsageError: an option is out of range.
    """
    options = OpenOptions(action_key, state_key, split, robot, fps, hold, skip_bad, slots)
    return open_with(uri, options, progress=progress)


def open_with(uri: str | os.PathLike[str], options: OpenOptions, *, progress: Progress | None = None) -> Dataset:
    """As :func:`open_dataset`, the options in one value."""
    dataset = _open(str(uri), options, progress)
    if isinstance(dataset, mixture.Mixture):
        return dataset
    if options.skip_bad:
        dataset = without_bad(dataset, progress=progress)
    if options.slots is not None:
        chosen_slots(options.slots, dataset.info.cameras)  # Known to be wrong now, not when a picture is needed.
    dataset = resampled(dataset, options)
    dataset.info = replace(dataset.info, opened=options)
    return dataset


def is_dataset(path: AnyPath) -> bool:
    """Whether ``path`` looks like a dataset of a supported format; it may still be damaged."""
    return any(reader.claims(path) for reader in READERS)


def _open(text: str, options: OpenOptions, progress: Progress | None) -> Dataset:
    if text.startswith(synthetic.SCHEME):
        return synthetic.open_uri(text, options=options)
    with reaching(text):
        uri, path = _locate(text)
        return _open_at(path, uri, options, progress)


def _open_at(path: AnyPath, uri: str, options: OpenOptions, progress: Progress | None) -> Dataset:
    if mixture.claims(path):
        return mixture.open_mixture(path, uri=uri, options=options, open_part=open_with)
    for reader in READERS:
        if reader.claims(path):
            if options.split is not None and not reader.has_splits:
                raise UsageError(f"{uri}: {reader.name} have no splits by name: leave --split {options.split} out")
            return reader.open_path(path, uri=uri, options=options, progress=progress)
    raise DataError(_unknown_format(uri, path))


def _locate(text: str) -> tuple[str, AnyPath]:
    """The dataset's full name, and where its files lie: those of the hub are fetched first."""
    if "\0" in text or not text:
        raise DataError(f"{text!r} is no path: give a folder, a file or synthetic:droid")
    hub = parse_hub_name(text)
    if hub is not None and text.startswith(HUB):
        return str(hub), fetch_dataset(hub)
    path = as_path(text)
    if exists(path):
        return text, path
    near = _near_sibling(path)
    if hub is None or near is not None or path.parent.exists():
        mend = f"did you mean {near}?" if near else "give a folder, a file or synthetic:droid"
        mend += f", or {hub} for the one on the hub" if hub and not near else ""
        raise DataError(f"{text}: no such file or folder: {mend}")
    try:
        return str(hub), fetch_dataset(hub)
    except HubError as error:
        raise type(error)(f"there is no folder {text} here, and {error}") from error


def _near_sibling(path: AnyPath) -> AnyPath | None:
    """What ``path`` may have meant: a near name where the first of its parts does not exist."""
    for part in (path, *path.parents):
        if part.parent.is_dir() and not part.exists():
            try:
                names = sorted(entry.name for entry in part.parent.iterdir())
            except OSError:
                return None
            near = difflib.get_close_matches(part.name, names, n=1)
            return part.parent / near[0] / relative_name(path, part) if near else None
    return None


def _unknown_format(text: str, path: AnyPath) -> str:
    known = "; ".join(reader.name for reader in READERS) + "; synthetic:droid"
    if not path.is_dir():
        return f"{text}: this type of file is not read. Supported: {known}"
    if path.name == "meta" and (path / "info.json").is_file():
        return f"{text} is the metadata of a LeRobot dataset: give its parent folder {path.absolute().parent}"
    try:
        entries: list[AnyPath] = sorted(path.iterdir(), key=lambda entry: entry.name)
        entries = entries[: _LOOKED_AT if is_local(path) else _LOOKED_AT_REMOTE]
        inside = [entry.name for entry in entries if is_dataset(entry)]
    except OSError as error:
        return f"{text} cannot be read: {error.strerror or error}"
    if inside:
        names = ", ".join(inside[:5])
        whole = text.rstrip("/") + "/" + inside[0]
        return f"{text} is no dataset itself but holds some ({names}): give one of them, such as {whole}"
    return f"{text} is no dataset: it holds nothing that marks one. Supported: {known}"
