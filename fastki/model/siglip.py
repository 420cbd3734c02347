"""The image tower: SigLIP's vision transformer (Zhai et al., "Sigmoid loss for language image pre-training", 2023).

Patches and learnt positions, pre-norm blocks, a last norm, and a projection to the language model's width. No pooling.

Axis letters: L layers, B batch, T patches, W width, M width of the MLP, N heads, H width of a head, D width of the
language model.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from fastki.model.attention import KeysValues, Numerics, attend
from fastki.model.config import ModelConfig
from fastki.model.gemma import scan_layers
from fastki.model.layers import EPSILON, parameter, scaled_normal
from fastki.model.products import product
from fastki.sequence.sizes import VisionSize

_GAIN = 4.0  # Of a new tower's positions, as of its patches by default: at 1, where things are is faint.


class Dense(nnx.Module):
    """``x·kernel + bias``, with an equation for kernels of more than two axes.

    Args:
        shape: of the kernel, ``[L, …]`` in a stack.
        bias: shape of the bias.
        fan_in: axes of ``shape`` that the product sums over.
        gain: of the first values.
    """

    def __init__(self, shape: Sequence[int], bias: Sequence[int], *, fan_in: Sequence[int], gain: float = 1.0) -> None:
        self.kernel = scaled_normal(shape, fan_in, gain)
        self.bias = parameter(bias)

    def __call__(self, x: Array, equation: str = "BTW,WM->BTM") -> Array:
        """In the dtype of ``x``."""
        return product(equation, x, self.kernel[...].astype(x.dtype)) + self.bias[...].astype(x.dtype)


class LayerNorm(nnx.Module):
    """Ba, Kiros and Hinton, "Layer normalization" (2016), in float32; ``shape`` is ``[L, W]`` or ``[W]``."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.scale = parameter(shape, mean=1.0)
        self.bias = parameter(shape)

    def __call__(self, x: Array) -> Array:
        wide = x.astype(jnp.float32)
        mean = jnp.mean(wide, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(wide - mean), axis=-1, keepdims=True)
        normed = (wide - mean) * lax.rsqrt(variance + EPSILON)
        return (normed * self.scale[...] + self.bias[...]).astype(x.dtype)


class SelfAttention(nnx.Module):
    """Every patch sees every other."""

    def __init__(self, size: VisionSize) -> None:
        depth, width, heads, dim = size.depth, size.width, size.heads, size.width // size.heads
        for name in ("query", "key", "value"):
            dense = Dense((depth, width, heads, dim), (depth, heads, dim), fan_in=(1,))
            setattr(self, name, dense)
        self.out = Dense((depth, heads, dim, width), (depth, width), fan_in=(1, 2))

    def __call__(self, x: Array, numerics: Numerics) -> Array:
        query, keys, values = (getattr(self, name)(x, "BTW,WNH->BTNH") for name in ("query", "key", "value"))
        query = query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
        mask = jnp.ones((1, x.shape[1], x.shape[1]), bool)
        return self.out(attend(query, KeysValues(keys, values), mask, numerics), "BTNH,NHW->BTW")


class EncoderBlock(nnx.Module):
    """Norm, attention, norm, MLP, with residual sums."""

    def __init__(self, size: VisionSize) -> None:
        depth, width = size.depth, size.width
        self.LayerNorm_0 = LayerNorm((depth, width))
        self.MultiHeadDotProductAttention_0 = SelfAttention(size)
        self.LayerNorm_1 = LayerNorm((depth, width))
        self.MlpBlock_0 = nnx.Dict(
            Dense_0=Dense((depth, width, size.mlp), (depth, size.mlp), fan_in=(1,)),
            Dense_1=Dense((depth, size.mlp, width), (depth, width), fan_in=(1,)),
        )

    def __call__(self, x: Array, numerics: Numerics) -> Array:
        x = x + self.MultiHeadDotProductAttention_0(self.LayerNorm_0(x), numerics)
        hidden = jax.nn.gelu(self.MlpBlock_0["Dense_0"](self.LayerNorm_1(x)), approximate=True)
        return x + self.MlpBlock_0["Dense_1"](hidden)


class SigLIP(nnx.Module):
    """Pictures → tokens of the language model's width."""

    def __init__(self, config: ModelConfig) -> None:
        size = config.size.vision
        self.patch, self.remat = size.patch, config.remat
        self.numerics = Numerics(config.attention)
        kernel = (size.patch, size.patch, 3, size.width)
        self.embedding = Dense(kernel, (size.width,), fan_in=(0, 1, 2), gain=config.patch_gain)
        self.pos_embedding = parameter((1, size.tokens, size.width), deviation=_GAIN * size.width**-0.5)
        self.Transformer = nnx.Dict(encoderblock=EncoderBlock(size), encoder_norm=LayerNorm((size.width,)))
        self.head = Dense((size.width, config.size.backbone.width), (config.size.backbone.width,), fan_in=(0,))

    def __call__(self, images: Array, dtype: jnp.dtype) -> Array:
        """float32 ``[B, h, w, 3]`` in [−1, 1] → ``[B, T, D]``; patches and positions are added in float32."""

        def layer(block: EncoderBlock, x: Array, _: None) -> tuple[Array, None]:
            return block(x, self.numerics), None

        x = (self._patches(images.astype(jnp.float32)) + self.pos_embedding[...]).astype(dtype)
        x, _ = scan_layers(self.Transformer["encoderblock"], layer, x, None, self.remat)
        return self.head(self.Transformer["encoder_norm"](x))

    def _patches(self, images: Array) -> Array:
        """A convolution whose stride is its size, written as the product that it is: ``[B, T, W]``."""
        batch, height, width, channels = images.shape
        side = self.patch
        grid = images.reshape(batch, height // side, side, width // side, side, channels)
        grid = grid.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, side * side * channels)
        kernel = self.embedding.kernel[...].reshape(side * side * channels, -1)
        return grid @ kernel + self.embedding.bias[...]
