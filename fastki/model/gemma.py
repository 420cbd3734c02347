"""Gemma with a second set of weights, the action expert, that attends together with it.

Gemma Team, "Gemma: open models based on Gemini research and technology" (2024); the second set: Black et al., "π0: a
vision-language-action flow model for general robot control" (2024), section IV. Layers are stacked and scanned, so that
a model of any depth compiles as one layer.

Axis letters: L layers, B batch, P backbone tokens, S expert tokens, T queries, C keys, D width, V vocabulary, K
key/value heads, H width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from fastki.model.attention import Attention, KeysValues, Numerics, attend, insulate, suffix
from fastki.model.config import ModelConfig, Remat
from fastki.model.layers import AdaptiveRMSNorm, FeedForward, RMSNorm, add_branch, parameter

_POLICIES: dict[Remat, Callable[..., bool] | None] = {
    "dots": jax.checkpoint_policies.checkpoint_dots_with_no_batch_dims,
    "full": jax.checkpoint_policies.nothing_saveable,
}


@dataclass(frozen=True, eq=False)
class Span:
    """Tokens of one stream with their place in the sequence.

    Attributes:
        tokens: ``[B, T, D]``.
        positions: int ``[B, T]``, for the rotation.
        mask: bool ``[B, T, C]``, which keys each sees: the backbone's, then, for the expert, its own.
    """

    tokens: Array
    positions: Array
    mask: Array


class Embedder(nnx.Module):
    """The table of text, which reads and writes."""

    def __init__(self, vocab: int, width: int) -> None:
        self.input_embedding = parameter((vocab, width), deviation=width**-0.5)

    def encode(self, ids: Array, dtype: jnp.dtype) -> Array:
        """int ``[…]`` → ``[…, D]``: the rows, times √D."""
        table = self.input_embedding[...]
        return (table[ids] * jnp.sqrt(float(table.shape[-1])).astype(table.dtype)).astype(dtype)

    def decode(self, x: Array) -> Array:
        """``[…, D]`` → float32 logits ``[…, V]``."""
        return logits_of(x, self.input_embedding[...])


def logits_of(x: Array, table: Array) -> Array:
    """``x·tableᵀ`` in float32, ``[…, D]`` and ``[V, D]`` → ``[…, V]``."""
    return jnp.einsum("...d,vd->...v", x, table, preferred_element_type=jnp.float32)


class Block(nnx.Module):
    """A transformer layer for each stream, with shared attention."""

    def __init__(self, config: ModelConfig) -> None:
        streams = config.streams
        self.attn = Attention(streams, config.loras)
        for index, (size, lora) in enumerate(zip(streams, config.loras, strict=True)):
            shape, condition = (size.depth, size.width), _condition(config, index)
            for name in ("pre_attention_norm", "pre_ffw_norm"):
                setattr(self, name + suffix(index), _norm(shape, condition))
            mlp = FeedForward(size.depth, size.width, size.mlp, lora=lora)
            setattr(self, f"mlp{suffix(index)}", mlp)

    def enter(
        self, index: int, span: Span, cond: Array | None, numerics: Numerics
    ) -> tuple[Array, KeysValues, Array | None]:
        """Queries, own keys and values, and the gate of the attention branch."""
        normed, gate = self._norm("pre_attention_norm", index)(span.tokens, cond)
        query, own = self.attn.project(index, normed, span.positions, numerics)
        return query, own, gate

    def leave(self, index: int, x: Array, attended: Array, gate: Array | None, cond: Array | None) -> Array:
        """The rest of the layer after attention, ``[B, T, D]``."""
        x = add_branch(x, self.attn.finish(index, attended), gate)
        normed, gate = self._norm("pre_ffw_norm", index)(x, cond)
        branch = getattr(self, f"mlp{suffix(index)}")(normed)
        return add_branch(x, branch, gate)

    def _norm(self, name: str, index: int) -> Any:
        return getattr(self, name + suffix(index))


class Gemma(nnx.Module):
    """The language model and its expert."""

    def __init__(self, config: ModelConfig) -> None:
        self.numerics = Numerics(config.attention, wide_queries=config.kind == "pi0_fast")
        self.remat = config.remat
        self.embedder = Embedder(config.vocab, config.size.backbone.width)
        self.layers = Block(config)
        for index, size in enumerate(config.streams):
            setattr(self, f"final_norm{suffix(index)}", _norm((size.width,), _condition(config, index)))

    def joint(self, prefix: Span, expert: Span, cond: Array | None, *, insulated: bool) -> tuple[Array, Array]:
        """Both streams in one pass.

        Args:
            prefix: P tokens of the backbone.
            expert: S tokens of the expert; its mask is over P + S keys.
            cond: ``[B, C]`` for adaptive norms.
            insulated: no gradient from the expert to the backbone.

        Returns:
            Both after their last norm, ``[B, P, D]`` and ``[B, S, D']``.
        """

        def layer(block: Block, carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            spans = Span(carry[0], prefix.positions, prefix.mask), Span(carry[1], expert.positions, expert.mask)
            query, own, gate = block.enter(0, spans[0], None, self.numerics)
            expert_query, expert_own, expert_gate = block.enter(1, spans[1], cond, self.numerics)
            attended = attend(query, own, prefix.mask, self.numerics)
            read = insulate(own) if insulated else own
            expert_attended = attend(expert_query, read.then(expert_own), expert.mask, self.numerics)
            out = block.leave(0, carry[0], attended, gate, None)
            return (out, block.leave(1, carry[1], expert_attended, expert_gate, cond)), None

        carry, _ = scan_layers(self.layers, layer, (prefix.tokens, expert.tokens), None, self.remat)
        return self.final(0, carry[0]), self.final(1, carry[1], cond)

    def backbone(self, prefix: Span) -> tuple[Array, KeysValues]:
        """The backbone alone: after its last norm ``[B, P, D]``, and every layer's keys and values."""

        def layer(block: Block, x: Array, _: None) -> tuple[Array, KeysValues]:
            query, own, gate = block.enter(0, Span(x, prefix.positions, prefix.mask), None, self.numerics)
            attended = attend(query, own, prefix.mask, self.numerics)
            return block.leave(0, x, attended, gate, None), own

        x, cache = scan_layers(self.layers, layer, prefix.tokens, None, self.remat)
        return self.final(0, x), cache

    def expert(self, span: Span, cache: KeysValues, cond: Array | None) -> Array:
        """The expert over a filled cache, after its last norm ``[B, S, D']``; the mask is over cache and own keys."""

        def layer(block: Block, x: Array, context: KeysValues) -> tuple[Array, None]:
            query, own, gate = block.enter(1, Span(x, span.positions, span.mask), cond, self.numerics)
            attended = attend(query, context.then(own), span.mask, self.numerics)
            return block.leave(1, x, attended, gate, cond), None

        x, _ = scan_layers(self.layers, layer, span.tokens, cache, self.remat)
        return self.final(1, x, cond)

    def extend(self, span: Span, cache: KeysValues, place: Array) -> tuple[Array, KeysValues]:
        """The backbone over T more tokens, which take places in a cache that has room.

        Args:
            span: the tokens; their mask is over the whole cache, their own places included.
            cache: ``[L, B, C, K, H]``.
            place: int scalar, of the first new token.

        Returns:
            After the last norm ``[B, T, D]``, and the cache with the new tokens in it.
        """

        def layer(block: Block, x: Array, context: KeysValues) -> tuple[Array, KeysValues]:
            query, own, gate = block.enter(0, Span(x, span.positions, span.mask), None, self.numerics)
            filled = KeysValues(
                *(
                    jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), place, axis=1)
                    for old, new in zip(context, own, strict=True)
                )
            )
            attended = attend(query, filled, span.mask, self.numerics)
            return block.leave(0, x, attended, gate, None), filled

        x, cache = scan_layers(self.layers, layer, span.tokens, cache, self.remat)
        return self.final(0, x), cache

    def final(self, index: int, x: Array, cond: Array | None = None) -> Array:
        """The last norm of a stream; an adaptive one's gate has nothing to scale."""
        normed, _ = getattr(self, f"final_norm{suffix(index)}")(x, cond)
        result: Array = normed
        return result


