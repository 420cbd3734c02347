"""What the tokens of a tokenizer stand for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.tokenizer.base import ActionTokenizer
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.published import PublishedFast


@dataclass(frozen=True)
class TokenEntry:
    """One token.

    Attributes:
        id: in the vocabulary.
        length: base symbols that it stands for.
        text: those symbols, runs shortened: ``3 -1 0×12``.
        uses: occurrences in the chunks measured, None without a measurement.
    """

    id: int
    length: int
    text: str
    uses: int | None


def longest_tokens(
    tokenizer: ActionTokenizer, count: int, *, uses: NDArray[np.int64] | None = None
) -> list[TokenEntry]:
    """The tokens that stand for the most symbols, longest first.

    Args:
        tokenizer: a fitted or a published one.
        count: how many.
        uses: occurrences of each id, int64 ``[V]``.
    """
    expansions, name = _expansions(tokenizer)
    lengths = np.array([len(expansion) for expansion in expansions])
    order = np.argsort(-lengths, kind="stable")[:count]
    return [
        TokenEntry(
            int(token),
            int(lengths[token]),
            describe_symbols(expansions[token], name),
            None if uses is None else int(uses[token]),
        )
        for token in order
    ]


def describe_symbols(symbols: Sequence[int] | NDArray[np.int32], name: Callable[[int], str]) -> str:
    """Symbols by name, equal neighbours as ``name×count``."""
    runs = ((name(int(symbol)), sum(1 for _ in run)) for symbol, run in itertools.groupby(symbols))
    return " ".join(text if count == 1 else f"{text}×{count}" for text, count in runs)


def _expansions(
    tokenizer: ActionTokenizer,
) -> tuple[Sequence[Sequence[int] | NDArray[np.int32]], Callable[[int], str]]:
    if isinstance(tokenizer, FastTokenizer):
        return list(tokenizer.bpe.expansions), tokenizer.codec.alphabet.name
    assert isinstance(tokenizer, PublishedFast)
    texts = tokenizer.bpe.decode_batch([[token] for token in range(tokenizer.vocab_size)])
    return [[ord(character) for character in text] for text in texts], lambda code: str(code + tokenizer.min_token)
