"""Attention a block of queries at a time, for processors: scores live in the cache, and none is kept.

The backward pass makes each block's probabilities again (Rabe and Staats, "Self-attention does not need O(n²) memory",
2021), from the greatest score and the sum of exponentials of each row. So a training step of dense attention, which
would write and read ``[B, N, T, C]`` scores some ten times, reads keys and values instead.

Axis letters: B batch, T queries, C keys, K key/value heads, G query heads of each, H width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

SCORES_AT_ONCE = 1 << 19
"""Of one block: 2 MB in float32, which the caches of a core hold."""
_NEVER = -2.3819763e38  # openpi's score of a key that is not seen.


class _Blocks(NamedTuple):
    """How the work is cut: ``examples`` groups of the batch, each with ``queries`` blocks of ``length``."""

    examples: int
    queries: int
    length: int


class _Rows(NamedTuple):
    """A block of queries with their mask ``[b, t, C]``; ``query`` ``[b, t, K, G, H]``."""

    query: Array
    mask: Array


class _Kept(NamedTuple):
    """Of a block: result ``[b, t, K, G, H]``; each row's greatest score and sum of exponentials ``[b, K, t, G, 1]``."""

    result: Array
    top: Array
    total: Array


_Saved = tuple[Array, Array, Array, Array, _Kept]
"""Query, keys, values, mask, and what each block kept."""


@jax.custom_vjp
def attend_in_blocks(query: Array, keys: Array, values: Array, mask: Array) -> Array:
    """``softmax(query·keysᵀ)·values``, the softmax in float32; a row that sees no key reads the mean of all values.

    Args:
        query: ``[B, T, N, H]``, already scaled.
        keys, values: ``[B, C, K, H]`` of the same dtype; query head n reads key/value head ``n // (N / K)``.
        mask: bool ``[B, T, C]`` or ``[1, T, C]``.

    Returns:
        ``[B, T, N, H]``.
    """
    return _forward(query, keys, values, mask)[0]


def _forward(query: Array, keys: Array, values: Array, mask: Array) -> tuple[Array, _Saved]:
    cut = _cut(query, keys)
    rows, context = _rows(query, keys, mask, cut), (_groups(keys, cut), _groups(values, cut))

    def group(part: tuple[_Rows, tuple[Array, Array]]) -> _Kept:
        rows, (keys, values) = part
        kept: _Kept = _each(lambda block: _attended(block, keys, values), rows)
        return kept

    kept: _Kept = _each(group, (rows, context))
    return _whole(kept.result, query), (query, keys, values, mask, kept)


def _backward(saved: _Saved, slope: Array) -> tuple[Array, Array, Array, None]:
    query, keys, values, mask, kept = saved
    cut = _cut(query, keys)
    rows, slopes = _rows(query, keys, mask, cut), _query_blocks(slope, keys.shape[2], cut)

    def group(part: tuple[_Rows, Array, _Kept, tuple[Array, Array]]) -> tuple[Array, Array, Array]:
        rows, slopes, kept, (keys, values) = part

        def one(sums: tuple[Array, Array], block: tuple[_Rows, Array, _Kept]) -> tuple[tuple[Array, Array], Array]:
            by_query, *more = _slopes(*block, keys, values)
            return (sums[0] + more[0], sums[1] + more[1]), by_query

        start = (jnp.zeros((len(keys), *keys.shape[2:], keys.shape[1]), jnp.float32),) * 2
        sums, by_query = lax.scan(one, start, (rows, slopes, kept))
        by_keys, by_values = (jnp.moveaxis(array, 3, 1).astype(keys.dtype) for array in sums)
        return by_query, by_keys, by_values

    by_query, by_keys, by_values = _each(group, (rows, slopes, kept, (_groups(keys, cut), _groups(values, cut))))
    return _whole(by_query, query), by_keys.reshape(keys.shape), by_values.reshape(values.shape), None


attend_in_blocks.defvjp(_forward, _backward)


def _attended(rows: _Rows, keys: Array, values: Array) -> _Kept:
    scores = _scores(rows, keys)
    top = jnp.max(scores, axis=-1, keepdims=True)
    powers = jnp.exp(scores - top)
    total = jnp.sum(powers, axis=-1, keepdims=True)
    # Rounded after the division, as dense attention does it.
    return _Kept(jnp.einsum("BKTGC,BCKH->BTKGH", (powers / total).astype(values.dtype), values), top, total)


