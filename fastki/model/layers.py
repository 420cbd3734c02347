"""The parts of a transformer block, each with the leading layer axis of its parameters declared here.

Parameters are float32 and stacked over layers on axis 0, as openpi's checkpoints have them; a module that computes has
one layer's slice, which :func:`fastki.model.gemma.scan_layers` hands it. Activations keep the dtype they come in.

Axis letters: L layers, B batch, T tokens, D width, F width of the MLP, N heads, K key/value heads, H width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from fastki.model.config import LoraConfig
from fastki.model.products import gated, product

EPSILON = 1e-6
"""Below the square root of every norm."""
_ROPE_BASE = 10_000.0
_LORA = 0.01  # Deviation of the first factor of a low-rank addition; the second begins at zero.
_MIN_PERIOD, _MAX_PERIOD = 4e-3, 4.0
_DENSE = "BTI,IO->BTO"


def parameter(shape: Sequence[int], *, deviation: float = 0.0, mean: float = 0.0) -> nnx.Param[Array]:
    """A parameter that a new model has at normal numbers of this mean and standard deviation.

    Nothing is drawn here: :func:`fastki.model.params.init_model` does, by the name that the parameter has in the whole.
    """
    return nnx.Param(jnp.zeros(shape), deviation=deviation, mean=mean)


def scaled_normal(shape: Sequence[int], fan_in: Sequence[int], gain: float = 1.0) -> nnx.Param[Array]:
    """The same with a deviation of ``gain`` / √(numbers that a product sums): ``fan_in`` are their axes."""
    return parameter(shape, deviation=gain * math.prod(shape[axis] for axis in fan_in) ** -0.5)


class Linear(nnx.Module):
    """``x·kernel + bias`` in float32, of ``inputs`` numbers to ``outputs``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.kernel = scaled_normal((inputs, outputs), (0,))
        self.bias = parameter((outputs,))

    def __call__(self, x: Array) -> Array:
        """``[…, inputs]`` → float32 ``[…, outputs]``."""
        result: Array = x.astype(jnp.float32) @ self.kernel[...] + self.bias[...]
        return result


class Einsum(nnx.Module):
    """A weight of any shape, ``[L, …]``, with an optional low-rank addition over its last two axes.

    Args:
        shape: of the weight, the layer axis included.
        fan_in: axes of ``shape`` that a product sums over.
        lora: of the addition.
    """

    def __init__(self, shape: Sequence[int], *, fan_in: Sequence[int], lora: LoraConfig | None) -> None:
        self.w = scaled_normal(shape, fan_in)
        self.scale = 0.0 if lora is None else lora.scale
        if lora is not None:
            *lead, rows, columns = shape
            self.lora_a = parameter((*lead, rows, lora.rank), deviation=_LORA)
            self.lora_b = parameter((*lead, lora.rank, columns))

    def __call__(self, equation: str, x: Array) -> Array:
        """``einsum(equation, x, w)`` in the dtype of ``x``."""
        weight = self.w[...].astype(x.dtype)
        result = product(equation, x, weight)
        return result + product(equation, x, self._addition(x.dtype)) if self.scale else result

    def _addition(self, dtype: jnp.dtype) -> Array:
        a, b = self.lora_a[...].astype(dtype), self.lora_b[...].astype(dtype)
        return jnp.einsum("...ir,...rj->...ij", a, b) * jnp.asarray(self.scale, dtype)


class FeedForward(nnx.Module):
    """Gemma's gated MLP: ``(gelu(x·w₀) ∘ x·w₁)·w``, the tanh approximation of GELU (Shazeer, "GLU variants", 2020)."""

    def __init__(self, depth: int, width: int, hidden: int, *, lora: LoraConfig | None) -> None:
        self.gating_einsum = scaled_normal((depth, 2, width, hidden), (2,))
        self.linear = scaled_normal((depth, hidden, width), (1,))
        self.scale = 0.0 if lora is None else lora.scale
        if lora is not None:
            rank = lora.rank
            self.gating_einsum_lora_a = parameter((depth, 2, width, rank), deviation=_LORA)
            self.gating_einsum_lora_b = parameter((depth, 2, rank, hidden))
            self.linear_lora_a = parameter((depth, hidden, rank), deviation=_LORA)
            self.linear_lora_b = parameter((depth, rank, width))

    def __call__(self, x: Array) -> Array:
        """``[B, T, D]`` → ``[B, T, D]``."""
        hidden = gated(*(self._gating(x, branch) for branch in (0, 1)))
        result = product(_DENSE, hidden, self.linear[...].astype(x.dtype))
        return (
            result + self._low_rank(hidden, self.linear_lora_a[...], self.linear_lora_b[...]) if self.scale else result
        )

    def _gating(self, x: Array, branch: int) -> Array:
        result = product(_DENSE, x, self.gating_einsum[branch].astype(x.dtype))
        if not self.scale:
            return result
        return result + self._low_rank(x, self.gating_einsum_lora_a[branch], self.gating_einsum_lora_b[branch])

    def _low_rank(self, x: Array, a: Array, b: Array) -> Array:
        return (x @ a.astype(x.dtype)) @ b.astype(x.dtype) * jnp.asarray(self.scale, x.dtype)


