"""Checkpoints by URL: their files come into a cache on this machine, once.

``gs://``, ``s3://`` and whatever else fsspec opens. Of a checkpoint come ``params`` and ``assets``; the state of its
training stays where it is. A file that the cache has as it stands at the URL is not fetched again; where the URL can't
be reached, what was fetched whole before will do.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fastki.data.files import stay_inside
from fastki.data.paths import as_path, is_local, is_remote, reaching
from fastki.errors import DataError, UsageError
from fastki.files import atomic_path, write_text
from fastki.model.checkpoint_folder import ASSETS, PARAMS, TREE

if TYPE_CHECKING:
    from upath import UPath

Progress = Callable[[int, int], None]
"""Bytes that are here, and all bytes."""
Stamp = list[Any]
"""Size of a file and what else tells whether it changed."""

_BLOCK = 2**24
_SPARE = 2**28
"""Bytes of the disk that stay free."""
_RECORD = "fetched.json"
_TAGS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "mtime", "created")


def local_checkpoint(path: str | os.PathLike[str], *, progress: Progress | None = None) -> str | os.PathLike[str]:
    """``path`` itself where it is on this machine, else the folder of the cache that now holds the checkpoint.

    Raises:
        DataError: no checkpoint at the URL, no library for it, no network, no room.
    """
    name = os.fspath(path)
    if not is_remote(name):
        return path
    url = name.rstrip("/")
    root, _, last = url.rpartition("/")
    cached = _Cached.of(root if last == PARAMS else url)
    cached.fetch(_checkpoint_files, progress)
    return cached.folder


def local_file(path: str | os.PathLike[str], *, progress: Progress | None = None) -> Path:
    """The same for one file."""
    name = os.fspath(path)
    if is_remote(name):
        base, _, last = name.rpartition("/")
        cached = _Cached(base, _Cached.of(name).folder)
        cached.fetch(lambda url: {last: _one_stamp(f"{url}/{last}")}, progress)
        return cached.folder / last
    local = as_path(name)
    assert is_local(local)
    return local


def cache_folder() -> Path:
    """Where fetched checkpoints lie: ``fastki/checkpoints`` in ``$XDG_CACHE_HOME``, or else in ``~/.cache``."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "fastki" / "checkpoints"


@dataclass(frozen=True)
class _Cached:
    """One URL and its folder in the cache, named as the URL's last part is, since a training step is told by that."""

    url: str
    folder: Path

    @classmethod
    def of(cls, url: str) -> _Cached:
        return cls(url, cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:16] / _last(url))

    def fetch(self, listing: Callable[[str], dict[str, Stamp]], progress: Progress | None) -> None:
        record, whole = self._read_record()
        try:
            files = listing(self.url)
        except DataError:
            if whole:
                return
            raise
        try:
            self._update(files, record, progress)
        except UsageError as error:
            raise DataError(
                f"{self.url} can't be fetched: {self.folder} can't be written; set XDG_CACHE_HOME"
            ) from error

    def _update(self, files: Mapping[str, Stamp], record: dict[str, Stamp], progress: Progress | None) -> None:
        paths = {name: self._path(name) for name in files}
        todo = [name for name in files if record.get(name) != files[name] or not paths[name].is_file()]
        for name in set(record) - set(files):
            self._path(name).unlink(missing_ok=True)
        record = {name: stamp for name, stamp in record.items() if name in files and name not in todo}
        total, left = (sum(files[name][0] for name in names) for names in (files, todo))
        self._require_room(left)
        if progress and todo:
            progress(total - left, total)
        for name in todo:
            for size in self._copy(name, files[name][0]):
                left -= size
                if progress:
                    progress(total - left, total)
            record[name] = files[name]
            self._write_record(record, whole=False)
        self._write_record(record, whole=True)

    def _copy(self, name: str, expected: int) -> Any:
        """Fetch one file; the sizes of its pieces as they come."""
        source = as_path(f"{self.url}/{name}")
        done = 0
        with atomic_path(self._path(name)) as temporary, temporary.open("wb") as target:
            with reaching(str(source)):
                opened = source.open("rb")
            with opened as file:
                while True:
                    with reaching(str(source)):
                        block = file.read(_BLOCK)
                    if not block:
                        break
                    target.write(block)
                    done += len(block)
                    yield len(block)
            if done != expected:
                raise DataError(f"{source} broke off after {done:,} of {expected:,} bytes: try again")

    def _path(self, name: str) -> Path:
        return self.folder / stay_inside(name, where=self.url)

    def _read_record(self) -> tuple[dict[str, Stamp], bool]:
        """What of it is here already, and whether that is all."""
        try:
            document = json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
            return dict(document["files"]), bool(document["whole"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}, False

    def _write_record(self, record: Mapping[str, Stamp], *, whole: bool) -> None:
        write_text(self.folder / _RECORD, json.dumps({"url": self.url, "whole": whole, "files": record}))

    def _require_room(self, size: int) -> None:
        there = next(parent for parent in self.folder.parents if parent.exists())
        free = shutil.disk_usage(there).free
        if size + _SPARE > free:
            raise DataError(
                f"{self.url} needs {size / 1e9:.1f} GB, but {there} has {free / 1e9:.1f} GB free: set XDG_CACHE_HOME "
                "to a folder with more room"
            )


def _checkpoint_files(url: str) -> dict[str, Stamp]:
    """Relative to the root of a checkpoint."""
    weights = _files_under(url, PARAMS)
    if f"{PARAMS}/{TREE}" in weights:
        return weights | _files_under(url, ASSETS)
    alone = _files_under(url, "")
    if TREE not in alone:
        raise DataError(f"{url} is no checkpoint: it holds neither {PARAMS}/{TREE} nor {TREE}")
    return alone


def _files_under(url: str, folder: str) -> dict[str, Stamp]:
    root = _remote(url)
    base = root.path.rstrip("/") + "/"
    with reaching(url):
        found = root.fs.find(base + folder, detail=True)
    names = {path.removeprefix(base): info for path, info in found.items()}
    return {name: _stamp(info) for name, info in names.items() if not name.endswith("/")}


def _one_stamp(url: str) -> Stamp:
    file = _remote(url)
    with reaching(url):
        return _stamp(file.fs.info(file.path))


def _remote(url: str) -> UPath:
    path = as_path(url)
    assert not is_local(path)
    return cast("UPath", path)


def _stamp(info: Mapping[str, Any]) -> Stamp:
    tag = next((str(info[name]) for name in _TAGS if info.get(name) is not None), "")
    return [int(info.get("size") or 0), tag]


def _last(url: str) -> str:
    """The last part of a URL, as the name of a file or folder."""
    return url.rstrip("/").rpartition("/")[2].replace(":", "_") or "checkpoint"
