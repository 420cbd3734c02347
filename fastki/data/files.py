"""Reading small files, paths that stay inside a dataset, and fingerprints; errors name the file."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from fastki.data.paths import AnyPath, is_local
from fastki.errors import DataError

_FIELD = re.compile(r"\{(\w+)(?::(0?\d{0,2})d)?\}")
_WHOLE_BYTES = 32 * 2**20
_LARGEST_TEXT = 2**29
_SAMPLE_BYTES = 2**16
_SAMPLED_FILES = 256


def read_text(path: AnyPath) -> str:
    """The UTF-8 text of ``path``, of 512 MiB at most."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_TEXT + 1)
        if len(data) > _LARGEST_TEXT:
            raise DataError(
                f"{path} is larger than the {_LARGEST_TEXT >> 20} MiB that metadata may have: it is damaged"
            )
        return str(data, "utf-8")
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the dataset is incomplete; fetch it again") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def read_json_object(path: AnyPath) -> dict[str, Any]:
    """The JSON object in ``path``."""
    return _json_object(read_text(path), str(path))


def read_json_lines(path: AnyPath) -> list[dict[str, Any]]:
    """The JSON objects in ``path``, one a line; blank lines don't count."""
    lines = read_text(path).split("\n")
    return [_json_object(line, f"{path}, line {i}") for i, line in enumerate(lines, 1) if line.strip()]


def _json_object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is damaged, not valid JSON ({error}): fetch it again") from error
    if not isinstance(value, dict):
        raise DataError(f"{where} is damaged: a JSON object is expected, not {type(value).__name__}")
    return value


def fill_template(template: str, values: Mapping[str, int | str], *, where: str) -> str:
    """``template`` with its ``{name}`` and ``{name:03d}`` fields filled; the result stays in the dataset.

    >>> fill_template("data/chunk-{chunk_index:03d}/f.parquet", {"chunk_index": 2}, where="info.json")
    'data/chunk-002/f.parquet'
    """

    def fill(match: re.Match[str]) -> str:
        name, width = match.groups()
        if name not in values:
            raise DataError(f"{where}: unknown field {{{name}}} in path {template!r}")
        value = values[name]
        return str(value) if width is None or isinstance(value, str) else format(value, f"{width}d")

    path = _FIELD.sub(fill, template)
    if "{" in path or "}" in path:
        raise DataError(f"{where}: path {template!r} cannot be understood")
    return stay_inside(path, where=where)


def stay_inside(path: str, *, where: str) -> str:
    """``path``, a POSIX path relative to a dataset's folder; DataError if it leads out of that folder."""
    parts = PurePosixPath(path.replace("\\", "/"))
    if not path or "\0" in path or parts.is_absolute() or ".." in parts.parts or PureWindowsPath(path).drive:
        raise DataError(f"{where}: path {path!r} leads out of the dataset's folder and is refused")
    return path


def missing_files(root: AnyPath, names: Iterable[str]) -> list[str]:
    """Those of ``names`` (relative to ``root``) that are no files; each folder is listed only once."""
    listed: dict[str, frozenset[str]] = {}
    missing = []
    for name in names:
        folder, _, leaf = name.rpartition("/")
        if folder not in listed:
            listed[folder] = _files_in(root / folder)
        if leaf not in listed[folder]:
            missing.append(name)
    return missing


def _files_in(folder: AnyPath) -> frozenset[str]:
    try:
        if is_local(folder):
            with os.scandir(folder) as entries:
                return frozenset(entry.name for entry in entries if entry.is_file())
        return frozenset(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError:
        return frozenset()


def fingerprint(facts: Sequence[object], root: AnyPath, names: Sequence[str]) -> str:
    """Hex digest of ``facts`` and of the files ``names`` under ``root``, wherever ``root`` lies.

    Sizes of all files count. Contents count entirely up to 32 MiB in all; beyond that, 64 KiB of the
    beginning, middle and end of 256 files spread over the list.
    """
    digest = hashlib.sha256(repr(tuple(facts)).encode())
    try:
        sizes = [(root / name).stat().st_size for name in names]
        digest.update(repr([(n, s) for n, s in zip(names, sizes, strict=True)]).encode())
        whole = sum(sizes) <= _WHOLE_BYTES
        step = 1 if whole else max(1, len(names) // _SAMPLED_FILES)
        for name, size in zip(names[::step], sizes[::step], strict=True):
            digest.update(_content(root / name, size, whole=whole))
    except OSError as error:
        # Remote file systems tell neither the file nor the reason apart.
        raise DataError(f"{error.filename or root} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()[:32]


def _content(path: AnyPath, size: int, *, whole: bool) -> bytes:
    if whole or size <= 3 * _SAMPLE_BYTES:
        return path.read_bytes()
    with path.open("rb") as file:
        pieces = []
        for offset in (0, size // 2, size - _SAMPLE_BYTES):
            file.seek(offset)
            pieces.append(file.read(_SAMPLE_BYTES))
    return b"".join(pieces)
