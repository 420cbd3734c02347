"""Where a TFDS dataset lies, and what its ``dataset_info.json`` says of splits and shards."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastki.data.files import fill_template, missing_files, read_json_object
from fastki.data.paths import AnyPath
from fastki.errors import DataError

FEATURES = "features.json"
INFO = "dataset_info.json"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_NAMED = re.compile(r"(?P<dataset>.+)-(?P<split>[\w-]+)\.tfrecord-(?P<index>\d{5,})(-of-(?P<total>\d{5,}))?")
_SHARD = re.compile(r".+\.tfrecord(-\d+(-of-\d+)?)?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_MOST_SHARDS = 2**17
_MOST_ENTRIES = 5000  # A folder of more is not searched for a dataset within it.


@dataclass(frozen=True)
class Split:
    """One split.

    Attributes:
        name: such as "train".
        shards: its files, relative to the dataset's folder.
        lengths: the examples in each; None where ``dataset_info.json`` does not say.
        missing: those of ``shards`` that are not there.
    """

    name: str
    shards: tuple[str, ...]
    lengths: tuple[int, ...] | None
    missing: frozenset[str] = frozenset()

    def __str__(self) -> str:
        count = "" if self.lengths is None else f"{sum(self.lengths)} episodes"
        absent = "its files are absent" if self.is_absent else ""
        return f"{self.name} ({', '.join(filter(None, (count, absent)))})" if count or absent else self.name

    @property
    def is_absent(self) -> bool:
        """Whether none of its files are there."""
        return len(self.missing) == len(self.shards)


def is_shard(path: AnyPath) -> bool:
    """Whether ``path`` is named as a shard; OSError where that cannot be seen."""
    return _SHARD.fullmatch(path.name) is not None and path.is_file()


def locate(path: AnyPath) -> AnyPath | None:
    """The dataset's folder at or in ``path``: the newest of several versions, or the only folder within.

    Raises:
        OSError: a folder cannot be read.
    """
    for _ in range(4):
        if not path.is_dir():
            return None
        if _is_dataset(path):
            return path
        folders = [entry for entry in itertools.islice(_entries(path), _MOST_ENTRIES) if entry.is_dir()]
        versions = [entry for entry in folders if _VERSION.fullmatch(entry.name)]
        for version in sorted(versions, key=_version, reverse=True):
            if _is_dataset(version):
                return version
        folders = [entry for entry in folders if not entry.name.startswith(".")]
        if len(folders) != 1:
            return None
        path = folders[0]
    return None


def _is_dataset(path: AnyPath) -> bool:
    """Whether a folder has two of what makes one: the two JSON files and shards (other libraries use the names)."""
    marks = (path / FEATURES).is_file() + (path / INFO).is_file()
    return marks == 2 or (marks == 1 and any(_SHARD.fullmatch(entry.name) for entry in _entries(path)))


def _entries(path: AnyPath) -> Iterator[AnyPath]:
    yield from path.iterdir()


def _version(path: AnyPath) -> list[int]:
    return [int(part) for part in path.name.split(".")]


def read_info(root: AnyPath) -> dict[str, Any]:
    """What ``dataset_info.json`` in folder ``root`` says.

    Raises:
        DataError: it is missing or damaged, or its shards are no TFRecord files.
    """
    info = read_json_object(root / INFO)
    kind = info.get("fileFormat") or "tfrecord"
    if kind != "tfrecord":
        raise DataError(f"{root / INFO}: its shards are {kind} files, of which only tfrecord is read: convert them")
    return info


def read_splits(root: AnyPath, info: Mapping[str, Any]) -> dict[str, Split]:
    """The splits of the dataset in folder ``root`` by name; ``info`` is its ``dataset_info.json``.

    Shards that bear another dataset's name, and splits that are not listed at all, are found by their names.

    Raises:
        DataError: damaged metadata, or no split at all.
    """
    where, names = str(root / INFO), _names_in(root)
    found = _found_shards(names)
    listed = info.get("splits") or []
    if not isinstance(listed, list) or not all(isinstance(entry, dict) and entry.get("name") for entry in listed):
        raise DataError(f"{where} is damaged: its 'splits' are no list of objects with names; fetch it again")
    splits = {}
    for entry in listed:
        name, lengths = str(entry.get("name")), _lengths(entry, where)
        count = len(lengths) if lengths is not None else _count(entry.get("numShards", 0), where, most=_MOST_SHARDS)
        shards = _shard_names(info, entry, count, where)
        missing = frozenset(missing_files(root, [name for name in shards if "/" in name]))
        missing |= {name for name in shards if "/" not in name and name not in names}
        others = found.get(name, ())
        if others and len(missing) == count and count in (0, len(others)):
            shards, missing = others, frozenset()
        if shards:
            splits[name] = Split(name, shards, lengths or None, missing)
    if not listed:
        splits = {name: Split(name, names, None) for name, names in found.items()}
    if not splits:
        raise DataError(f"{where} lists no splits, and no shards lie beside it: fetch the dataset again")
    return splits


def _shard_names(info: Mapping[str, Any], entry: Mapping[str, Any], count: int, where: str) -> tuple[str, ...]:
    template = str(entry.get("filepathTemplate") or _TEMPLATE)
    digits = max(5, len(str(count)))
    values: dict[str, int | str] = {
        "DATASET": str(info.get("name") or ""),
        "SPLIT": str(entry.get("name")),
        "FILEFORMAT": "tfrecord",
        "NUM_SHARDS": f"{count:0{digits}d}",
    }
    names = []
    for i in range(count):
        index = f"{i:0{digits}d}"
        shard = {"SHARD_INDEX": index, "SHARD_X_OF_Y": f"{index}-of-{count:0{digits}d}"}
        names.append(fill_template(template, {**values, **shard}, where=where))
    return tuple(names)


def _names_in(root: AnyPath) -> frozenset[str]:
    try:
        return frozenset(entry.name for entry in root.iterdir())
    except OSError as error:
        raise DataError(f"{root} cannot be read: {error.strerror or error}") from error


def _found_shards(names: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Split → its shards among ``names``, such as TFDS gives them; only sets of which none is absent."""
    found: dict[tuple[str, str, str | None], list[tuple[int, str]]] = {}
    for name in names:
        if match := _NAMED.fullmatch(name):
            key = match["dataset"], match["split"], match["total"]
            found.setdefault(key, []).append((int(match["index"]), name))
    return {
        split: tuple(name for _, name in sorted(shards))
        for (_, split, total), shards in sorted(found.items(), key=lambda item: (len(item[1]), str(item[0])))
        if total is None or len(shards) == int(total)
    }


def _lengths(entry: Mapping[str, Any], where: str) -> tuple[int, ...] | None:
    lengths = entry.get("shardLengths", entry.get("shard_lengths"))
    if lengths is None:
        return None
    if not isinstance(lengths, list) or len(lengths) > _MOST_SHARDS:
        raise DataError(f"{where} is damaged: 'shardLengths' is no list of numbers; fetch it again")
    return tuple(_count(length, where) for length in lengths)


def _count(value: Any, where: str, *, most: int = 2**40) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 14 and int(text) <= most):
        raise DataError(f"{where} is damaged: {text[:40]!r} is no number of shards or examples; fetch it again")
    return int(text)
