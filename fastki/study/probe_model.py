"""The probe's network: a small causal transformer over a chunk's tokens, as pure functions of its parameters.

Before the first token stands one vector made of the chunk's starting state. The parts are the usual ones: attention
(Vaswani et al., "Attention is all you need", 2017) under rotary positions (Su et al., "RoFormer", 2021) beside a learnt
vector for each place, root-mean-square norms before each block (Zhang and Sennrich, 2019), output weights tied to the
embeddings (Press and Wolf, 2017), and a state written in sines (Tancik et al., "Fourier features let networks learn
high frequency functions in low dimensional domains", 2020).

Numbers are drawn by NumPy, so that one seed gives the same network under every version of JAX, and the trunk, the
embeddings and the places from a stream each, so that networks for different vocabularies begin with the same trunk.

Axis letters: B chunks, P places, V vocabulary, S state, D width, N heads, K width of a head.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

Params = dict[str, Any]
Cache = list[tuple[Array, Array]]

_OCTAVES = 4  # Sines of the state, from one wave in 2π standard deviations up, each twice as fast.
_LONGEST_WAVE = 1000.0
_HIDDEN = 4  # Width of a block's inner layer, in widths.
_SMALL = 0.02  # Standard deviation of embeddings.
_LOGITS = 1 << 24  # At a time: 64 MB.


@dataclass(frozen=True)
class ModelShape:
    """What a network is compiled for.

    Attributes:
        vocab_size: V token ids; the id V is the chunk's end.
        places: P, tokens and the end at most.
        values: H·A, action values that a chunk's tokens stand for.
        state_dim: S.
        width: D.
        layers: how many.
        heads: N.
        by_product: look embeddings up by a matrix product. A graphics processor adds up the gradient of an indexed
            look-up in any order, so that no two runs are alike.
    """

    vocab_size: int
    places: int
    values: int
    state_dim: int
    width: int
    layers: int
    heads: int
    by_product: bool


class Batch(NamedTuple):
    """Chunks for the network; a named tuple, which JAX takes for what it is.

    Attributes:
        states: float32 ``[B, S]``, standardised.
        ids: int32 ``[B, P]``, token ids, then V.
        lengths: int32 ``[B]``, tokens of each chunk, below P.
    """

    states: NDArray[np.float32]
    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]


def init_params(shape: ModelShape, seed: int, counts: NDArray[np.int64]) -> Params:
    """Parameters, float32. The output starts at the training tokens' own frequencies.

    So a few steps go into what context and state add, rather than into which of 65,536 ids are common at all: the same
    steps are the same chance for every vocabulary.

    Args:
        shape: of the network.
        seed: of the numbers drawn.
        counts: int64 ``[V + 1]``, how often each id, and the end, occurs in the training chunks.
    """
    trunk, tokens, places = (np.random.default_rng([seed, stream]) for stream in range(3))
    width, rows = shape.width, shape.vocab_size + 1
    shares = (counts + 1) / (counts.sum() + rows)
    state_features = shape.state_dim * (1 + 2 * _OCTAVES)
    params = {
        "state_in": _draw(trunk, state_features, width),
        "state_bias": np.zeros(width),
        "state_out": _draw(trunk, width, width),
        "layers": {str(place): _init_layer(trunk, width, shape.layers) for place in range(shape.layers)},
        "norm": np.ones(width),
        "tokens": tokens.normal(size=(rows, width)) * _SMALL,
        "bias": np.log(shares),
        "places": places.normal(size=(shape.places, width)) * _SMALL,
    }
    started: Params = jax.tree_util.tree_map(lambda values: jnp.asarray(values, dtype=jnp.float32), params)
    return started


def _init_layer(rng: np.random.Generator, width: int, layers: int) -> dict[str, NDArray[np.float64]]:
    quiet = (2 * layers) ** -0.5  # So that the sum of all blocks begins as large as one.
    return {
        "norm_attend": np.ones(width),
        "qkv": _draw(rng, width, 3 * width),
        "attend_out": _draw(rng, width, width) * quiet,
        "norm_think": np.ones(width),
        "think_in": _draw(rng, width, _HIDDEN * width),
        "think_out": _draw(rng, _HIDDEN * width, width) * quiet,
    }


def _draw(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    return rng.normal(scale=rows**-0.5, size=(rows, columns))


@functools.partial(jax.jit, static_argnames=("shape",))
def chunk_nll(params: Params, batch: Batch, *, shape: ModelShape) -> Array:
    """The sum of −log p over each chunk's tokens and its end, nats, float32 ``[B]``."""
    hidden = _hidden(params, batch, shape)
    losses = _token_nll(params, hidden, batch.ids)
    counted = jnp.arange(shape.places)[None] <= batch.lengths[:, None]
    return jnp.sum(jnp.where(counted, losses, 0.0), axis=1)


