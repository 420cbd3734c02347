"""Which tokens may come next, so that whatever a policy samples decodes without a repair.

Axis letters: B sequences sampled side by side, V vocabulary, P places of the symbol automaton.

A policy that samples FAST tokens freely may open an escape and never close it, or write more coefficients than a chunk
has. The stream's symbols form a small automaton (between numbers, inside an escape, …) and a few counts (coefficients
left, …). What a token does from each place of the automaton is tabulated once; what it may do then is a look-up and a
comparison of counts, for a batch at a time and without a Python loop, so that the same lines run under NumPy and,
jitted, under JAX:

>>> import numpy as np
>>> from fastki import FastTokenizer
>>> chunks = np.cumsum(np.random.default_rng(0).normal(size=(200, 8, 2)), axis=1)
>>> tokenizer = FastTokenizer.fit(chunks, vocab_size=96, bins=20)
>>> grammar, rng = TokenGrammar.of(tokenizer), np.random.default_rng(1)
>>> state, tokens = grammar.start(1), []
>>> while grammar.allowed(state).any():
...     tokens.append(int(rng.choice(np.flatnonzero(grammar.allowed(state)[0]))))
...     state = grammar.advance(state, np.array(tokens[-1:]))
>>> tokenizer.decode_normalized([tokens], strict=True).shape
(1, 8, 2)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.stream import MAX_FINER, Alphabet

# Columns of a state: place in the automaton, coefficients (freq) or dimensions (dim) left, coefficients left in this
# dimension (dim only), refinements left.
PLACE, LEFT, IN_DIM, REFINEMENTS = range(4)


@dataclass(frozen=True, eq=False)
class TokenGrammar:
    """Transition tables of a tokenizer's stream; every method is pure and works on a batch.

    ``xp`` is the array module, ``numpy`` or ``jax.numpy``. A state is int32 ``[B, 4]``.

    Attributes:
        by_dimension: whether the order is ``dim``.
        horizon: H.
        action_dim: A.
        next_place: int16 or int32 ``[P, V]``, where a token leads, -1 where it may never stand.
        refinements: int16 or int32 ``[P, V]``, refinements that it holds.
        first: int16 or int32 ``[P, V]``, coefficients before its first END (all of them in ``freq`` order); a number
            that it leaves open counts.
        ends: int16 or int32 ``[P, V]``, dimensions that it closes.
        inner: int16 or int32 ``[P, V]``, the most coefficients between two of its ENDs.
        last: int16 or int32 ``[P, V]``, coefficients after its last END; a number that it leaves open counts.
        tail: int16 or int32 ``[P, V]``, 1 if anything follows its last END, or it has none.
        open_number: bool ``[P]``, places inside a number, or where one must follow.
        open_value: bool ``[P]``, those of them whose number is a coefficient.
    """

    by_dimension: bool
    horizon: int
    action_dim: int
    next_place: NDArray[np.integer[Any]]
    refinements: NDArray[np.integer[Any]]
    first: NDArray[np.integer[Any]]
    ends: NDArray[np.integer[Any]]
    inner: NDArray[np.integer[Any]]
    last: NDArray[np.integer[Any]]
    tail: NDArray[np.integer[Any]]
    open_number: NDArray[np.bool_]
    open_value: NDArray[np.bool_]

    @classmethod
    def of(cls, tokenizer: FastTokenizer) -> TokenGrammar:
        """The grammar of a fitted tokenizer's tokens."""
        from fastki.tokenizer.grammar_kernels import tabulate

        codec = tokenizer.codec
        places = _Places(codec.alphabet)
        expansions = tokenizer.bpe.expansions
        # A count beyond what a chunk holds is as forbidden as any other, so counts may end there.
        most = max(codec.horizon * codec.action_dim, MAX_FINER * codec.action_dim) + 1
        kind = np.int16 if most < 2**15 else np.int32
        tables = np.zeros((7, places.count, tokenizer.vocab_size), dtype=kind)
        tabulate(
            expansions.values,
            expansions.offsets,
            places.moves,
            places.completes,
            places.open_value,
            codec.alphabet.radix,
            most,
            tables,
        )
        next_place, refinements, first, ends, inner, last, tail = tables
        return cls(
            codec.order == "dim",
            codec.horizon,
            codec.action_dim,
            next_place,
            refinements,
            first,
            ends,
            inner,
            last,
            tail,
            places.open_number,
            places.open_value,
        )

    def start(self, batch: int, *, xp: Any = np) -> Any:
        """The state before the first token of ``batch`` sequences, int32 ``[B, 4]``."""
        left = self.action_dim if self.by_dimension else self.horizon * self.action_dim
        row = [0, left, self.horizon if self.by_dimension else 0, MAX_FINER * self.action_dim]
        return xp.broadcast_to(xp.asarray(row, dtype=xp.int32), (batch, 4))

    def allowed(self, state: Any, *, within: Any = None, xp: Any = np) -> Any:
        """Which tokens may come next, bool ``[B, V]``; none once the chunk is full.

        Args:
            state: of each sequence.
            within: tokens that may still come, this one included: a number is then not left open that could not be
                finished in time. None: any number.
            xp: the array module.
        """
        place = state[:, PLACE]
        row = {name: xp.asarray(getattr(self, name))[place] for name in self._tables()}
        fits = (row["next_place"] >= 0) & (row["refinements"] <= state[:, REFINEMENTS, None])
        if within is not None:
            fits = fits & (xp.asarray(self.closing)[row["next_place"]] < within)
        left = state[:, LEFT, None]
        if not self.by_dimension:
            return fits & (row["first"] <= left)
        return (
            fits
            & (row["first"] <= state[:, IN_DIM, None])
            & (row["inner"] <= self.horizon)
            & (row["last"] <= self.horizon)
            & (row["ends"] + row["tail"] <= left)
        )

    def can_end(self, state: Any, *, xp: Any = np) -> Any:
        """Whether a sequence may end here, bool ``[B]``: coefficients not written are zero."""
        return ~xp.asarray(self.open_number)[state[:, PLACE]]

    def advance(self, state: Any, token: Any, *, xp: Any = np) -> Any:
        """The state after one allowed token each, int32 ``[B]`` → ``[B, 4]``."""
        place = state[:, PLACE]
        row = {name: xp.asarray(getattr(self, name))[place, token].astype(xp.int32) for name in self._tables()}
        after = row["next_place"]
        # A number left open counts towards what fits, and is written only once it is closed.
        pending = xp.asarray(self.open_value)[after].astype(xp.int32)
        refinements = state[:, REFINEMENTS] - row["refinements"]
        if not self.by_dimension:
            left = state[:, LEFT] - row["first"] + pending
            return xp.stack([after, left, state[:, IN_DIM], refinements], axis=1)
        ended = row["ends"] > 0
        within = xp.where(ended, self.horizon - row["last"], state[:, IN_DIM] - row["first"]) + pending
        return xp.stack([after, state[:, LEFT] - row["ends"], within, refinements], axis=1)

    @cached_property
    def closing(self) -> NDArray[np.int32]:
        """Tokens from each place until no number is open, at least, int32 ``[P]``."""
        steps = np.where(self.open_number, np.iinfo(np.int32).max - 1, 0)
        for _ in range(len(steps)):
            after = np.where(self.next_place >= 0, steps[self.next_place], np.iinfo(np.int32).max - 1)
            steps = np.where(self.open_number, np.minimum(steps, after.min(axis=1) + 1), 0)
        return steps.astype(np.int32)

    def _tables(self) -> tuple[str, ...]:
        common = ("next_place", "refinements", "first")
        return (*common, "ends", "inner", "last", "tail") if self.by_dimension else common


