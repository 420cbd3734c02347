"""Pictures brought to the model's size with their shape kept, as openpi's data path does it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError


def resize_with_pad(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """``picture`` as large as fits into ``height`` × ``width``, in the middle of black.

    Bilinear with Pillow's anti-aliasing. A picture of that size already is returned as it is, not copied.

    Args:
        picture: RGB uint8 ``[h, w, 3]``.
        height, width: pixels, 1 or more.

    Returns:
        uint8 ``[height, width, 3]``.

    Raises:
        UsageError: another shape or type.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise UsageError(f"a picture is uint8 [h, w, 3], not {picture.dtype} {list(picture.shape)}")
    if min(height, width) < 1:
        raise UsageError(f"a picture cannot become {height} × {width}: give 1 or more pixels")
    old_height, old_width = picture.shape[:2]
    if (old_height, old_width) == (height, width):
        return picture
    from PIL import Image

    ratio = max(old_width / width, old_height / height)
    # A picture hundreds of times as long as high would vanish.
    inner = max(1, int(old_height / ratio)), max(1, int(old_width / ratio))
    small = Image.fromarray(picture).resize((inner[1], inner[0]), resample=Image.Resampling.BILINEAR)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    result = np.zeros((height, width, 3), np.uint8)
    result[top : top + inner[0], left : left + inner[1]] = np.asarray(small)
    return result
