"""Attention of two sets of weights over one sequence, and the one place where the action expert is insulated.

Backbone tokens attend among themselves. The expert's queries attend to the backbone's keys and values and to its own:
the same as one softmax over the whole sequence, since nothing of the backbone ever sees the expert, but without the
columns that it never sees, and with a place for the stop-gradient.

Axis letters: B batch, P backbone tokens, S expert tokens, T queries, C keys, D width, N heads, K key/value heads, H
width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from fastki.model.blocked import attend_in_blocks
from fastki.model.config import AttentionKernel, LoraConfig
from fastki.model.layers import Einsum, rope
from fastki.sequence.sizes import StreamSize


class KeysValues(NamedTuple):
    """Keys, after rotation, and values: ``[B, C, K, H]`` each, of one layer, or ``[L, B, C, K, H]`` of all."""

    keys: Array
    values: Array

    def then(self, more: KeysValues) -> KeysValues:
        """These followed by ``more`` along the sequence."""
        return KeysValues(*(jnp.concatenate(pair, axis=-3) for pair in zip(self, more, strict=True)))


@dataclass(frozen=True)
class Numerics:
    """How attention is computed; hashable, so that it can be a constant of a compiled function.

    Attributes:
        kernel: of attention; ``auto`` takes the fastest that runs.
        wide_queries: keep rotated queries in float32, as openpi's π0-FAST does; the others round them.
    """

    kernel: AttentionKernel = "auto"
    wide_queries: bool = False


def insulate(prefix: KeysValues) -> KeysValues:
    """What the action expert reads of the backbone in a layer, with no gradient: knowledge insulation.

    Driess et al., "Knowledge insulating vision-language-action models" (2025), equations 5 and 6: the stop-gradient is
    on keys and values, in every layer. Detaching the backbone's *embeddings* alone would leave a way open: the expert's
    gradient would still reach every weight that makes keys and values of them.
    """
    return KeysValues(*(lax.stop_gradient(array) for array in prefix))


class Attention(nnx.Module):
    """Projections of all streams; those of stream 1 have the suffix ``_1``.

    Where a stream has as many key/value heads as heads, its three input projections are one weight, as openpi has it.
    """

    def __init__(self, streams: Sequence[StreamSize], loras: Sequence[LoraConfig | None]) -> None:
        for index, (size, lora) in enumerate(zip(streams, loras, strict=True)):
            depth, width, heads, dim = size.depth, size.width, size.heads, size.head_dim
            end = suffix(index)
            if size.kv_heads == heads:
                joined = Einsum((depth, 3, heads, width, dim), fan_in=(3,), lora=lora)
                setattr(self, f"qkv_einsum{end}", joined)
            else:
                setattr(self, f"q_einsum{end}", Einsum((depth, heads, width, dim), fan_in=(2,), lora=lora))
                pair = Einsum((depth, 2, size.kv_heads, width, dim), fan_in=(3,), lora=lora)
                setattr(self, f"kv_einsum{end}", pair)
            out = Einsum((depth, heads, dim, width), fan_in=(1, 2), lora=lora)
            setattr(self, f"attn_vec_einsum{end}", out)

    def project(self, index: int, x: Array, positions: Array, numerics: Numerics) -> tuple[Array, KeysValues]:
        """Rotated and scaled queries ``[B, T, N, H]``, and the stream's own keys and values, of ``[B, T, D]``."""
        end = suffix(index)
        if hasattr(self, f"qkv_einsum{end}"):
            query, keys, values = getattr(self, f"qkv_einsum{end}")("BTD,SNDH->SBTNH", x)
        else:
            query = getattr(self, f"q_einsum{end}")("BTD,NDH->BTNH", x)
            keys, values = getattr(self, f"kv_einsum{end}")("BTD,SKDH->SBTKH", x)
        query = rope(query, positions, dtype=jnp.float32 if numerics.wide_queries else None)
        return query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype), KeysValues(rope(keys, positions), values)

    def finish(self, index: int, attended: Array) -> Array:
        """``[B, T, N, H]`` → ``[B, T, D]``."""
        result: Array = getattr(self, f"attn_vec_einsum{suffix(index)}")("BTNH,NHD->BTD", attended)
        return result


def suffix(index: int) -> str:
    """What the names of a stream's parameters end in."""
    return "" if index == 0 else f"_{index}"


def attend(query: Array, context: KeysValues, mask: Array, numerics: Numerics) -> Array:
    """``softmax(query·keysᵀ)·values`` with the softmax in float32 (Vaswani et al., 2017, equation 1).

    Args:
        query: ``[B, T, N, H]``, already scaled.
        context: ``[B, C, K, H]`` each; query head n reads key/value head ``n // (N / K)``.
        mask: bool ``[B, T, C]``, who sees whom; a row without any reads the mean of all values.
        numerics: how.

    Returns:
        ``[B, T, N, H]`` in the dtype of the values.
    """
    keys, values = (array.astype(query.dtype) for array in context)
    kernel = _kernel(query, keys, mask[:, None], numerics.kernel)
    if kernel == "blocks":
        result = attend_in_blocks(query, keys, values, mask)
    else:
        result = jax.nn.dot_product_attention(query, keys, values, mask=mask[:, None], scale=1.0, implementation=kernel)
    return result.astype(context.values.dtype)


def _kernel(query: Array, keys: Array, mask: Array, wanted: AttentionKernel) -> Literal["xla", "cudnn", "blocks"]:
    """The fastest that runs: cuDNN's on GPUs; JAX itself knows which devices, types and shapes that takes."""
    if wanted != "auto":
        return wanted
    backend = jax.default_backend()
    if backend == "cpu" and jax.device_count() == 1:  # A batch that is spread over devices has no order to go by.
        return "blocks"
    if backend != "gpu" or query.dtype == jnp.float32:
        return "xla"

    def loss(query: Array, keys: Array, mask: Array) -> Array:
        attended = jax.nn.dot_product_attention(query, keys, keys, mask=mask, scale=1.0, implementation="cudnn")
        return jnp.sum(attended, dtype=jnp.float32)

    try:
        # With its gradient, which takes fewer shapes: odd lengths, for one, it refuses.
        jax.eval_shape(jax.grad(loss, argnums=(0, 1)), query, keys, mask)
    except (NotImplementedError, RuntimeError, ValueError, AssertionError):
        return "xla"
    return "cudnn"