class _Places:
    """The automaton over symbols.

    Places: 0 at the start (of the chunk or of a dimension: refinements may come), 1 between numbers, then those inside
    a number: ``k`` escapes read (1 … K), ``d`` digits to come (1 … K); in ``freq`` order the same two groups, and the
    place right after FINER, for the dimension that a refinement names.
    """

    def __init__(self, alphabet: Alphabet) -> None:
        self.alphabet = alphabet
        top = alphabet.max_escapes
        self.start, self.between = 0, 1
        number, header = 2, 2 + 2 * top
        after_finer = header + 2 * top
        by_dimension = alphabet.order == "dim"
        self.count = number + 2 * top if by_dimension else after_finer + 1
        self.moves = np.full((self.count, alphabet.size), -1, dtype=np.int16)
        # What a literal completes from each place: 0 nothing, 1 a coefficient.
        self.completes = np.zeros(self.count, dtype=np.int16)
        self.open_number = np.arange(self.count) >= number
        self.open_value = self.open_number & (np.arange(self.count) < header)
        self._number(number, top, first=(self.start, self.between), done=self.between, completes=1)
        if by_dimension:
            self.moves[self.start, alphabet.finer] = self.start
            self.moves[[self.start, self.between], alphabet.end] = self.start
        else:
            self.moves[self.start, alphabet.finer] = after_finer
            self._number(header, top, first=(after_finer,), done=self.start, completes=0)

    def _number(self, base: int, top: int, *, first: tuple[int, ...], done: int, completes: int) -> None:
        """Moves of one number: read from the places ``first``, ending at ``done``."""
        literals, escape = slice(0, self.alphabet.radix), self.alphabet.escape
        for place in first:
            self.moves[place, literals] = done
            self.moves[place, escape] = base
            self.completes[place] = completes
        for escapes in range(1, top + 1):
            opening, digits = base + escapes - 1, base + top + escapes - 1
            if escapes < top:
                self.moves[opening, escape] = opening + 1
            self.moves[opening, literals] = base + top + escapes - 1
            self.moves[digits, literals] = done if escapes == 1 else digits - 1
            self.completes[digits] = completes if escapes == 1 else 0
