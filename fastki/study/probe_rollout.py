"""What the probe makes of a starting state when it writes a whole chunk by itself.

Axis letters: B chunks, P places, V vocabulary, S state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastki.tokenizer.rules import Rules

if TYPE_CHECKING:
    from fastki.study.probe_model import ModelShape, Params


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
