"""Places of files, here or elsewhere: ``pathlib`` for local ones, fsspec behind the same methods for URLs."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, Union

from fastki.errors import DataError

if TYPE_CHECKING:
    from upath import UPath

AnyPath: TypeAlias = Union[Path, "UPath"]
"""A local path, or a remote one with the same methods (``open``, ``iterdir``, ``/`` …)."""

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
# What the libraries of remote file systems raise besides OSError where the network or the rights fail.
_FAILURES = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)


def is_remote(text: str) -> bool:
    """Whether ``text`` is a URL such as ``s3://bucket/folder``; ``file://`` is local."""
    match = _SCHEME.match(text)
    return match is not None and match[1].lower() not in ("file", "local")


def as_path(text: str | os.PathLike[str]) -> AnyPath:
    """The place that ``text`` names: a path of this machine, or a URL that fsspec knows.

    Raises:
        DataError: a URL whose scheme no installed library opens; the message names the one to install. Or the
            home folder of a user who does not exist.
    """
    text = os.fspath(text)
    if not is_remote(text):
        path = Path(re.sub(r"^(file|local)://(localhost(?=/))?", "", text, flags=re.IGNORECASE))
        try:
            return path.expanduser()
        except RuntimeError as error:
            raise DataError(f"{text}: there is no user {path.parts[0]}: give the path without ~") from error
    from upath import UPath

    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    try:
        remote = UPath(f"{scheme}://{rest}")
        _ = remote.fs  # Connects nowhere, but imports what the scheme needs.
    except _failures(ImportError, ValueError) as error:
        extra = _EXTRAS.get(scheme)
        mend = f"`pip install 'fastki[{extra}]'`" if extra else "use a local path, s3:// or gs://"
        raise DataError(f"{text}: paths of the form {scheme}:// cannot be opened here ({error}): {mend}") from error
    return remote


def exists(path: AnyPath) -> bool:
    """Whether there is anything at ``path``.

    Raises:
        DataError: that cannot be told, since the network or the rights fail, say.
    """
    with reaching(str(path)):
        return path.exists()


@contextlib.contextmanager
def reaching(name: str) -> Iterator[None]:
    """Turns what fails on the way to ``name`` into a DataError.

    Raises:
        DataError: with the reason, and what to look at.
    """
    try:
        yield
    except _failures() as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        mend = "check the network and your credentials" if is_remote(name) else "check its name and your rights"
        raise DataError(f"{name} cannot be read ({reason}): {mend}") from error


def _failures(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """OSError, its like in those libraries that are loaded, and ``others``."""
    loaded = ((sys.modules.get(module), name) for module, name in _FAILURES)
    return (OSError, *others, *(getattr(module, name) for module, name in loaded if hasattr(module, name)))


def is_local(path: AnyPath) -> TypeGuard[Path]:
    """Whether ``path`` lies on this machine, so that files may be mapped into memory."""
    # In older versions of universal_pathlib its remote paths are children of Path too.
    return isinstance(path, Path) and not hasattr(type(path), "fs")


def relative_name(path: AnyPath, root: AnyPath) -> str:
    """The POSIX path from folder ``root`` to ``path``, which lies in it.

    >>> relative_name(Path("/data/set/meta/info.json"), Path("/data/set"))
    'meta/info.json'
    """
    folder = root.as_posix()
    return path.as_posix().removeprefix("" if folder == "." else folder).lstrip("/")
