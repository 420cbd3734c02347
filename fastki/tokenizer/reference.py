"""Fitting as the public FAST algorithm does: a byte-level BPE over one character a coefficient.

For comparison only. Coefficients become ``chr(coefficient − smallest)``, so each number in their range needs a token of
its own, and a fit whose range exceeds the vocabulary fails; a regular expression splits the text at white space, which
some coefficients are. What is fitted encodes and decodes as a published tokenizer.

Axis letters: N chunks, H horizon, A action dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data import Normalizer
from fastki.errors import TokenizerError
from fastki.tokenizer.dct import dct
from fastki.tokenizer.published import PublishedFast

_LAST_CHARACTER = 0xD7FF  # Surrogates, from the next on, are no characters.


class RangeError(TokenizerError):
    """The range of the coefficients exceeds the vocabulary: the method has no id for each of them."""


@dataclass(frozen=True)
class ReferenceFit:
    """A fit that serves every smaller vocabulary too.

    Attributes:
        tokenizer: with the largest vocabulary.
        max_token: the largest coefficient of the fit.
    """

    tokenizer: PublishedFast
    max_token: int

    def prefix(self, vocab_size: int) -> PublishedFast:
        """What a fit with this smaller vocabulary gives: merges are learnt greedily, so they are the first of these.

        Raises:
            RangeError: the range of the coefficients exceeds ``vocab_size``.
        """
        require_range(self.tokenizer.min_token, self.max_token, vocab_size)
        return replace(self.tokenizer, bpe=prefix_bpe(self.tokenizer.bpe, vocab_size))


def fit_reference(
    normalized: NDArray[np.float64],
    *,
    scale: float,
    vocab_size: int,
    normalizer: Normalizer | None = None,
    transformed: NDArray[np.float64] | None = None,
) -> ReferenceFit:
    """Train on normalised chunks ``[N, H, A]``, or on their DCT where a caller has it already.

    Raises:
        RangeError: the range of the coefficients exceeds ``vocab_size``.
    """
    coefficients = np.around((dct(normalized) if transformed is None else transformed) * scale)
    low, high = int(coefficients.min()), int(coefficients.max())
    require_range(low, high, vocab_size)
    rows = (coefficients - low).astype(int).reshape(len(coefficients), -1)
    bpe = train_byte_level(("".join(map(chr, row.tolist())) for row in rows), high - low + 1, vocab_size)
    horizon, action_dim = normalized.shape[1:]
    return ReferenceFit(PublishedFast(scale, low, bpe, horizon, action_dim, normalizer), high)


def coefficient_range(transformed: NDArray[np.float64], scale: float) -> tuple[int, int]:
    """The smallest and the largest rounded coefficient of chunks with this DCT, ``[N, H, A]``."""
    return int(np.around(transformed.min() * scale)), int(np.around(transformed.max() * scale))


def require_range(low: int, high: int, vocab_size: int) -> None:
    """Refuse what the public algorithm refuses.

    Raises:
        RangeError: there are more coefficients than tokens.
    """
    if high - low > min(vocab_size, _LAST_CHARACTER):
        raise RangeError(f"coefficients in [{low}, {high}] exceed a vocabulary of {vocab_size}")


def train_byte_level(texts: Iterable[str], characters: int, vocab_size: int) -> Any:
    """A trained ``tokenizers.Tokenizer`` over texts of ``characters`` different characters."""
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.trainers import BpeTrainer

    bpe = ByteLevelBPETokenizer()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=[chr(code) for code in range(characters)],
        max_token_length=10_000,
    )
    bpe._tokenizer.train_from_iterator(texts, trainer=trainer)
    return bpe._tokenizer


def prefix_bpe(bpe: Any, vocab_size: int) -> Any:
    """The ``tokenizers.Tokenizer`` that training with a smaller vocabulary gives."""
    from tokenizers import Tokenizer

    whole = json.loads(bpe.to_str())
    model = whole["model"]
    base = len(model["vocab"]) - len({"".join(merge) for merge in model["merges"]})
    kept, seen = 0, set[str]()
    while kept < len(model["merges"]) and base + len(seen) < vocab_size:
        seen.add("".join(model["merges"][kept]))
        kept += 1
    size = base + len(seen)
    model["merges"] = model["merges"][:kept]
    model["vocab"] = {token: index for token, index in model["vocab"].items() if index < size}
    return Tokenizer.from_str(json.dumps(whole))
