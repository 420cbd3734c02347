"""The two losses, out of one pass, and what else a step tells.

    L = mean over examples of flow + ki_fast_loss_weight · mean over examples of cross-entropy

Each example's loss is over its own count of true values or tokens, so that neither padding nor a long chunk has any
weight. Flow: Lipman et al., "Flow matching for generative modeling" (2023), with the noise at time 1 as in "π0" (2024),
section IV; both together: "Knowledge insulating vision-language-action models" (2025), equation 4.

Axis letters: B batch, P text tokens, H horizon, D action dimensions, W width, V vocabulary, C tokens of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from fastki.model.config import Mode
from fastki.model.gemma import logits_of
from fastki.model.vla import VLA, Outputs
from fastki.sequence.batch import Batch, Observation

LOGITS_AT_ONCE = 1 << 28
"""Logits that are computed at a time, at most: 1 GB."""
_PLACES_AT_ONCE = 32  # Of each example; more would mostly be places without loss.
_SHORTEST_TIME = 0.001  # At time 0 the noise is gone and there is nothing left to learn.
_BETA = 1.5


class FlowDraw(NamedTuple):
    """What the flow's loss is drawn at.

    Attributes:
        noise: float32 ``[B, H, D]``, standard normal.
        time: float32 ``[B]`` in [0.001, 1], 1 for noise.
    """

    noise: Array
    time: Array


class TokenSums(NamedTuple):
    """Sums over an example's tokens with loss, float32 ``[B]`` each.

    Attributes:
        nll: −log p, in nats.
        correct: tokens than which none was likelier.
        tokens: how many.
    """

    nll: Array
    correct: Array
    tokens: Array


@dataclass(frozen=True, eq=False)
class Losses:
    """Of a batch, float32 scalars.

    Attributes:
        total: what is minimised.
        metrics: ``loss`` and its parts. ``flow_loss``: mean square of the velocity's error. ``fast_loss``:
            cross-entropy per token. ``nats_per_value``: summed −log p over action values. ``token_accuracy``. A mode
            without a loss leaves its metrics out.
    """

    total: Array
    metrics: dict[str, Array]


def draw_flow(key: Array, shape: tuple[int, int, int]) -> FlowDraw:
    """Noise and times for ``[B, H, D]`` actions; t ~ Beta(1.5, 1) · 0.999 + 0.001, more of it near the noise.

    Beta(a, 1) has the distribution function tᵃ, so one uniform number gives it.
    """
    noise_key, time_key = jax.random.split(key)
    uniform = jax.random.uniform(time_key, shape[:1])
    time = uniform ** (1 / _BETA) * (1 - _SHORTEST_TIME) + _SHORTEST_TIME
    return FlowDraw(jax.random.normal(noise_key, shape), time)


def compute_losses(model: VLA, batch: Batch, draw: FlowDraw, mode: Mode, *, has_actions: Array | None = None) -> Losses:
    """The losses of a mode, in one forward pass.

    Args:
        model: with its parameters.
        batch: with FAST tokens where the mode learns them.
        draw: where the flow's loss is taken.
        mode: which losses, and whether the expert is insulated.
        has_actions: bool ``[B]``, False where the flow has nothing to learn, as for pictures with a caption.
    """
    observation, actions = batch.observation, jnp.asarray(batch.actions)
    if not mode.flow:
        outputs = model.backbone(observation)
    else:
        time = draw.time[:, None, None]
        noisy = time * draw.noise + (1 - time) * actions
        outputs = model.joint(observation, noisy, draw.time, insulated=mode.insulate)
    values = jnp.asarray(batch.actions_mask)
    if has_actions is not None:
        values &= has_actions[:, None, None]
    metrics, total = {}, jnp.zeros(())
    if mode.flow:
        assert outputs.velocity is not None
        metrics["flow_loss"] = flow_loss(outputs.velocity, draw.noise - actions, values)
        total += metrics["flow_loss"]
    if mode.fast:
        sums = token_sums(model, outputs, observation)
        metrics |= _token_metrics(sums, values)
        total += model.config.ki_fast_loss_weight * _mean_over_examples(sums.nll, sums.tokens)
    return Losses(total, {"loss": total, **metrics})


def flow_loss(velocity: Array, target: Array, mask: Array) -> Array:
    """Mean over examples of the mean square error over what ``mask`` leaves of ``[B, H, D]``."""
    error = jnp.square(velocity - target) * mask
    return _mean_over_examples(jnp.sum(error, axis=(1, 2)), jnp.sum(mask, axis=(1, 2)))


def token_sums(model: VLA, outputs: Outputs, observation: Observation) -> TokenSums:
    """−log p of each token with loss, given all before it, summed over each example's.

    A token is predicted at the place of the one before, which is text too. Logits are made at those places alone: the
    places with loss come first, and the rest is left out a chunk at a time.
    """
    ids = jnp.asarray(observation.tokenized_prompt)[:, 1:]
    learnt = jnp.asarray(observation.token_loss_mask & observation.tokenized_prompt_mask)[:, 1:]
    hidden = outputs.prefix[:, outputs.text_start : -1]
    order = jnp.argsort(~learnt, axis=1, stable=True)
    hidden, ids, learnt = (_take(array, order) for array in (hidden, ids, learnt))
    return _summed(_Places(hidden, ids, learnt), model.llm.embedder.input_embedding[...])


class _Places(NamedTuple):
    """Where tokens are predicted, those with loss first: ``[B, P, W]``, int ``[B, P]``, bool ``[B, P]``."""

    hidden: Array
    ids: Array
    learnt: Array

    def chunk(self, number: Array, width: int) -> _Places:
        """``width`` of them."""
        return _Places(*(lax.dynamic_slice_in_dim(array, number * width, width, axis=1) for array in self))


@jax.custom_vjp
def _summed(places: _Places, table: Array) -> TokenSums:
    """A chunk of places at a time, and none in which no example has a token left.

    Logits would fill the memory, so none are kept: the backward pass makes them again, a chunk at a time. It is written
    out here since what JAX would make of the loop keeps the table once for each chunk.
    """
    return _sums_forward(places, table)[0]


def _sums_forward(places: _Places, table: Array) -> tuple[TokenSums, tuple[_Places, Array]]:
    padded, width = _chunks(places, table)

    def step(number: Array, total: TokenSums) -> TokenSums:
        chunk = padded.chunk(number, width)
        more = _chunk_sums(logits_of(chunk.hidden, table), chunk.ids, chunk.learnt)
        return TokenSums(*(a + b for a, b in zip(total, more, strict=True)))

    start = TokenSums(*(jnp.zeros(len(places.ids)),) * 3)
    return lax.fori_loop(0, _chunks_with_loss(places, width), step, start), (places, table)


def _sums_backward(saved: tuple[_Places, Array], slope: TokenSums) -> tuple[_Places, Array]:
    places, table = saved
    padded, width = _chunks(places, table)

    def step(number: Array, slopes: tuple[Array, Array]) -> tuple[Array, Array]:
        by_hidden, by_table = slopes
        hidden, ids, learnt = padded.chunk(number, width)
        chances = jax.nn.softmax(logits_of(hidden, table))
        weight = jnp.where(learnt, slope.nll[:, None], 0.0)[..., None]
        by_logit = (chances - (jnp.arange(len(table)) == ids[..., None])) * weight
        # A table that is kept in bfloat16, being frozen, is not made float32 for this.
        narrow = by_logit.astype(table.dtype)
        more = jnp.einsum("bcv,vd->bcd", narrow, table, preferred_element_type=jnp.float32).astype(hidden.dtype)
        by_hidden = lax.dynamic_update_slice_in_dim(by_hidden, more, number * width, axis=1)
        # In this order it is the hidden states that are transposed in memory, which are narrower than logits.
        return by_hidden, by_table + jnp.einsum("bcd,bcv->dv", hidden, by_logit).T.astype(table.dtype)

    start = jnp.zeros_like(padded.hidden), jnp.zeros_like(table)
    by_hidden, by_table = lax.fori_loop(0, _chunks_with_loss(places, width), step, start)
    return _Places(by_hidden[:, : places.hidden.shape[1]], None, None), by_table  # type: ignore[arg-type]


_summed.defvjp(_sums_forward, _sums_backward)


def _chunks(places: _Places, table: Array) -> tuple[_Places, int]:
    """The places, filled up to whole chunks, and how many places those have."""
    batch, count = places.ids.shape
    width = max(1, min(count, _PLACES_AT_ONCE, LOGITS_AT_ONCE // (batch * table.shape[0])))
    more = -count % width
    padded = (jnp.pad(array, [(0, 0), (0, more)] + [(0, 0)] * (array.ndim - 2)) for array in places)
    return _Places(*padded), width


def _chunks_with_loss(places: _Places, width: int) -> Array:
    """int scalar; the places with loss come first."""
    most = jnp.max(jnp.sum(places.learnt, axis=1, dtype=jnp.int32), initial=0)
    return (most + width - 1) // width


def _chunk_sums(logits: Array, ids: Array, learnt: Array) -> TokenSums:
    """Of float32 logits ``[B, C, V]``."""
    chosen = jnp.take_along_axis(logits, ids[..., None].clip(0), axis=-1)[..., 0]
    nll = (jax.nn.logsumexp(logits, axis=-1) - chosen) * learnt
    correct = (chosen == jnp.max(logits, axis=-1)) & learnt
    return TokenSums(*(jnp.sum(array, axis=1, dtype=jnp.float32) for array in (nll, correct, learnt)))


def _take(array: Array, order: Array) -> Array:
    """Along axis 1, ``[B, P, …]`` by ``[B, P]``."""
    return jnp.take_along_axis(array, order.reshape(*order.shape, *[1] * (array.ndim - 2)), axis=1)


def _token_metrics(sums: TokenSums, values: Array) -> dict[str, Array]:
    tokens = jnp.maximum(jnp.sum(sums.tokens), 1)
    # Only examples with actions: a caption's tokens stand for no action value.
    acting = jnp.any(values, axis=(1, 2))
    nll = jnp.sum(sums.nll * acting)
    return {
        "fast_loss": jnp.sum(sums.nll) / tokens,
        "token_accuracy": jnp.sum(sums.correct) / tokens,
        "nats_per_value": nll / jnp.maximum(jnp.sum(values * (sums.tokens > 0)[:, None, None]), 1),
    }


def _mean_over_examples(sums: Array, counts: Array) -> Array:
    """Mean of ``sums / counts`` over the examples that have any, ``[B]`` and ``[B]``."""
    own = sums / jnp.maximum(counts, 1)
    return jnp.sum(own) / jnp.maximum(jnp.sum(counts > 0), 1)
