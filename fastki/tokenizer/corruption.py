"""How much a wrong, lost or missing token costs: what a tokenizer makes of streams that a policy got wrong.

Axis letters: N chunks, H horizon, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fastki.data import Chunks
from fastki.errors import UsageError
from fastki.tokenizer.base import ActionTokenizer

Damage = Literal["substitution", "deletion", "truncation"]
DAMAGES: tuple[Damage, ...] = get_args(Damage)


@dataclass(frozen=True)
class CorruptionRow:
    """What one kind and rate of damage does to one tokenizer.

    Attributes:
        label: the tokenizer's.
        damage: each token is replaced by a random one or deleted with probability ``rate``, or the last share
            ``rate`` of each chunk's tokens is missing.
        rate: in [0, 1].
        rmse: of all values, normalised units.
        median_error: median over chunks of a chunk's largest error, normalised units.
        lost: share of chunks that decode to nothing but zeros, or to what is worse than zeros in RMS.
        repaired: share of chunks whose stream needed a repair.
    """

    label: str
    damage: Damage
    rate: float
    rmse: float
    median_error: float
    lost: float
    repaired: float


def corruption_study(
    tokenizers: dict[str, ActionTokenizer], chunks: Chunks, rates: Sequence[float], *, seed: int = 0
) -> list[CorruptionRow]:
    """Decode damaged tokens of chunks, for each tokenizer, kind of damage and rate.

    Args:
        tokenizers: by label; each with a normaliser.
        chunks: native units.
        rates: in [0, 1]; 0 is the undamaged round trip.
        seed: of the damage, the same for every tokenizer.

    Raises:
        UsageError: a rate is out of range.
    """
    for rate in rates:
        if not 0 <= rate <= 1:
            raise UsageError(f"--corrupt must lie in [0, 1], not {rate}")
    rows = []
    for label, tokenizer in tokenizers.items():
        tokens = tokenizer.encode(chunks.actions, previous=chunks.previous)
        for damage in DAMAGES:
            for rate in rates:
                rng = np.random.default_rng(seed)
                damaged = [corrupt(row, damage, rate, tokenizer.vocab_size, rng) for row in tokens]
                rows.append(_measure(label, tokenizer, chunks, damaged, damage, rate))
    return rows


def corrupt(
    tokens: NDArray[np.int32], damage: Damage, rate: float, vocab_size: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """One chunk's tokens with the damage done; the input stays as it is.

    >>> corrupt(np.arange(10, dtype=np.int32), "truncation", 0.3, 10, np.random.default_rng(0))
    array([0, 1, 2, 3, 4, 5, 6], dtype=int32)
    """
    if damage == "truncation":
        return tokens[: len(tokens) - int(np.ceil(rate * len(tokens)))]
    hit = rng.random(len(tokens)) < rate
    if damage == "deletion":
        return tokens[~hit]
    return np.where(hit, rng.integers(0, vocab_size, size=len(tokens), dtype=np.int32), tokens)


def _measure(
    label: str,
    tokenizer: ActionTokenizer,
    chunks: Chunks,
    damaged: list[NDArray[np.int32]],
    damage: Damage,
    rate: float,
) -> CorruptionRow:
    assert tokenizer.normalizer is not None
    _, horizon, action_dim = chunks.actions.shape
    decoded = tokenizer.decode_report(damaged, previous=chunks.previous, horizon=horizon, action_dim=action_dim)
    original = tokenizer.normalizer.normalize(chunks.actions, clip=False)
    error = np.abs(decoded.actions - chunks.actions) / tokenizer.normalizer.scale
    chunk_rms = np.sqrt(np.square(error).mean(axis=(1, 2)))
    zero_rms = np.sqrt(np.square(original).mean(axis=(1, 2)))
    return CorruptionRow(
        label=label,
        damage=damage,
        rate=rate,
        rmse=float(np.sqrt(np.square(error).mean())),
        median_error=float(np.median(error.max(axis=(1, 2)))),
        lost=float((chunk_rms >= zero_rms * (1 - 1e-9)).mean()),
        repaired=float((decoded.repairs.total > 0).mean()),
    )