def empty_cache(shape: ModelShape, batch: int) -> Cache:
    """Keys and values of no place yet, float32 ``[B, P, N, K]`` each, by layer."""
    zeros = jnp.zeros((batch, shape.places, shape.heads, shape.width // shape.heads), dtype=jnp.float32)
    return [(zeros, zeros)] * shape.layers


@functools.partial(jax.jit, static_argnames=("shape",))
def first_logits(params: Params, cache: Cache, states: Any, *, shape: ModelShape) -> tuple[Array, Cache]:
    """Logits of the first token given the states ``[B, S]``, float32 ``[B, V + 1]``, and the cache."""
    return _next_logits(params, cache, _state_vector(params, states)[:, None], jnp.int32(0), shape)


@functools.partial(jax.jit, static_argnames=("shape",))
def next_logits(params: Params, cache: Cache, tokens: Any, place: Any, *, shape: ModelShape) -> tuple[Array, Cache]:
    """Logits float32 ``[B, V + 1]`` at ``place`` ≥ 1 given the tokens before it, int32 ``[B]`` and the cache."""
    return _next_logits(params, cache, params["tokens"][tokens][:, None], place, shape)


def _next_logits(params: Params, cache: Cache, inputs: Array, place: Array, shape: ModelShape) -> tuple[Array, Cache]:
    x = inputs + lax.dynamic_slice_in_dim(params["places"], place, 1)[None]
    seen = (jnp.arange(shape.places) <= place)[None]
    after = []
    for layer, (keys, values) in zip(_layers(params), cache, strict=True):
        query, key, value = _project(layer, x, place[None], shape)
        keys = lax.dynamic_update_slice_in_dim(keys, key, place, axis=1)
        values = lax.dynamic_update_slice_in_dim(values, value, place, axis=1)
        after.append((keys, values))
        x = _finish(layer, x, _attend(query, keys, values, seen))
    return _logits(params, _rms(x, params["norm"]))[:, 0], after


def _hidden(params: Params, batch: Batch, shape: ModelShape) -> Array:
    """What each place knows before its symbol, ``[B, P, D]``."""
    embedded = _embed(params["tokens"], jnp.asarray(batch.ids)[:, :-1], shape)
    x = jnp.concatenate([_state_vector(params, batch.states)[:, None], embedded], axis=1) + params["places"][None]
    places = jnp.arange(shape.places)
    seen = places[:, None] >= places[None]
    for layer in _layers(params):
        x = _finish(layer, x, _attend(*_project(layer, x, places, shape), seen))
    return _rms(x, params["norm"])


def _layers(params: Params) -> list[Params]:
    """In their order."""
    return [params["layers"][str(place)] for place in range(len(params["layers"]))]


def _embed(table: Array, ids: Array, shape: ModelShape) -> Array:
    if not shape.by_product:
        return table[ids]
    return jnp.matmul(jax.nn.one_hot(ids, table.shape[0], dtype=table.dtype), table, precision=lax.Precision.HIGHEST)


def _state_vector(params: Params, states: Any) -> Array:
    """``[B, D]``."""
    states = jnp.asarray(states)
    waves = [wave(states * 2.0**octave) for octave in range(_OCTAVES) for wave in (jnp.sin, jnp.cos)]
    features = jnp.concatenate([states, *waves], axis=1)
    vector: Array = jax.nn.gelu(features @ params["state_in"] + params["state_bias"][None]) @ params["state_out"]
    return vector


def _project(layer: Params, x: Array, places: Array, shape: ModelShape) -> tuple[Array, Array, Array]:
    """Queries, keys and values ``[B, P, N, K]``, the first two turned by their places."""
    mixed = _rms(x, layer["norm_attend"]) @ layer["qkv"]
    query, key, value = jnp.split(mixed.reshape(*x.shape[:2], 3 * shape.heads, -1), 3, axis=2)
    return _turn(query, places), _turn(key, places), value


def _turn(x: Array, places: Array) -> Array:
    """Rotary positions: pairs of features turn by an angle that grows with the place."""
    half = x.shape[-1] // 2
    speeds = _LONGEST_WAVE ** -(jnp.arange(half, dtype=x.dtype) / half)
    angles = (places.astype(x.dtype)[:, None] * speeds[None])[None, :, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)


def _attend(query: Array, key: Array, value: Array, seen: Array) -> Array:
    """``[B, Q, D]`` of queries ``[B, Q, N, K]``; ``seen`` is bool ``[Q, P]``."""
    scores = jnp.einsum("bqnk,bpnk->bnqp", query, key) * query.shape[-1] ** -0.5
    shares = jax.nn.softmax(jnp.where(seen[None, None], scores, -jnp.inf), axis=-1)
    return jnp.einsum("bnqp,bpnk->bqnk", shares, value).reshape(*query.shape[:2], -1)


def _finish(layer: Params, x: Array, attended: Array) -> Array:
    x = x + attended @ layer["attend_out"]
    thought: Array = jax.nn.gelu(_rms(x, layer["norm_think"]) @ layer["think_in"]) @ layer["think_out"]
    return x + thought


def _rms(x: Array, gain: Array) -> Array:
    scale: Array = lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    return x * scale * gain[None, None]


def _logits(params: Params, hidden: Array) -> Array:
    logits: Array = hidden @ params["tokens"].T + params["bias"][None, None]
    return logits


def _token_nll(params: Params, hidden: Array, ids: Any) -> Array:
    """−log p of each id, ``[B, P]``; many logits are made a few places at a time, and again for the gradient."""
    batch, places, width = hidden.shape
    rows = params["tokens"].shape[0]

    def some(hidden: Array, ids: Array) -> Array:
        logits = _logits(params, hidden)
        chosen = ids[..., None] == jnp.arange(rows, dtype=ids.dtype)[None, None]
        return jax.nn.logsumexp(logits, axis=-1) - jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1)

    blocks = -(-batch * places * rows // _LOGITS)
    if blocks == 1:
        return some(hidden, ids)
    size = -(-batch * places // blocks)
    spare = blocks * size - batch * places
    flat = jnp.pad(hidden.reshape(-1, width), ((0, spare), (0, 0))).reshape(blocks, 1, size, width)
    flat_ids = jnp.pad(jnp.asarray(ids).reshape(-1), (0, spare)).reshape(blocks, 1, size)
    losses: Array = lax.map(lambda block: jax.checkpoint(some)(*block), (flat, flat_ids))
    return losses.reshape(-1)[: batch * places].reshape(batch, places)
