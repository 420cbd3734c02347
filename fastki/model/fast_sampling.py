"""FAST tokens out of the backbone, one after the other, within the rules of their tokenizer.

The prefix is read once. Then each token goes through the model against a cache that has room for all of them, inside
one ``lax.while_loop``: no number leaves the device until the last sequence of the batch has ended.

Axis letters: B batch, P tokens of the prefix, M tokens to be written at most, V token ids, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from fastki.model.attention import KeysValues
from fastki.model.gemma import Span, logits_of
from fastki.model.vla import VLA
from fastki.sequence.batch import Observation
from fastki.sequence.ids import FastIds
from fastki.tokenizer.rules import AnyLength, Rules

PADDING = -1
"""Stands for no token, after a sequence's end."""
_FORBIDDEN = -1e30


@dataclass(frozen=True, eq=False)
class TokenHead:
    """The tokens that may be written.

    Attributes:
        rules: which may follow which; they speak of token ids 0 … V − 1.
        text_ids: int32 ``[V]``, where each stands in the text's vocabulary.
        end_id: in the text's vocabulary, what says that a sequence ends.
    """

    rules: Rules
    text_ids: NDArray[np.int32]
    end_id: int

    @classmethod
    def of(cls, rules: Rules, ids: FastIds, end_id: int) -> TokenHead:
        """FAST's tokens under the rules of their tokenizer."""
        return cls(rules, ids.to_text(np.arange(ids.fast_vocab)), end_id)

    @classmethod
    def any_text(cls, vocab: int, end_id: int) -> TokenHead:
        """Any text: no rules."""
        return cls(AnyLength(vocab, end_id), np.arange(vocab, dtype=np.int32), end_id)


class Written(NamedTuple):
    """What was written.

    Attributes:
        tokens: int32 ``[B, M]``, token ids, :data:`PADDING` after the end.
        lengths: int32 ``[B]``.
        log_prob: float32 ``[B]``, of the whole sequence and its end, among what the rules allow.
    """

    tokens: Array
    lengths: Array
    log_prob: Array


class _Loop(NamedTuple):
    """``hidden`` ``[B, W]`` is of the last token; ``running`` ``[B]`` says which sequences go on."""

    step: Array
    key: Array
    hidden: Array
    cache: KeysValues
    state: Any
    running: Array
    written: Written


def write_tokens(
    model: VLA, observation: Observation, key: Array, head: TokenHead, *, max_tokens: int, temperature: float = 0.0
) -> Written:
    """Token by token until each sequence has ended by itself, is full by its rules, or has ``max_tokens``.

    Args:
        model: with or without an action expert.
        observation: B scenes, the text up to where the tokens begin.
        key: for temperatures above 0.
        head: what may be written.
        max_tokens: M.
        temperature: 0: the likeliest; 1: as the model has it.

    Returns:
        The sequences, each of which the rules let end where it ends.
    """
    prefix = model.embed_prefix(observation)
    where = model.places(observation, prefix.image_valid, expert=False)
    out, cache = model.llm.backbone(Span(prefix.tokens, where.positions(jnp), where.attention()))
    table = model.llm.embedder.input_embedding[...]
    rows = table[np.append(head.text_ids, np.int32(head.end_id))]
    batch, length = where.valid.shape
    begun = jnp.sum(where.valid, axis=1, dtype=jnp.int32)
    slots = jnp.arange(length + max_tokens)

    def embed(tokens: Array) -> Array:
        return model.llm.embedder.encode(jnp.asarray(head.text_ids)[tokens], model.dtype)

    def one_more(loop: _Loop) -> _Loop:
        chosen = _choose(logits_of(loop.hidden, rows), head.rules, loop, max_tokens, temperature)
        running = loop.running & ~chosen.ends
        state = head.rules.advance(loop.state, chosen.tokens, xp=jnp)
        state = jnp.where(running.reshape(-1, *[1] * (state.ndim - 1)), state, loop.state)
        seen = jnp.pad(where.valid, ((0, 0), (0, max_tokens))) | ((slots >= length) & (slots <= length + loop.step))
        span = Span(embed(chosen.tokens)[:, None], (begun + loop.step)[:, None], seen[:, None])
        hidden, cache = model.llm.extend(span, loop.cache, length + loop.step)
        written = _noted(loop, chosen, running)
        return _Loop(loop.step + 1, loop.key, hidden[:, 0], cache, state, running, written)

    nothing = Written(jnp.full((batch, max_tokens), PADDING, jnp.int32), jnp.zeros(batch, jnp.int32), jnp.zeros(batch))
    last = model.last_text(observation, out, prefix.image_valid.shape[1])
    first = _Loop(
        jnp.int32(0),
        key,
        last,
        KeysValues(*(_with_room(array, max_tokens) for array in cache)),
        head.rules.start(batch, xp=jnp),
        jnp.ones(batch, bool),
        nothing,
    )
    done = lax.while_loop(lambda loop: (loop.step < max_tokens) & jnp.any(loop.running), one_more, first)
    return done.written


class _Choice(NamedTuple):
    """``tokens`` int32 ``[B]``, ``ends`` bool ``[B]`` where the sequence ends instead, ``log_prob`` float32 ``[B]``."""

    tokens: Array
    ends: Array
    log_prob: Array


def _choose(logits: Array, rules: Rules, loop: _Loop, max_tokens: int, temperature: float) -> _Choice:
    """A token each, or the end, of float32 logits ``[B, V + 1]`` whose last column is the end's."""
    allowed = rules.allowed(loop.state, within=max_tokens - loop.step, xp=jnp)
    full = ~jnp.any(allowed, axis=1)
    ends = rules.can_end(loop.state, xp=jnp) | full
    logits = jnp.where(jnp.concatenate([allowed, ends[:, None]], axis=1), logits, _FORBIDDEN)
    noise = jax.random.gumbel(jax.random.fold_in(loop.key, loop.step), logits.shape)
    best = jnp.argmax(logits + temperature * noise, axis=1).astype(jnp.int32)
    log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), best[:, None], axis=1)[:, 0]
    end = logits.shape[1] - 1
    return _Choice(jnp.minimum(best, end - 1), best == end, log_prob)


def _noted(loop: _Loop, chosen: _Choice, running: Array) -> Written:
    """What was written so far with one token more where a sequence goes on."""
    column = jnp.where(running, chosen.tokens, PADDING)
    return Written(
        loop.written.tokens.at[:, loop.step].set(column),
        loop.written.lengths + running,
        loop.written.log_prob + jnp.where(loop.running, chosen.log_prob, 0.0),
    )


def _with_room(cache: Array, count: int) -> Array:
    """``[L, B, P, K, H]`` → ``[L, B, P + count, K, H]``."""
    return jnp.pad(cache, ((0, 0), (0, 0), (0, count), (0, 0), (0, 0)))
