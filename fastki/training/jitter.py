"""Colours jittered by brightness, contrast, saturation and hue. Axis letters: B batch, h and w pixels."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Jitter:
    """Strengths: each amount is drawn evenly from −strength to strength; 0 is none.

    Attributes:
        brightness, contrast, saturation: 0 to below 1.
        hue: of a circle.
        probability: share of the pictures that are jittered at all.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    probability: float

    @property
    def none(self) -> bool:
        """Whether no picture is changed."""
        return not self.probability or not any((self.brightness, self.contrast, self.saturation, self.hue))


def jitter(key: jax.Array, pictures: jax.Array, strengths: Jitter) -> jax.Array:
    """Pictures ``[B, h, w, 3]``, 0 to 1, each jittered by amounts of its own."""
    if strengths.none:
        return pictures
    limits = jnp.array([strengths.brightness, strengths.contrast, strengths.saturation, strengths.hue], jnp.float32)
    amount_key, choice_key = jax.random.split(key)
    amounts = jax.random.uniform(amount_key, (len(pictures), 4), minval=-limits, maxval=limits)
    chosen = jax.random.bernoulli(choice_key, strengths.probability, (len(pictures), 1, 1, 1))
    return jnp.where(chosen, recolored(pictures, amounts), pictures)


def recolored(pictures: jax.Array, amounts: jax.Array) -> jax.Array:
    """Pictures with changed colours.

    In HSV: brightness and then contrast change the value, saturation and hue what they are called.

    Args:
        pictures: float32 ``[B, h, w, 3]``, 0 to 1.
        amounts: float32 ``[B, 4]``, of brightness, contrast, saturation (above −1 and below 1) and hue (of a circle).
    """
    brightness, contrast, saturation, hue = (amounts[:, place, None, None] for place in range(4))
    value = pictures.max(axis=-1)
    chroma = value - pictures.min(axis=-1)
    colorful = jnp.where(value > 0, chroma / jnp.where(value > 0, value, 1), 0)
    value = contrasted(brightened(value, brightness), contrast)
    colorful = jnp.clip(colorful * (1 + saturation), 0, 1)
    angle = jnp.mod(_hue(pictures, chroma) + hue * 6, 6)[..., None]
    # How much of the colour each of red, green and blue lacks, 0 to 1.
    turn = jnp.mod(angle + jnp.array([5.0, 3.0, 1.0], jnp.float32), 6)
    lacks = jnp.clip(jnp.minimum(turn, 4 - turn), 0, 1)
    return value[..., None] * (1 - colorful[..., None] * lacks)


def brightened(value: jax.Array, amount: jax.Array) -> jax.Array:
    """Towards black by an amount below 0, towards white by one above."""
    return jnp.where(amount < 0, value * (1 + amount), value * (1 - amount) + amount)


def contrasted(value: jax.Array, amount: jax.Array) -> jax.Array:
    """Steeper (above 0) or flatter around the middle, so that 0 and 1 stay and no two values fall together."""
    slope = jnp.tan((amount + 1) * (jnp.pi / 4))
    knee = slope / (2 * (1 + slope))
    middle = slope * (value - 0.5) + 0.5
    return jnp.where(value < knee, value / slope, jnp.where(value > 1 - knee, 1 - (1 - value) / slope, middle))


def _hue(pictures: jax.Array, chroma: jax.Array) -> jax.Array:
    """The colour on a circle of 6: red 0, green 2, blue 4; grey is 0."""
    red, green, blue = pictures[..., 0], pictures[..., 1], pictures[..., 2]
    safe = jnp.where(chroma > 0, chroma, 1)
    largest = pictures.argmax(axis=-1)
    angle = jnp.where(
        largest == 0,
        (green - blue) / safe,
        jnp.where(largest == 1, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    return jnp.where(chroma > 0, angle, 0.0)
