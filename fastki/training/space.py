"""Room for checkpoints, found wanting before training rather than hours into it."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastki.errors import UsageError
from fastki.files import require_writable

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays of a tree (or of ``jax.ShapeDtypeStruct``), whole and uncompressed.

    A checkpoint of a training state takes this much at most, but for a few kilobytes.
    """
    return sum(
        math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
        for leaf in jax.tree.leaves(tree)
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    )


def check_space(
    folder: Path,
    bytes_needed: int,
    *,
    what: str = "the checkpoints to be kept need",
    mend: str = "keep fewer, make room",
) -> None:
    """Whether ``folder``, which need not exist yet, can take so many bytes.

    Args:
        folder: to be written.
        bytes_needed: there.
        what: needs them, and
        mend: what a user can do besides choosing another folder, for the message.

    ``keep`` checkpoints and the one being written are ``keep + 1``, since the oldest goes when the newest is whole.

    Raises:
        UsageError: it can't be written to, or has too little room; the message has both figures.
    """
    require_writable(folder)
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    with _write_errors(folder), tempfile.TemporaryFile(dir=place) as file:  # A read-only mount says yes until asked.
        file.write(b"\0")
        file.flush()
    free = shutil.disk_usage(place).free
    if free < bytes_needed:
        raise UsageError(
            f"{folder} has {_human(free)} free, and {what} {_human(bytes_needed)}: {mend}, or choose another --out"
        )


@contextlib.contextmanager
def _write_errors(folder: Path) -> Any:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{folder} can't be written ({error.strerror}): choose another --out") from error


def _human(size: int) -> str:
    """Three digits and a unit of 1000s.

    >>> _human(999), _human(1_240_000), _human(37_500_000_000)
    ('999 bytes', '1.24 MB', '37.5 GB')
    """
    power = min(len(_UNITS) - 1, int(math.log10(max(size, 1))) // 3)
    return f"{size} bytes" if power == 0 else f"{size / 1000**power:.3g} {_UNITS[power]}"
