"""Pictures varied at random in training, as openpi does it; on the device, inside the step.

Cameras but those at a wrist lose a random margin and are turned a little; all have their colours jittered. Cropping,
resizing and turning are one map of coordinates and one bilinear look-up, as in augmax, whose transforms openpi uses: so
a turned picture shows at its corners what the crop left out, and black only beyond the camera's own edge.

What openpi's call of augmax comes to, and what is done here: half of the pictures are jittered, there as here. Their
saturation is changed there and the change then dropped; here it stays. Their hue is turned by up to 0.1 of a circle,
augmax's default; here that is off, since instructions name colours. ``AugmentConfig(saturation=0, hue=0.1)`` does the
same as openpi.

Axis letters: B batch, h and w pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from fastki.errors import UsageError
from fastki.training.jitter import Jitter, jitter

_WRIST = "wrist"


@dataclass(frozen=True)
class AugmentConfig:
    """How strongly pictures are varied; the defaults are openpi's but for the module's remarks.

    Attributes:
        crop: share of height and width that is kept, above 0 to 1; its place is drawn.
        rotate: degrees to either side at most.
        brightness, contrast, saturation: strengths, 0 to below 1.
        hue: of a circle, to either side at most, 0 to 0.5.
        jitter_probability: share of the pictures whose colours are jittered.

    Raises:
        UsageError: a value out of range.
    """

    crop: float = 0.95
    rotate: float = 5.0
    brightness: float = 0.3
    contrast: float = 0.4
    saturation: float = 0.5
    hue: float = 0.0
    jitter_probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise UsageError(f"augment.crop {self.crop} is out of range: a share above 0 and up to 1 is needed")
        limits = {"rotate": 180.0, "hue": 0.5, "jitter_probability": 1.0}
        for name, most in limits.items():
            if not 0 <= getattr(self, name) <= most:
                raise UsageError(f"augment.{name} {getattr(self, name)} is out of range: 0 to {most:g} is needed")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"augment.{name} {getattr(self, name)} is out of range: 0 to below 1 is needed")

    @property
    def moves(self) -> bool:
        """Whether pictures are cropped or turned."""
        return self.crop < 1 or self.rotate > 0

    @property
    def jitter(self) -> Jitter:
        """The strengths of the colours."""
        return Jitter(self.brightness, self.contrast, self.saturation, self.hue, self.jitter_probability)


DEFAULT = AugmentConfig()
OFF = AugmentConfig(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Pictures stay as they are, to the bit."""


def augment(key: jax.Array, images: Mapping[str, jax.Array], config: AugmentConfig = DEFAULT) -> dict[str, jax.Array]:
    """Pictures of each camera, varied; every picture has a draw of its own, the same for the same key.

    Args:
        key: of :func:`jax.random.key`, another in each step.
        images: camera slot → float32 ``[B, h, w, 3]``, −1 to 1. Crop and rotation spare slots with "wrist" in the name.
        config: static where this is jitted.

    Returns:
        The same slots, shapes, types and range.
    """
    varied = {}
    for number, name in enumerate(sorted(images)):
        moves = config.moves and _WRIST not in name
        if not moves and config.jitter.none:
            varied[name] = images[name]
            continue
        place, color = jax.random.split(jax.random.fold_in(key, number))
        pictures = images[name] / 2 + 0.5
        if moves:
            pictures = _moved(place, pictures, config)
        pictures = jitter(color, pictures, config.jitter)
        varied[name] = jnp.clip(pictures, 0, 1) * 2 - 1
    return varied


def as_floats(images: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """uint8 pictures ``[B, h, w, 3]`` as float32, −1 to 1."""
    return {name: pictures.astype(jnp.float32) / 127.5 - 1 for name, pictures in images.items()}


def _moved(key: jax.Array, pictures: jax.Array, config: AugmentConfig) -> jax.Array:
    """Cropped, brought back to size and turned, each by its own draw."""
    count, height, width = pictures.shape[:3]
    shift_key, angle_key = jax.random.split(key)
    kept = jnp.array([int(height * config.crop), int(width * config.crop)], jnp.float32)
    margin = (jnp.array([height, width], jnp.float32) - kept) / 2
    shift = jax.random.uniform(shift_key, (count, 2), minval=-margin, maxval=margin)
    most = config.rotate * jnp.pi / 180
    angle = jax.random.uniform(angle_key, (count,), minval=-most, maxval=most)
    return moved(pictures, shift, kept / jnp.array([height, width], jnp.float32), angle)


def moved(pictures: jax.Array, shift: jax.Array, scale: jax.Array, angle: jax.Array) -> jax.Array:
    """Pictures seen through a window on them, black beyond their edge.

    Args:
        pictures: float32 ``[B, h, w, 3]``.
        shift: float32 ``[B, 2]``, pixels down and right from the picture's middle to the window's.
        scale: float32 ``[2]``, the window's height and width as shares of the picture's.
        angle: float32 ``[B]``, radians by which the window is turned.

    Returns:
        float32 ``[B, h, w, 3]``.
    """
    height, width = pictures.shape[1:3]
    middle = jnp.array([(height - 1) / 2, (width - 1) / 2], jnp.float32)
    down = (jnp.arange(height, dtype=jnp.float32) - middle[0])[None, :, None]
    right = (jnp.arange(width, dtype=jnp.float32) - middle[1])[None, None, :]
    cos, sin = jnp.cos(angle)[:, None, None], jnp.sin(angle)[:, None, None]
    row = scale[0] * (cos * down + sin * right) + shift[:, 0, None, None] + middle[0]
    column = scale[1] * (cos * right - sin * down) + shift[:, 1, None, None] + middle[1]
    return jax.vmap(_looked_up)(pictures, row, column)


def _looked_up(picture: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """``picture`` ``[h, w, 3]`` at places ``[h, w]`` between its pixels, bilinear."""
    top, left = jnp.floor(row), jnp.floor(column)
    down, right = row - top, column - left
    look = partial(_pixels, picture)
    return (
        look(top, left) * ((1 - down) * (1 - right))[..., None]
        + look(top, left + 1) * ((1 - down) * right)[..., None]
        + look(top + 1, left) * (down * (1 - right))[..., None]
        + look(top + 1, left + 1) * (down * right)[..., None]
    )


def _pixels(picture: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """The pixels at whole places ``[h, w]``, black outside."""
    height, width = picture.shape[:2]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = jnp.where(inside, row * width + column, 0).astype(jnp.int32)
    return jnp.where(inside[..., None], picture.reshape(-1, 3)[place], 0)
