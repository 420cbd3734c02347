"""What a tokenizer loses and what it costs: errors and token counts over many chunks, in one pass.

Axis letters: N chunks, H horizon, A action dimensions, V vocabulary, K histogram bins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data import Chunks
from fastki.errors import UsageError
from fastki.tokenizer.base import ActionTokenizer
from fastki.tokenizer.dct import dct

ATOL_SLACK = 1 + 1e-9
"""An error counts as within atol up to this factor: the last bits of a double decide nothing."""

_PER_DECADE, _LOWEST, _DECADES = 1024, 1e-12, 16
_BLOCK_VALUES = 1 << 21
_KEPT_CHUNKS = 2048


@dataclass(frozen=True)
class Example:
    """One chunk before and after the round trip.

    Attributes:
        episode: the dataset's episode number.
        start: its first frame.
        original: native units, float64 ``[H, A]``.
        decoded: native units, float64 ``[H, A]``.
        tokens: how many it took.
        max_abs_error: normalised units.
    """

    episode: int
    start: int
    original: NDArray[np.float64]
    decoded: NDArray[np.float64]
    tokens: int
    max_abs_error: float


@dataclass(frozen=True)
class DimensionError:
    """Errors of one action dimension: normalised units, and native ones where the name says so.

    Attributes:
        name: the dataset's name of the dimension.
        unit: of the native figures, None where unknown.
        max_abs_error, p99_abs_error, rmse: normalised units.
        max_abs_error_native, rmse_native: in ``unit``.
        unit_scale: native units in one normalised unit.
        outside: share of values outside [-1, 1] after normalising, in [0, 1]; with clipping, those are lost.
    """

    name: str
    unit: str | None
    max_abs_error: float
    p99_abs_error: float
    rmse: float
    max_abs_error_native: float
    rmse_native: float
    unit_scale: float
    outside: float


@dataclass(frozen=True)
class RoundTrip:
    """Errors and token counts of a tokenizer on a set of chunks.

    Errors are against the values as they were before any clipping. p99 figures come from a histogram with 1024
    bins a decade, so they are at most 0.23 % too high.

    Attributes:
        chunks: N.
        episodes: how many episodes they came from.
        max_abs_error, p99_abs_error, rmse: over all values, normalised units.
        within_atol: share of chunks with every value within ``atol``, or None without one.
        atol: the bound asked about, normalised units.
        tokens_mean, tokens_p50, tokens_p99, tokens_max: of the chunks' token counts.
        compression: H·A / tokens_mean; None where no chunk takes a token.
        vocab_used: number of distinct ids that occur.
        outside: share of values outside [-1, 1] after normalising.
        per_dim: one entry a dimension.
        worst: the chunk with the largest error.
        median: a chunk whose largest error is about the median one.
        token_counts: tokens of each chunk, int64 ``[N]``.
        token_use: occurrences of each id, int64 ``[V]``.
        error_histogram: number of values by absolute error, int64 ``[K]``.
        error_edges: edges of its bins, float64 ``[K + 1]``, normalised units.
        energy: mean square of the DCT coefficients of normalised chunks, float64 ``[H, A]``.
    """

    chunks: int
    episodes: int
    max_abs_error: float
    p99_abs_error: float
    rmse: float
    within_atol: float | None
    atol: float | None
    tokens_mean: float
    tokens_p50: float
    tokens_p99: float
    tokens_max: int
    compression: float | None
    vocab_used: int
    outside: float
    per_dim: tuple[DimensionError, ...]
    worst: Example
    median: Example
    token_counts: NDArray[np.int64]
    token_use: NDArray[np.int64]
    error_histogram: NDArray[np.int64]
    error_edges: NDArray[np.float64]
    energy: NDArray[np.float64]

    @property
    def passed(self) -> bool | None:
        """Whether every value is within ``atol``; None without one."""
        return None if self.atol is None else self.max_abs_error <= self.atol * ATOL_SLACK

    @property
    def worst_dimension(self) -> DimensionError:
        """The dimension with the largest normalised error."""
        return max(self.per_dim, key=lambda dim: dim.max_abs_error)


def roundtrip(
    tokenizer: ActionTokenizer,
    batches: Iterable[Chunks],
    *,
    atol: float | None = None,
    names: tuple[str, ...] = (),
    units: tuple[str | None, ...] = (),
) -> RoundTrip:
    """Encode and decode chunks and measure what came back.

    Args:
        tokenizer: one with a normaliser.
        batches: chunks in native units; an iterator is consumed once, so that memory does not grow with it.
        atol: count the chunks within this error, normalised units.
        names: of the A dimensions; ``dim 0`` … without.
        units: of the A dimensions.

    Raises:
        UsageError: there is no chunk, or the tokenizer has no normaliser.
    """
    if tokenizer.normalizer is None:
        raise UsageError("the tokenizer has no normaliser, so its errors have no native units: give it one first")
    tally = _Tally(tokenizer, atol)
    for batch in batches:
        per_block = max(1, _BLOCK_VALUES // max(1, batch.actions[:1].size))
        for start in range(0, len(batch), per_block):
            tally.add(batch, slice(start, start + per_block))
    if not tally.episode:
        raise UsageError("there is no chunk to measure on")
    return tally.result(names, units)


class _Tally:
    """Running sums over blocks of chunks."""

    def __init__(self, tokenizer: ActionTokenizer, atol: float | None) -> None:
        assert tokenizer.normalizer is not None
        self.tokenizer = tokenizer
        self.normalizer = tokenizer.normalizer
        self.atol = atol
        self.edges = _LOWEST * 10 ** (np.arange(_PER_DECADE * _DECADES + 1) / _PER_DECADE)
        self.token_use = np.zeros(tokenizer.vocab_size, dtype=np.int64)
        self.histogram: NDArray[np.int64] | None = None
        self.values = 0
        self.square: NDArray[np.float64] | float = 0.0
        self.energy: NDArray[np.float64] | float = 0.0
        self.outside: NDArray[np.int64] | int = 0
        self.largest: NDArray[np.float64] | float = 0.0
        self.worst: Example | None = None
        # Of each chunk, small enough to keep: where it came from, its error, its tokens.
        self.episode: list[NDArray[np.int32]] = []
        self.start: list[NDArray[np.int32]] = []
        self.chunk_error: list[NDArray[np.float64]] = []
        self.token_counts: list[NDArray[np.int64]] = []
        self.kept = _Spread(_KEPT_CHUNKS)

    def add(self, batch: Chunks, part: slice) -> None:
        native = batch.actions[part]
        previous = batch.previous[part]
        tokens = self.tokenizer.encode(native, previous=previous)
        decoded = self._decode(tokens, native, previous)
        error = np.abs(decoded - native) / self.normalizer.scale
        self._add_errors(native, error)
        self._add_tokens(tokens)
        chunk_error = error.max(axis=(1, 2))
        self.episode.append(batch.episode[part])
        self.start.append(batch.start[part])
        self.chunk_error.append(chunk_error)
        worst = int(chunk_error.argmax())
        if self.worst is None or chunk_error[worst] > self.worst.max_abs_error:
            self.worst = Example(
                int(batch.episode[part][worst]),
                int(batch.start[part][worst]),
                native[worst],
                decoded[worst],
                len(tokens[worst]),
                float(chunk_error[worst]),
            )
        self.kept.add(native, previous)

    def _decode(
        self, tokens: list[NDArray[np.int32]], native: NDArray[np.float64], previous: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        _, horizon, action_dim = native.shape
        return self.tokenizer.decode(tokens, previous=previous, horizon=horizon, action_dim=action_dim)

    def _add_errors(self, native: NDArray[np.float64], error: NDArray[np.float64]) -> None:
        dims = native.shape[2]
        normalized = self.normalizer.normalize(native, clip=False)
        self.values += native.shape[0] * native.shape[1]
        self.square = self.square + np.square(error).sum(axis=(0, 1))
        self.largest = np.maximum(self.largest, error.max(axis=(0, 1)))
        self.outside = self.outside + (np.abs(normalized) > 1).sum(axis=(0, 1))
        self.energy = self.energy + np.square(dct(normalized)).sum(axis=0)
        bins = len(self.edges) - 1
        place = np.log10(np.maximum(error, _LOWEST) / _LOWEST) * _PER_DECADE
        index = np.minimum(place.astype(np.int64), bins - 1) + np.arange(dims) * bins
        counts = np.bincount(index.ravel(), minlength=dims * bins).reshape(dims, bins)
        self.histogram = counts if self.histogram is None else self.histogram + counts

    def _add_tokens(self, tokens: list[NDArray[np.int32]]) -> None:
        self.token_counts.append(np.array([len(row) for row in tokens], dtype=np.int64))
        self.token_use += np.bincount(np.concatenate(tokens), minlength=len(self.token_use))

    def result(self, names: tuple[str, ...], units: tuple[str | None, ...]) -> RoundTrip:
        assert self.histogram is not None
        assert self.worst is not None
        tokens = np.concatenate(self.token_counts)
        chunk_error = np.concatenate(self.chunk_error)
        horizon, dims = np.shape(self.energy)
        p50, p99 = np.percentile(tokens, [50, 99])
        within = None if self.atol is None else float((chunk_error <= self.atol * ATOL_SLACK).mean())
        pooled = self.histogram.sum(axis=0)
        return RoundTrip(
            chunks=len(tokens),
            episodes=len(np.unique(np.concatenate(self.episode))),
            max_abs_error=float(np.max(self.largest)),
            p99_abs_error=self._quantile(pooled, 0.99),
            rmse=float(np.sqrt(np.sum(self.square) / (self.values * dims))),
            within_atol=within,
            atol=self.atol,
            tokens_mean=float(tokens.mean()),
            tokens_p50=float(p50),
            tokens_p99=float(p99),
            tokens_max=int(tokens.max()),
            compression=float(horizon * dims / tokens.mean()) if tokens.any() else None,
            vocab_used=int(np.count_nonzero(self.token_use)),
            outside=float(np.sum(self.outside) / (self.values * dims)),
            per_dim=self._per_dimension(names or tuple(f"dim {i}" for i in range(dims)), units or (None,) * dims),
            worst=self.worst,
            median=self._median(chunk_error, tokens),
            token_counts=tokens,
            token_use=self.token_use,
            error_histogram=pooled,
            error_edges=self.edges,
            energy=np.asarray(self.energy) / len(tokens),
        )

    def _per_dimension(self, names: tuple[str, ...], units: tuple[str | None, ...]) -> tuple[DimensionError, ...]:
        assert self.histogram is not None
        rmse = np.sqrt(np.asarray(self.square) / self.values)
        largest, outside = np.asarray(self.largest), np.asarray(self.outside)
        scale = np.broadcast_to(self.normalizer.scale, largest.shape)
        return tuple(
            DimensionError(
                name=names[dim],
                unit=units[dim],
                max_abs_error=float(largest[dim]),
                p99_abs_error=self._quantile(self.histogram[dim], 0.99),
                rmse=float(rmse[dim]),
                max_abs_error_native=float(largest[dim] * scale[dim]),
                rmse_native=float(rmse[dim] * scale[dim]),
                unit_scale=float(scale[dim]),
                outside=float(outside[dim] / self.values),
            )
            for dim in range(len(largest))
        )

    def _quantile(self, counts: NDArray[np.int64], share: float) -> float:
        """Upper edge of the bin in which the quantile lies; the lowest bin holds everything below 1e-12."""
        place = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
        return float(self.edges[place + 1]) if place else 0.0

    def _median(self, chunk_error: NDArray[np.float64], tokens: NDArray[np.int64]) -> Example:
        """Of the chunks kept, the one whose error is nearest to the median of all."""
        indices = np.array(list(self.kept.chunks))
        index = int(indices[np.abs(chunk_error[indices] - np.median(chunk_error)).argmin()])
        original, previous = self.kept.chunks[index]
        encoded = self.tokenizer.encode(original, previous=previous)
        return Example(
            int(np.concatenate(self.episode)[index]),
            int(np.concatenate(self.start)[index]),
            original,
            self._decode(encoded, original[None], previous)[0],
            int(tokens[index]),
            float(chunk_error[index]),
        )


class _Spread:
    """Evenly spread chunks of a stream of unknown length, at most ``limit`` of them: every 1st, 2nd, 4th, …

    Each with the action before it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.step = 1
        self.seen = 0
        self.chunks: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def add(self, native: NDArray[np.float64], previous: NDArray[np.float64]) -> None:
        for index in range(-self.seen % self.step, len(native), self.step):
            self.chunks[self.seen + index] = native[index], previous[index]
        self.seen += len(native)
        while len(self.chunks) > self.limit:
            self.step *= 2
            self.chunks = {index: chunk for index, chunk in self.chunks.items() if index % self.step == 0}