def scan_layers(layers: nnx.Module, body: Any, carry: Any, inputs: Any, remat: Remat) -> tuple[Any, Any]:
    """``carry, out = body(layer, carry, input)`` over the leading axis of a module's parameters, and of ``inputs``.

    Args:
        layers: a module whose every parameter has the layer axis first.
        body: one layer.
        carry: what goes from layer to layer.
        inputs: a tree with the layer axis first, or None.
        remat: what the backward pass recomputes.

    Returns:
        The last carry, and the outputs stacked over layers.
    """
    definition, parameters = nnx.split(layers)

    def step(carry: Any, xs: tuple[Any, Any]) -> tuple[Any, Any]:
        return body(nnx.merge(definition, xs[0]), carry, xs[1])  # type: ignore[no-any-return]

    if remat != "none":
        # Within a scan nothing can be merged across the border, so the guard against it would only cost time.
        step = jax.checkpoint(step, prevent_cse=False, policy=_POLICIES[remat])
    return jax.lax.scan(step, carry, (parameters, inputs))


def _condition(config: ModelConfig, index: int) -> int | None:
    """The width of what a stream's norms adapt to, None where they don't."""
    return config.size.expert.width if index == 1 and config.adaptive else None


def _norm(shape: tuple[int, ...], condition: int | None) -> RMSNorm | AdaptiveRMSNorm:
    return RMSNorm(shape) if condition is None else AdaptiveRMSNorm(shape, condition)