class RMSNorm(nnx.Module):
    """``x / sqrt(mean(x²) + ε) · (1 + scale)`` in float32 (Zhang and Sennrich, 2019).

    Args:
        shape: ``[L, D]`` or ``[D]``.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self.scale = parameter(shape)

    def __call__(self, x: Array, cond: Array | None = None) -> tuple[Array, None]:
        """``[B, T, D]`` → the same and no gate; ``cond`` has no part in it."""
        return (normalise(x) * (1 + self.scale[...])).astype(x.dtype), None


class AdaptiveRMSNorm(nnx.Module):
    """The same with scale, shift and gate made of a condition: "adaRMS".

    As in Peebles and Xie, "Scalable diffusion models with transformers" (2023), section 3.2, with RMS for layer norm;
    zero at the start, so that every block begins as the identity.
    """

    def __init__(self, shape: Sequence[int], condition: int) -> None:
        *lead, width = shape
        self.Dense_0 = nnx.Dict(kernel=parameter((*lead, condition, 3 * width)), bias=parameter((*lead, 3 * width)))

    def __call__(self, x: Array, cond: Array | None = None) -> tuple[Array, Array]:
        """``[B, T, D]``, ``[B, C]`` → ``[B, T, D]`` and a gate ``[B, 1, D]`` for the residual branch."""
        assert cond is not None
        kernel, bias = (self.Dense_0[name][...].astype(x.dtype) for name in ("kernel", "bias"))
        modulation = (cond.astype(x.dtype) @ kernel + bias)[:, None, :]
        scale, shift, gate = jnp.split(modulation, 3, axis=-1)
        return (normalise(x) * (1 + scale) + shift).astype(x.dtype), gate


def normalise(x: Array) -> Array:
    """``x`` over the root of its mean square along the last axis, float32."""
    wide: Array = x.astype(jnp.float32)
    return wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + EPSILON)


def add_branch(x: Array, branch: Array, gate: Array | None) -> Array:
    """The residual sum; an adaptive norm's gate scales the branch."""
    return x + (branch if gate is None else branch * gate)


def rope(x: Array, positions: Array, *, dtype: jnp.dtype | None = None) -> Array:
    """Rotary positions (Su et al., "RoFormer", 2021, equation 34), first half of a head against its second.

    Args:
        x: ``[B, T, N, H]``.
        positions: int ``[B, T]``.
        dtype: of the result; by default that of ``x``. The angles are float32.
    """
    half = x.shape[-1] // 2
    wavelength = _ROPE_BASE ** (jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[..., None, None].astype(jnp.float32) / wavelength
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    first, second = x[..., :half].astype(jnp.float32), x[..., half:].astype(jnp.float32)
    turned: Array = jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return turned.astype(x.dtype if dtype is None else dtype)


def time_embedding(time: Array, width: int) -> Array:
    """Sines and cosines of the flow time, periods from 4e-3 to 4, float32 ``[B]`` → ``[B, width]``.

    float32 rounds the angle at the shortest period, up to 1570 rad, so that values are good to 1e-4 only.

    Raises:
        ValueError: an odd width.
    """
    if width % 2:
        raise ValueError(f"a width of {width} is odd")
    fraction = jnp.linspace(0.0, 1.0, width // 2)
    period = _MIN_PERIOD * (_MAX_PERIOD / _MIN_PERIOD) ** fraction
    angle: Array = time.astype(jnp.float32)[:, None] * (1.0 / period * 2 * math.pi)
    embedded: Array = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    return embedded
