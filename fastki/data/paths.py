"""Places of files, here or elsewhere: ``pathlib`` for local ones, fsspec behind the same methods for URLs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, Union

from fastki.errors import DataError

if TYPE_CHECKING:
    from upath import UPath

AnyPath: TypeAlias = Union[Path, "UPath"]
"""A local path, or a remote one with the same methods (``open``, ``iterdir``, ``/`` …)."""

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


def is_remote(text: str) -> bool:
    """Whether ``text`` is a URL such as ``s3://bucket/folder``; ``file://`` is local."""
    match = _SCHEME.match(text)
    return match is not None and match[1].lower() not in ("file", "local")


def as_path(text: str | os.PathLike[str]) -> AnyPath:
    """The place that ``text`` names: a path of this machine, or a URL that fsspec knows.

    Raises:
        DataError: a URL whose scheme no installed library opens; the message names the one to install.
    """
    text = os.fspath(text)
    if not is_remote(text):
        return Path(re.sub(r"^(file|local)://", "", text)).expanduser()
    from upath import UPath

    scheme = text.partition("://")[0].lower()
    try:
        path = UPath(text)
        _ = path.fs  # Connects nowhere, but imports what the scheme needs.
    except (ImportError, ValueError) as error:
        extra = _EXTRAS.get(scheme)
        mend = f"`pip install 'fastki[{extra}]'`" if extra else "use a local path, s3:// or gs://"
        raise DataError(f"{text}: paths of the form {scheme}:// cannot be opened here ({error}): {mend}") from error
    return path


def is_local(path: AnyPath) -> TypeGuard[Path]:
    """Whether ``path`` lies on this machine, so that files may be mapped into memory."""
    return isinstance(path, Path)


def relative_name(path: AnyPath, root: AnyPath) -> str:
    """The POSIX path from folder ``root`` to ``path``, which lies in it.

    >>> relative_name(Path("/data/set/meta/info.json"), Path("/data/set"))
    'meta/info.json'
    """
    return path.as_posix().removeprefix(root.as_posix()).lstrip("/")
