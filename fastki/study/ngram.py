"""How well the past of a chunk's tokens foretells the next one, without a network: nats per action value.

Short is not the same as learnable. A loss per token can't be compared across vocabularies; the sum of the tokens'
negative log-likelihoods over the H·A action values that they stand for can.

**The model** is a mixture of four back-off models that differ in what they look at, the same four for every method:

* ``(1, 2, 3)``: the three tokens before, a 4-gram;
* ``(place, 1, 2)``: the token's place in the chunk, then the two tokens before;
* ``(lag, place)`` and ``(lag, 2·lag, place)``: the token ``lag`` places before, and the one twice as far.

The first is what "n-gram" usually means, and alone it would be unfair. Where each token is one value or coefficient of
one dimension (binning, B-splines), place says which, and what foretells it best is the same dimension's last value, A
tokens back; a 4-gram over 8 dimensions never sees it and calls binning several times as hard as it is. BPE tokens have
less use for place and lag, and the mixture then gives those little weight. ``lag`` is not told but found: the distance
(2 … 128) at which a training token is most often repeated. The weights come from expectation–maximisation on the last
tenth of the training chunks (the last episodes), which are counted in after that; held-out chunks decide nothing.

**Each back-off model** is interpolated Kneser–Ney with three discounts (Kneser and Ney, "Improved backing-off for
m-gram language modeling", 1995; Chen and Goodman, "An empirical study of smoothing techniques for language modeling",
1998, section 3). With ``c`` the count of symbol ``w`` in context ``h``, ``n_k(h)`` the number of symbols that ``h`` has
seen k times (n₃: three times or more) and ``h'`` the context without its last feature:

    p(w | h) = (c − D(c) + (D₁ n₁(h) + D₂ n₂(h) + D₃ n₃(h)) · p(w | h')) / Σ_w c
    D_k = k − (k + 1) · Y · N_{k+1} / N_k,   Y = N₁ / (N₁ + 2 N₂)

``N_k`` are the numbers of entries with count k among all contexts of that length. Shorter contexts count in how many
longer ones a symbol was met rather than how often. Behind the empty context stands 1 / (V + 1), over the ids and the
chunk's end, so that every id has a probability above zero and all of them sum to one.

Axis letters: N chunks, S symbols of all chunks, V vocabulary, K features of a chain, M models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError
from fastki.study.ngram_kernels import FREE, POSITION, count_chunks, score_chunks, tally_counts
from fastki.tokenizer.ragged import Ragged

_LAGS = range(2, 129)
_LAG_SYMBOLS = 1 << 20
_WEIGHING = 10  # One in so many training chunks sets the mixture's weights.
_MAX_STEPS, _SETTLED = 100, 1e-4


def ngram_nats(train: Ragged, test: Ragged, vocab_size: int, *, values_per_chunk: int, end: bool = True) -> float:
    """Nats per action value of held-out chunks under a model counted on training chunks.

    Args:
        train: token ids of the fitted chunks, in the order of their episodes.
        test: those of the held-out chunks.
        vocab_size: V.
        values_per_chunk: H·A.
        end: whether a chunk's end is a symbol to be foretold; a policy must know it too.

    Returns:
        The sum of −log p over all symbols of ``test``, divided by N · H · A.

    Raises:
        UsageError: no chunk on a side, an id outside [0, V), or a number below 1.
    """
    if values_per_chunk < 1:
        raise UsageError(f"a chunk has at least one action value, not {values_per_chunk}")
    return float(-symbol_log_probs(train, test, vocab_size, end=end).sum() / (len(test) * values_per_chunk))


def symbol_log_probs(train: Ragged, test: Ragged, vocab_size: int, *, end: bool = True) -> NDArray[np.float64]:
    """log p of each symbol of the held-out chunks, float64 ``[S]``, or ``[S + N]`` with each chunk's end after it.

    Raises:
        UsageError: no chunk on a side, or an id outside [0, V).
    """
    _check(train, vocab_size, "training")
    _check(test, vocab_size, "held-out")
    sizes = _Sizes.of(train, test, vocab_size, end)
    first = len(train) - min(max(1, len(train) // _WEIGHING), len(train) - 1)
    counted, weighed = train.part(0, first), train.part(first, len(train))
    tail, scores = zip(*(_chain_scores(chain, counted, weighed, test, sizes) for chain in _chains(train)), strict=True)
    mixed: NDArray[np.float64] = np.log(_mixture_weights(np.stack(tail)) @ np.stack(scores))
    return mixed


@dataclass(frozen=True)
class _Sizes:
    """Numbers that the kernels need.

    Attributes:
        symbols: V, and one for the end if it counts.
        features: more than any token id, place, or the sign for "before the chunk".
        end: 1 or 0.
    """

    symbols: int
    features: int
    end: int

    @classmethod
    def of(cls, train: Ragged, test: Ragged, vocab_size: int, end: bool) -> _Sizes:
        longest = max(int(side.lengths.max()) for side in (train, test))
        return cls(vocab_size + int(end), max(vocab_size, longest + 1) + 1, int(end))

    def scored(self, chunks: Ragged) -> int:
        return len(chunks.values) + self.end * len(chunks)

    def packed(self) -> tuple[int, int, int]:
        return self.symbols, self.features, self.end


def _check(chunks: Ragged, vocab_size: int, side: str) -> None:
    if not len(chunks):
        raise UsageError(f"there is no {side} chunk for the n-gram model")
    outside = np.flatnonzero((chunks.values < 0) | (chunks.values >= vocab_size))
    if len(outside):
        raise UsageError(f"{side} token {chunks.values[outside[0]]} lies outside the vocabulary 0 … {vocab_size - 1}")


def _chains(train: Ragged) -> tuple[tuple[int, ...], ...]:
    lag = _repeat_lag(train)
    return (1, 2, 3), (POSITION, 1, 2), (lag, POSITION), (lag, 2 * lag, POSITION)


def _repeat_lag(train: Ragged) -> int:
    """The distance within chunks at which a token most often equals the later one; the least of equals."""
    some = train.part(0, max(1, int(np.searchsorted(train.offsets, _LAG_SYMBOLS, side="right")) - 1))
    place = np.arange(len(some.values)) - np.repeat(some.offsets[:-1], some.lengths)
    best, best_share = _LAGS.start, 0.0
    for lag in _LAGS:
        inside = place[lag:] >= lag
        if inside.sum() * 10 < len(place):  # Only the longest chunks reach as far.
            break
        share = float((some.values[lag:] == some.values[:-lag])[inside].mean())
        if share > best_share:
            best, best_share = lag, share
    return best


def _chain_scores(
    chain: tuple[int, ...], counted: Ragged, weighed: Ragged, test: Ragged, sizes: _Sizes
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities under one back-off model: of ``weighed``, counted without it, and of ``test``."""
    features, packed = np.array(chain, dtype=np.int64), sizes.packed()

    def counts(chunks: Ragged, tree: Any) -> Any:
        return count_chunks(chunks.values, chunks.offsets, features, packed, tree)

    def scores(chunks: Ragged, tree: Any) -> NDArray[np.float64]:
        result = np.empty(sizes.scored(chunks))
        discounts = _discounts(tally_counts(tree, sizes.symbols, len(chain)))
        score_chunks(chunks.values, chunks.offsets, features, packed, tree, discounts, result)
        return result

    tree = counts(counted, _empty_tree())
    tail = scores(weighed, tree)
    return tail, scores(test, counts(weighed, tree))


