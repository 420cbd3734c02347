"""Datasets on the Hugging Face hub: fetched into its cache, and of their files only those that hold numbers.

A dataset goes by ``user/name`` or ``hf://user/name``, both also with ``@revision``; with ``hf://`` a folder or file
in the repository may follow: ``hf://user/name@main/some/folder``.
"""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast
from urllib.parse import unquote

from fastki.data.files import read_json_object, stay_inside
from fastki.data.paths import AnyPath
from fastki.errors import DataError

SCHEME = "hf://"
_NAME = re.compile(r"([A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*)(?:@([^/@]+))?(?:/(.*))?")
_SNAPSHOTS = "snapshots"
_SUFFIXES = (".hdf5", ".h5", ".npz", ".npy", ".zarr", ".zip", ".toml", ".parquet", ".json")  # Of mistyped paths.

_ALWAYS = ".gitattributes"  # In every repository: the library warns when it is asked for nothing that is there.
# What says which formats a repository holds, small files all.
_MARKS = ("meta/info.json", "features.json", "dataset_info.json")
_ZARR_MARKS = (".zgroup", ".zarray", "zarr.json")
_FILES = ("*.hdf5", "*.h5", "*.npz", "*.npy", "*.zarr.zip", "mix.toml")
_NEVER = (
    "videos/*",
    "*/videos/*",
    "images/*",
    "*/images/*",
    "meta/episodes_stats.jsonl",
    "*/meta/episodes_stats.jsonl",
)


class HubError(DataError):
    """The hub does not give a dataset."""


class NotOnHubError(HubError):
    """It has none of that name, or none that this user may see."""


class UnreachableHubError(HubError):
    """There is no network, or none is wanted, and the cache does not hold the dataset."""


@dataclass(frozen=True)
class HubName:
    """What a user's word for a dataset on the hub says.

    >>> name = parse_hub_name("hf://lerobot/droid_100@v2.0")
    >>> name.repo, name.revision, str(name)
    ('lerobot/droid_100', 'v2.0', 'hf://lerobot/droid_100@v2.0')

    Attributes:
        repo: such as ``lerobot/droid_100``.
        revision: branch, tag or commit; None for the newest.
        inside: folder or file in the repository, "" for all of it.
    """

    repo: str
    revision: str | None = None
    inside: str = ""

    def __str__(self) -> str:
        revision = f"@{self.revision.replace('/', '%2F')}" if self.revision else ""
        return f"{SCHEME}{self.repo}{revision}{'/' if self.inside else ''}{self.inside}"


def parse_hub_name(text: str) -> HubName | None:
    """``text`` as a name on the hub, None if it is none; without ``hf://`` it may be a relative path as well.

    Raises:
        DataError: it has ``hf://`` but no user and name.
    """
    explicit = text.startswith(SCHEME)
    if not explicit and PurePosixPath(text).suffix in _SUFFIXES:
        return None
    match = _NAME.fullmatch(text.removeprefix(SCHEME).removeprefix("datasets/" if explicit else "").rstrip("/"))
    if match is None or (match[3] and not explicit):
        if explicit:
            raise DataError(f"{text!r} is no name on the hub: give hf://USER/NAME, or hf://USER/NAME@REVISION/FOLDER")
        return None
    inside = stay_inside(match[3], where=text).strip("/") if match[3] else ""
    return HubName(match[1], unquote(match[2]) if match[2] else None, inside)


def fetch_dataset(name: HubName | str, *, patterns: Sequence[str] | None = None) -> Path:
    """The local copy of a dataset on the hub: a folder or file of the hub's cache.

    What the cache has already is not fetched again. Without a network, and where ``HF_HUB_OFFLINE=1`` is set, the
    cache alone is asked.

    Args:
        name: as above.
        patterns: the files to fetch, relative to the repository, ``*`` for any characters; by default the
            metadata, and then of the one dataset in it those files that hold numbers: no videos and no images,
            as far as they lie in files of their own.

    Raises:
        NotOnHubError: no such dataset or revision, or one that is private or gated.
        UnreachableHubError: no network, and the cache does not hold it.
        DataError: a download that failed, or nothing in it that could be a dataset.
    """
    hub = _parsed(name)
    if patterns is not None:
        return snapshot(hub, patterns) / hub.inside
    folder = glob.escape(hub.inside) + "/" if hub.inside else ""
    marks = [f"{folder}{star}{mark}" for mark in _MARKS for star in ("", "*/")]
    marks += [f"{folder}*{mark}" for mark in _ZARR_MARKS]
    root = snapshot(hub, [*marks, *([glob.escape(hub.inside)] if hub.inside else [])])
    base = root / hub.inside
    if base.is_file():
        return base
    pinned = replace(hub, revision=root.name) if root.parent.name == _SNAPSHOTS else hub
    found = _datasets(base)
    if found and base not in found and len(found) > 1:
        return base  # Which of them is meant, the user must say: none is fetched.
    if found:
        base = base if base in found else found.pop()
        snapshot(pinned, list(_numbers(base, root)), _NEVER)
        return base
    snapshot(pinned, [f"{folder}{pattern}" for pattern in _FILES], _NEVER)
    files = [file for pattern in _FILES for file in base.rglob(pattern)]
    if not files:
        raise HubError(f"{hub}: nothing in it is a dataset of a format that is read: give one that is")
    return files[0] if len(files) == 1 else Path(os.path.commonpath([file.parent for file in files]))


