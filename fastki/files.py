"""Files that are whole or absent: written to a temporary name beside the target, then renamed."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastki.errors import UsageError


def require_writable(path: Path) -> None:
    """Fail before the work rather than after it: nothing is created.

    Raises:
        UsageError: a file stands where ``path`` needs a folder, or its folder can't be written to.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file, so {path} can't be written: choose another --out")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"no permission to write {path}: choose another --out")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file so that a killed run never leaves half of one."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, plain: Any) -> None:
    """Write what JSON can hold as one line.

    Half characters, as in the name of a file that is no UTF-8, become the escapes that JSON has for them.
    """
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table of rows by column, None as an empty cell; half characters are written as ``\\udcff``."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of ``path``, renamed to it when the block ends without an error.

    Raises:
        UsageError: the folder can't be written to.
    """
    with _clear_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends without an error.

    Raises:
        UsageError: the place can't be written to.
    """
    named, path = path, path.resolve()  # A link stays one: what it points to is replaced.
    if Path.cwd().is_relative_to(path):
        raise UsageError(f"{named} is the folder you are in, so it can't be replaced: choose another --out")
    with _clear_errors(named):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            old = temporary.with_name(temporary.name + ".old")
            if path.exists():
                path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{error.filename} is a file, so {path} can't be written: choose another --out") from error
    except PermissionError as error:
        raise UsageError(f"no permission to write {path}: choose another --out") from error
    except OSError as error:
        raise UsageError(f"{path} can't be written ({error.strerror or error}): choose another --out") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
