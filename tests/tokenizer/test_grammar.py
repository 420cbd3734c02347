"""Sampling under the grammar: always valid, always ends, and every real chunk can be sampled."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastki import FastTokenizer
from fastki.tokenizer.grammar import PLACE, TokenGrammar

PROPERTY = settings(deadline=None, max_examples=30)


@functools.cache
def tokenizer(order: str, bins: int, vocab_size: int = 128, horizon: int = 8, dims: int = 3) -> FastTokenizer:
    rng = np.random.default_rng(0)
    chunks = np.cumsum(rng.normal(size=(300, horizon, dims)), axis=1)
    chunks[::7] *= 30
    precision = {"atol": 1 / bins} if bins % 2 else {"bins": bins}
    return FastTokenizer.fit(chunks, vocab_size=vocab_size, order=order, **precision)


CASES = [("freq", 20), ("freq", 2000), ("freq", 101), ("dim", 20), ("dim", 2000), ("dim", 101)]


def sample(grammar: TokenGrammar, rng: np.random.Generator, *, batch: int, end_rate: float, sharp: float):
    """Random logits under the mask; a sequence ends when nothing is allowed, or at random where it may."""
    state = grammar.start(batch)
    rows: list[list[int]] = [[] for _ in range(batch)]
    running = np.ones(batch, dtype=bool)
    favourites = rng.normal(size=grammar.next_place.shape[1]) * sharp
    for _ in range(100_000):
        allowed = grammar.allowed(state)
        running &= allowed.any(axis=1) & ~(grammar.can_end(state) & (rng.random(batch) < end_rate))
        if not running.any():
            return rows, state
        logits = favourites + rng.gumbel(size=allowed.shape)
        tokens = np.where(allowed, logits, -np.inf).argmax(axis=1)
        state = np.where(running[:, None], grammar.advance(state, tokens), state)
        for row in np.flatnonzero(running):
            rows[row].append(int(tokens[row]))
    raise AssertionError("sampling did not end")


@pytest.mark.parametrize("case", CASES)
@given(seed=st.integers(0, 2**32 - 1), end_rate=st.sampled_from([0.0, 0.01, 0.3]), sharp=st.sampled_from([0.0, 3.0]))
@PROPERTY
def test_whatever_is_sampled_under_the_mask_needs_no_repair(case, seed, end_rate, sharp):
    fitted = tokenizer(*case)
    grammar = TokenGrammar.of(fitted)
    rows, state = sample(grammar, np.random.default_rng(seed), batch=4, end_rate=end_rate, sharp=sharp)
    assert grammar.can_end(state).all()
    decoded = fitted.decode_normalized_report(rows)
    assert decoded.repairs.total.tolist() == [0] * 4
    assert decoded.actions.shape == (4, 8, 3)


@pytest.mark.parametrize("case", CASES)
def test_every_encoded_chunk_is_allowed_and_may_end(case):
    fitted = tokenizer(*case)
    grammar = TokenGrammar.of(fitted)
    rng = np.random.default_rng(5)
    chunks = np.cumsum(rng.normal(size=(50, 8, 3)), axis=1) * rng.choice([0.1, 1, 100], size=(50, 1, 1))
    for ids in fitted.encode(chunks):
        state = grammar.start(1)
        for token in ids:
            assert grammar.allowed(state)[0, token]
            state = grammar.advance(state, np.array([token]))
        assert grammar.can_end(state)[0]


def test_the_mask_is_exact():
    """A token is allowed exactly if appending it needs no repair and leaves nothing that must."""
    for case in CASES:
        fitted = tokenizer(*case, vocab_size=96, horizon=2, dims=2)
        grammar, rng = TokenGrammar.of(fitted), np.random.default_rng(3)
        for _ in range(20):
            state, prefix = grammar.start(1), []
            while grammar.allowed(state).any():
                allowed = grammar.allowed(state)[0]
                for token in range(fitted.vocab_size):
                    repairs = fitted.decode_normalized_report([[*prefix, token]]).repairs
                    broken = repairs.extra[0] + repairs.misplaced[0]
                    closes_badly = "END" in describe(fitted, token) and repairs.unfinished[0]
                    if allowed[token]:
                        assert not broken, (case, prefix, token)
                    elif not closes_badly:
                        assert broken or overfull(fitted, grammar, state, token), (case, prefix, token)
                prefix.append(int(rng.choice(np.flatnonzero(allowed))))
                state = grammar.advance(state, np.array(prefix[-1:]))


def describe(fitted, token):
    return [fitted.codec.alphabet.name(int(symbol)) for symbol in fitted.bpe.expansions[token]]


def overfull(fitted, grammar, state, token):
    """Whether a token opens a number for which no coefficient is left: nothing is broken yet, but it would be."""
    after = grammar.next_place[state[0, PLACE], token]
    return after >= 0 and grammar.open_value[after]


def test_a_full_chunk_allows_nothing_and_an_open_escape_may_not_end():
    fitted = tokenizer("freq", 20, horizon=1, dims=1)
    grammar = TokenGrammar.of(fitted)
    alphabet = fitted.codec.alphabet
    state = grammar.start(1)
    opened = grammar.advance(state, np.array([alphabet.escape]))
    assert not grammar.can_end(opened)[0]
    half = grammar.advance(opened, np.array([0]))
    assert not grammar.can_end(half)[0]
    full = grammar.advance(half, np.array([0]))
    assert grammar.can_end(full)[0]
    assert not grammar.allowed(full).any()


def test_runs_jitted_in_a_loop_under_jax_with_the_same_result():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    for case in (("freq", 101), ("dim", 2000)):
        fitted = tokenizer(*case)
        grammar = TokenGrammar.of(fitted)

        def body(carry, grammar=grammar):
            step, key, state, tokens, running = carry
            key, mine = jax.random.split(key)
            allowed = grammar.allowed(state, xp=jnp)
            logits = jnp.where(allowed, jax.random.gumbel(mine, allowed.shape), -jnp.inf)
            token = jnp.argmax(logits, axis=1).astype(jnp.int32)
            running = running & allowed.any(axis=1)
            tokens = tokens.at[:, step].set(jnp.where(running, token, -1))
            state = jnp.where(running[:, None], grammar.advance(state, token, xp=jnp), state)
            return step + 1, key, state, tokens, running

        @jax.jit
        def rollout(key, body=body, grammar=grammar):
            state = grammar.start(16, xp=jnp)
            first = (0, key, state, jnp.full((16, 400), -1, jnp.int32), jnp.ones(16, bool))
            return jax.lax.while_loop(lambda carry: carry[4].any() & (carry[0] < 400), body, first)

        _, _, state, tokens, running = rollout(jax.random.key(0))
        assert not running.any()
        rows = [[int(token) for token in row if token >= 0] for row in np.asarray(tokens)]
        fitted.decode_normalized(rows, strict=True)
        replayed = grammar.start(16)
        for index, row in enumerate(rows):
            one = replayed[index : index + 1]
            for token in row:
                assert grammar.allowed(one)[0, token]
                one = grammar.advance(one, np.array([token]))
            np.testing.assert_array_equal(one[0], np.asarray(state)[index])
