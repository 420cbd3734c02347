"""Pictures: encoded ones (JPEG, PNG, …) decoded when they are asked for, arrays brought into one form."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.errors import DataError

MAX_PIXELS = 2**26
"""A header that promises more than this (64 million) is taken for damage, before memory is."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")


def decode_picture(data: bytes | memoryview, *, where: str) -> NDArray[np.uint8]:
    """The encoded picture ``data`` as RGB uint8 ``[h, w, 3]``; grey becomes RGB, transparency is dropped.

    Raises:
        DataError: no picture, a damaged one, or one of more than 64 million pixels.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(f"{where}: a picture of {picture.width} × {picture.height} is refused as too large")
            return np.asarray(picture.convert("RGB"))
    except UnidentifiedImageError as error:
        raise DataError(f"{where} is no picture of a known format: fetch the file again") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise DataError(f"{where} is a damaged picture ({error}): fetch the file again") from error


@functools.cache
def _formats() -> tuple[str, ...]:
    """The formats that pictures may have, as far as this Pillow has them: none of those that run another program."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def as_picture(array: NDArray[Any], *, where: str) -> NDArray[np.uint8]:
    """An array in any of the forms that datasets use as RGB uint8 ``[h, w, 3]``.

    The forms: channels last or first, three of them or one (or none, grey), uint8, or floats from 0 to 1 (or
    to 255, where any is above 1). Floats from 0 to 1 become ``floor(255 x)``, as in openpi.

    Raises:
        DataError: another shape or type.
    """
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or array.dtype.kind not in "fu":
        raise DataError(f"{where} has shape {array.shape} and type {array.dtype}, which is no picture [h, w, 3]")
    if array.dtype.kind == "f":
        scale = 1.0 if array.size and float(array.max()) > 1.0 else 255.0
        array = np.clip(array * scale, 0, 255)
    picture = array.astype(np.uint8)
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


class LazyFrames:
    """The frames of one camera in one episode, each made when it is asked for.

    ``held_bytes`` is what they are made of, where that stays in memory.
    """

    def __init__(self, length: int, make: Callable[[int], NDArray[np.uint8]], *, held_bytes: int = 0) -> None:
        self._length, self._make, self.held_bytes = length, make, held_bytes

    def __len__(self) -> int:
        """T."""
        return self._length

    def __getitem__(self, frame: int, /) -> NDArray[np.uint8]:
        """Frame ``frame`` as RGB uint8 ``[h, w, 3]``; negative counts from the end."""
        if not -self._length <= frame < self._length:
            raise IndexError(f"frame {frame} of {self._length}")
        return self._make(frame % self._length)
