"""Which tokens may follow which, for whoever writes a chunk token by token: one interface for every tokenizer.

Every method is pure, works on a batch, and takes the array module as ``xp``: ``numpy``, or ``jax.numpy`` under ``jit``.

Axis letters: B sequences, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fastki.tokenizer.base import ActionTokenizer
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.grammar import TokenGrammar


class Rules(Protocol):
    """Which tokens may come next. A state is an integer array ``[B, …]``."""

    def start(self, batch: int, *, xp: Any = np) -> Any:
        """The state before the first token of ``batch`` chunks."""

    def allowed(self, state: Any, *, within: Any = None, xp: Any = np) -> Any:
        """Which tokens may come next, bool ``[B, V]``.

        Args:
            state: of each sequence.
            within: tokens that may still come, this one included; those are left out after which a sequence could not
                end in time. None: any number.
            xp: the array module.
        """

    def can_end(self, state: Any, *, xp: Any = np) -> Any:
        """Where a chunk may end, bool ``[B]``."""

    def advance(self, state: Any, token: Any, *, xp: Any = np) -> Any:
        """The state after one token each, int ``[B]``."""


@dataclass(frozen=True)
class FixedLength:
    """Chunks of one length, any id at each place: binning, spline coefficients. A state counts the tokens to come."""

    vocab_size: int
    length: int

    def start(self, batch: int, *, xp: Any = np) -> Any:
        return xp.full(batch, self.length, dtype=xp.int32)

    def allowed(self, state: Any, *, within: Any = None, xp: Any = np) -> Any:
        return xp.broadcast_to(state[:, None] > 0, (len(state), self.vocab_size))

    def can_end(self, state: Any, *, xp: Any = np) -> Any:
        return state == 0

    def advance(self, state: Any, token: Any, *, xp: Any = np) -> Any:
        return state - 1


@dataclass(frozen=True)
class AnyLength:
    """No rule: any id, and an end anywhere, as a policy samples a tokenizer whose ids have no known grammar.

    Attributes:
        vocab_size: V.
        end_id: among the V, what says that a sequence ends, and so never stands in one; None where none does.
    """

    vocab_size: int
    end_id: int | None = None

    def start(self, batch: int, *, xp: Any = np) -> Any:
        return xp.zeros(batch, dtype=xp.int32)

    def allowed(self, state: Any, *, within: Any = None, xp: Any = np) -> Any:
        ids = xp.arange(self.vocab_size)
        return xp.broadcast_to(ids != (-1 if self.end_id is None else self.end_id), (len(state), self.vocab_size))

    def can_end(self, state: Any, *, xp: Any = np) -> Any:
        return xp.ones(len(state), dtype=bool)

    def advance(self, state: Any, token: Any, *, xp: Any = np) -> Any:
        return state


def rules_of(tokenizer: ActionTokenizer, lengths: Any = None) -> Rules:
    """The grammar of a tokenizer that has one, else the length that all of its chunks share, else none.

    Args:
        tokenizer: whose tokens.
        lengths: of chunks that it made, int ``[N]``; None where none are known.
    """
    if isinstance(tokenizer, FastTokenizer):
        return TokenGrammar.of(tokenizer)
    known = np.asarray([] if lengths is None else lengths)
    if len(known) and (known == known[0]).all():
        return FixedLength(tokenizer.vocab_size, int(known[0]))
    return AnyLength(tokenizer.vocab_size)
