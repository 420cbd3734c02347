"""Arrays in safetensors files: no code in them, and sizes are checked by the library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fastki.data.extras import need
from fastki.errors import DataError
from fastki.files import atomic_path


def require_safetensors() -> None:
    """DataError, with the command that installs it, where the library is absent."""
    need("safetensors.numpy", extra="export", what="and writing safetensors")


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name; the format that PyTorch's readers look for stands in the header."""
    numpy = need("safetensors.numpy", extra="export", what="and writing safetensors")
    with atomic_path(path) as temporary:  # The library's own file could be read by its owner alone.
        numpy.save_file(dict(tensors), str(temporary), metadata={"format": "pt"})


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """The file opened: ``keys()``, and ``get_tensor(name)``, which reads one.

    Raises:
        DataError: it is missing or damaged.
    """
    library = need("safetensors", extra="export", what="and writing safetensors")
    try:
        with library.safe_open(str(path), framework="np") as file:
            yield file
    except (OSError, library.SafetensorError) as error:
        raise DataError(f"{path} is damaged ({error}): export again") from error