def fetch_more(dataset: HubName | str | Path, files: Sequence[str]) -> Path:
    """The folder of ``dataset`` with ``files`` in it as well, paths relative to it: a few videos, say.

    Args:
        dataset: its name, or the folder that :func:`fetch_dataset` gave; the revision stays that folder's.

    Raises:
        DataError: as :func:`fetch_dataset`, or a folder that is not of the hub's cache.
    """
    if isinstance(dataset, Path):
        hub, cache = _cached_name(dataset)
    else:
        hub, cache = _parsed(dataset), None
    folder = f"{hub.inside}/" if hub.inside else ""
    wanted = [glob.escape(folder + stay_inside(file, where=str(hub))) for file in files]
    return snapshot(hub, wanted, cache=cache) / hub.inside


def snapshot(
    hub: HubName,
    allow: Sequence[str],
    ignore: Sequence[str] = (),
    *,
    kind: Literal["dataset", "model"] = "dataset",
    cache: Path | None = None,
) -> Path:
    """The repository's folder in the cache, once the files that match ``allow`` and not ``ignore`` are there.

    Raises:
        NotOnHubError, UnreachableHubError, HubError, DataError: see :func:`fetch_dataset`.
    """
    from huggingface_hub import errors, snapshot_download

    fetch = f"`hf download {'--repo-type dataset ' if kind == 'dataset' else ''}{hub.repo}`"
    # The error of the library that speaks HTTP: requests, httpx or httpx2, by version.
    http_error = cast(type[Exception], errors.HfHubHTTPError.__bases__[0])
    try:
        return Path(
            snapshot_download(
                hub.repo,
                repo_type=kind,
                revision=hub.revision,
                cache_dir=cache,
                allow_patterns=[*allow, _ALWAYS],
                ignore_patterns=list(ignore),
            )
        )
    except errors.HFValidationError as error:
        raise HubError(f"{hub} is no name on the hub ({_first(error)}): give USER/NAME") from error
    # Before the errors of the hub's answers, one of whose children it is in older versions of the library.
    except errors.LocalEntryNotFoundError as error:
        raise UnreachableHubError(
            f"{hub}: the hub cannot be reached, and what is needed is not in its cache: try again with a network, "
            f"or run {fetch} where there is one"
        ) from error
    except errors.GatedRepoError as error:
        raise NotOnHubError(
            f"{hub} is gated: accept its conditions on its page of the hub, then run `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        mend = "leave it out, or give one that it has"
        raise NotOnHubError(f"{hub}: the {kind} has no revision {hub.revision!r}: {mend}") from error
    except errors.RepositoryNotFoundError as error:
        raise NotOnHubError(
            f"{hub}: the hub has no such {kind}, or a private one: check the name, or run `hf auth login`"
        ) from error
    except (http_error, OSError, RuntimeError, ValueError) as error:
        refused = getattr(getattr(error, "response", None), "status_code", None) in (401, 403)
        mend = "run `hf auth login`" if refused else f"try again, or run {fetch}"
        raise HubError(f"{hub}: the download failed ({_first(error)}): {mend}") from error


def in_cache(folder: AnyPath) -> bool:
    """Whether a dataset's folder lies in the hub's cache, so that absent videos were not asked for."""
    return any(part.parent.name == _SNAPSHOTS and "--" in part.parents[1].name for part in (folder, *folder.parents))


def _parsed(name: HubName | str) -> HubName:
    hub = parse_hub_name(name) if isinstance(name, str) else name
    if hub is None:
        raise DataError(f"{name!r} is no name on the hub: give USER/NAME, or USER/NAME@REVISION")
    return hub


def _cached_name(folder: Path) -> tuple[HubName, Path]:
    """The dataset whose copy ``folder`` is, by the names that the hub's cache gives to folders; and that cache."""
    for part in (folder, *folder.parents):
        kind, *names = part.parent.parent.name.split("--")
        if part.parent.name == _SNAPSHOTS and kind == "datasets" and len(names) == 2:
            inside = folder.relative_to(part).as_posix()
            return HubName("/".join(names), part.name, "" if inside == "." else inside), part.parents[2]
    raise DataError(f"{folder} is no folder of the hub's cache: fetch the dataset anew by its name")


def _datasets(base: Path) -> set[Path]:
    """The folders in ``base`` that the marks say are datasets."""
    ends = [path for mark in _ZARR_MARKS[1:] for path in base.glob(f"**/meta/episode_ends/{mark}")]
    return {
        *(path.parents[1] for path in base.glob("**/meta/info.json")),
        *(path.parent for path in base.glob("**/features.json")),
        *(path.parents[2] for path in ends),
    }


def _numbers(dataset: Path, root: Path) -> Iterator[str]:
    """Patterns of the files of the one dataset in folder ``dataset`` that hold numbers."""
    inside = dataset.relative_to(root).as_posix()
    folder = "" if inside == "." else glob.escape(inside) + "/"
    if (dataset / "meta/info.json").is_file():
        yield f"{folder}meta/*.json*"
        yield f"{folder}meta/*.parquet"
        yield f"{folder}data/*.parquet"
    elif (dataset / "features.json").is_file():
        yield f"{folder}*.json"
        yield f"{folder}*.tfrecord*"
    for mark in _ZARR_MARKS[1:]:
        for file in dataset.glob(f"**/{mark}"):
            if _is_numbers(read_json_object(file)):
                yield f"{glob.escape(file.parent.relative_to(root).as_posix())}/*"


def _is_numbers(metadata: dict[str, Any]) -> bool:
    """Whether a Zarr array holds no more than a few numbers a row, as pictures do not."""
    shape = metadata.get("shape")
    if not isinstance(shape, list) or not all(isinstance(size, int) for size in shape):
        return False
    return len(shape) <= 2 or math.prod(shape[1:]) <= 2**10


def _first(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).rstrip(":. ")