def _slopes(rows: _Rows, slope: Array, kept: _Kept, keys: Array, values: Array) -> tuple[Array, Array, Array]:
    """By queries ``[b, t, K, G, H]``, by keys and by values ``[b, K, H, C]``."""
    probabilities = jnp.exp(_scores(rows, keys) - kept.top) / kept.total
    by_probability = jnp.einsum("BTKGH,BCKH->BKTGC", slope, values, preferred_element_type=jnp.float32)
    mean = jnp.einsum("BTKGH,BTKGH->BKTG", slope, kept.result, preferred_element_type=jnp.float32)[..., None]
    # A row that sees nothing has probabilities all the same, which no score moves.
    by_score = jnp.where(_heads(rows.mask), probabilities * (by_probability - mean), 0.0).astype(keys.dtype)
    # The narrow operand first: the first one is transposed in memory, and the other is a block of scores.
    by_keys, by_values = (
        jnp.einsum("BTKGH,BKTGC->BKHC", narrow, wide, preferred_element_type=jnp.float32)
        for narrow, wide in ((rows.query, by_score), (slope, probabilities.astype(values.dtype)))
    )
    return jnp.einsum("BKTGC,BCKH->BTKGH", by_score, keys), by_keys, by_values


def _scores(rows: _Rows, keys: Array) -> Array:
    """float32 ``[b, K, t, G, C]``: heads that share keys stand beside each other, so that they are one product."""
    scores = jnp.einsum("BTKGH,BCKH->BKTGC", rows.query, keys, preferred_element_type=jnp.float32)
    return jnp.where(_heads(rows.mask), scores, _NEVER)


def _heads(mask: Array) -> Array:
    """``[b, t, C]`` → ``[b, 1, t, 1, C]``."""
    return mask[:, None, :, None]


def _cut(query: Array, keys: Array) -> _Blocks:
    """Several examples a block where they are small, several blocks an example where they are large."""
    batch, length, heads, _ = query.shape
    scores = length * heads * keys.shape[1]
    most = max(1, min(batch, SCORES_AT_ONCE // scores))
    together = next(size for size in range(most, 0, -1) if batch % size == 0)
    queries = max(1, -(-scores // SCORES_AT_ONCE))
    return _Blocks(batch // together, queries, -(-length // queries))


def _rows(query: Array, keys: Array, mask: Array, cut: _Blocks) -> _Rows:
    mask = jnp.broadcast_to(mask, (len(query), *mask.shape[1:]))
    return _Rows(_query_blocks(query, keys.shape[2], cut), _split(mask, cut))


def _query_blocks(query: Array, kv_heads: int, cut: _Blocks) -> Array:
    """``[B, T, N, H]`` → ``[examples, queries, b, t, K, G, H]``."""
    batch, length, heads, width = query.shape
    return _split(query.reshape(batch, length, kv_heads, heads // kv_heads, width), cut)


def _split(array: Array, cut: _Blocks) -> Array:
    """``[B, T, …]`` → ``[examples, queries, b, t, …]``, padded at the end."""
    batch, length, *rest = array.shape
    padding = [(0, 0), (0, cut.queries * cut.length - length)] + [(0, 0)] * len(rest)
    blocks = jnp.pad(array, padding).reshape(cut.examples, batch // cut.examples, cut.queries, cut.length, *rest)
    return jnp.moveaxis(blocks, 2, 1)


def _whole(blocks: Array, like: Array) -> Array:
    """``[examples, queries, b, t, K, G, H]`` → ``[B, T, N, H]``."""
    batch, length, heads, width = like.shape
    joined = jnp.moveaxis(blocks, 1, 2).reshape(batch, -1, heads, width)
    return joined[:, :length]


def _groups(array: Array, cut: _Blocks) -> Array:
    """``[B, C, …]`` → ``[examples, b, C, …]``."""
    return array.reshape(cut.examples, -1, *array.shape[1:])


def _each(work: Callable[[Any], Any], parts: Any) -> Any:
    """``work`` over the leading axis of a tree, one after the other."""
    if jax.tree.leaves(parts)[0].shape[0] > 1:
        return lax.map(work, parts)
    return jax.tree.map(lambda array: array[None], work(jax.tree.map(lambda array: array[0], parts)))
