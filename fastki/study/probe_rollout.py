"""What the probe makes of a starting state when it writes a whole chunk by itself.

Axis letters: B chunks, P places, V vocabulary, S state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastki.tokenizer.base import ActionTokenizer
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.grammar import TokenGrammar
from fastki.tokenizer.ragged import Ragged

if TYPE_CHECKING:
    from fastki.study.probe_model import ModelShape, Params


class Rules(Protocol):
    """Which tokens may come next; :class:`fastki.tokenizer.grammar.TokenGrammar` is one such.

    A state is an integer array ``[B, …]``.
    """

    def start(self, batch: int) -> Any:
        """The state before the first token of ``batch`` chunks."""

    def allowed(self, state: Any) -> Any:
        """Which tokens may come next, bool ``[B, V]``."""

    def can_end(self, state: Any) -> Any:
        """Where a chunk may end, bool ``[B]``."""

    def advance(self, state: Any, token: Any) -> Any:
        """The state after one token each, int ``[B]``."""


@dataclass(frozen=True)
class FixedLength:
    """Chunks of one length, any id at each place: binning, spline coefficients. A state counts the tokens to come."""

    vocab_size: int
    length: int

    def start(self, batch: int) -> NDArray[np.int64]:
        return np.full(batch, self.length)

    def allowed(self, state: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.broadcast_to(state[:, None] > 0, (len(state), self.vocab_size))

    def can_end(self, state: NDArray[np.int64]) -> NDArray[np.bool_]:
        full: NDArray[np.bool_] = state == 0
        return full

    def advance(self, state: NDArray[np.int64], token: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        return state - 1


@dataclass(frozen=True)
class AnyLength:
    """No rule: any id, and an end anywhere, as a policy samples a tokenizer whose ids have no known grammar."""

    vocab_size: int

    def start(self, batch: int) -> NDArray[np.int64]:
        return np.zeros(batch, dtype=np.int64)

    def allowed(self, state: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.ones((len(state), self.vocab_size), dtype=bool)

    def can_end(self, state: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.ones(len(state), dtype=bool)

    def advance(self, state: NDArray[np.int64], token: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        return state


def rules_of(tokenizer: ActionTokenizer, train: Ragged) -> Rules:
    """The grammar of a tokenizer that has one, else the length that all its training chunks share, else none."""
    if isinstance(tokenizer, FastTokenizer):
        return TokenGrammar.of(tokenizer)
    lengths = train.lengths
    if (lengths == lengths[0]).all():
        return FixedLength(tokenizer.vocab_size, int(lengths[0]))
    return AnyLength(tokenizer.vocab_size)


def roll_out(params: Params, shape: ModelShape, states: NDArray[np.float32], rules: Rules) -> list[NDArray[np.int32]]:
    """The likeliest allowed token, place by place, until the end is likelier or nothing is allowed.

    A chunk that fills all places is cut at the last one where it may end.

    Args:
        params: of the network.
        shape: of the network.
        states: float32 ``[B, S]``, standardised.
        rules: of the tokens.

    Returns:
        Token ids int32 of B chunks.
    """
    from fastki.study.probe_model import empty_cache, first_logits, next_logits

    batch = len(states)
    ids = np.zeros((batch, shape.places), dtype=np.int32)
    lengths, running, state = np.zeros(batch, dtype=np.int64), np.ones(batch, dtype=bool), rules.start(batch)
    logits, cache = first_logits(params, empty_cache(shape, batch), states, shape=shape)
    for place in range(shape.places):
        tokens, ends = _choose(np.asarray(logits), rules, state)
        running &= ~ends
        if not running.any():
            break
        ids[:, place] = tokens
        kept = running.reshape(-1, *[1] * (state.ndim - 1))
        state = np.where(kept, rules.advance(state, tokens), state)
        lengths[running & rules.can_end(state)] = place + 1
        if place + 1 < shape.places:
            logits, cache = next_logits(params, cache, tokens, np.int32(place + 1), shape=shape)
    return [row[:length] for row, length in zip(ids, lengths.tolist(), strict=True)]


def _choose(logits: NDArray[np.float32], rules: Rules, state: Any) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The likeliest allowed token int32 ``[B]``, and where the chunk ends instead."""
    scores = np.where(rules.allowed(state), logits[:, :-1], -np.inf)
    tokens = scores.argmax(axis=1).astype(np.int32)
    best = scores[np.arange(len(scores)), tokens]
    ends = (best == -np.inf) | (rules.can_end(state) & (logits[:, -1] > best))
    return tokens, ends