def _empty_tree() -> tuple[NDArray[Any], ...]:
    table = np.full((1 << 12, 2), FREE, dtype=np.int64)
    return table, table.copy(), np.zeros((1 << 12, 5), dtype=np.int32), np.zeros(2, dtype=np.int64)


def _discounts(tally: NDArray[np.int64]) -> NDArray[np.float64]:
    """What is taken off a count of 0, 1, 2, ≥ 3 by level, float64 ``[K + 1, 4]``, of how many entries have count 1 … 4.

    Where too few entries tell, the discount is Y; it stays between 0 and the count, so that nothing loses its
    probability and unseen symbols get some.
    """
    result = np.zeros((len(tally), 4))
    for level, numbers in enumerate(tally.tolist()):
        both = numbers[0] + 2 * numbers[1]
        single = numbers[0] / both if both else 0.5
        for count in (1, 2, 3):
            here, above = numbers[count - 1], numbers[count]
            discount = count - (count + 1) * single * above / here if here else single
            result[level, count] = min(max(discount, 0.05), 0.95 * count)
    return result


def _mixture_weights(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights float64 ``[M]`` that make the mixture of probabilities ``[M, S]`` likeliest; equal ones without any.

    Expectation–maximisation of mixture weights (Jelinek and Mercer, "Interpolated estimation of Markov source
    parameters from sparse data", 1980).
    """
    weights = np.full(len(scores), 1 / len(scores))
    if not scores.shape[1]:
        return weights
    for _ in range(_MAX_STEPS):
        shares = weights[:, None] * scores
        after = (shares / shares.sum(axis=0)).mean(axis=1)
        moved = np.abs(after - weights).max()
        weights = after
        if moved < _SETTLED:
            break
    return weights
