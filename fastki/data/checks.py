"""Checks that every reader's arrays pass. Axes: T frames, D dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastki.errors import DataError

_LARGEST = 1e100  # Squares of larger values overflow; no unit needs them.
_T = TypeVar("_T", bound=np.generic)


def check_finite(array: NDArray[Any], names: Sequence[str], *, where: str) -> None:
    """Raise DataError, naming frame and dimension, if ``array [T, D]`` holds NaN, Inf or what no sum can hold."""
    finite = np.abs(array) <= min(_LARGEST, float(np.finfo(array.dtype).max))
    if finite.all():
        return
    bad_frames = np.flatnonzero(~finite.all(axis=1))
    frame = int(bad_frames[0])
    dim = int(np.flatnonzero(~finite[frame])[0])
    raise DataError(
        f"{where}: {array[frame, dim]} at frame {frame}, dimension {dim} ({names[dim]}); "
        f"{len(bad_frames)} of {len(array)} frames hold NaN, Inf or more than {_LARGEST:g}: repair the recording or "
        "leave it out"
    )


def as_floats(array: NDArray[Any], *, where: str) -> NDArray[Any]:
    """``array`` as float32 or float64 (whichever holds its values), or DataError if it is not numeric."""
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where} has dtype {array.dtype}, not numbers: choose others by --action-key KEY")
    wanted = np.float64 if array.dtype.itemsize > 4 else np.result_type(array.dtype, np.float32)
    return array.astype(wanted, copy=False)


def read_only(array: NDArray[_T]) -> NDArray[_T]:
    """A view of ``array`` that cannot be written to; ``array`` itself stays as it is."""
    view = array.view()
    view.flags.writeable = False
    return view
