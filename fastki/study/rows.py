"""The rows of a tokenizer sweep: what is said of each cell, and how it is measured.

Axis letters: N chunks, H horizon, A action dimensions, V vocabulary, E episodes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.config import to_plain
from fastki.data.bootstrap import bootstrap_interval
from fastki.study.cells import Row
from fastki.study.grid import SweepCell
from fastki.study.sweep_data import SweepData
from fastki.tokenizer import ActionTokenizer, RoundTrip
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.published import PublishedFast
from fastki.tokenizer.ragged import Ragged

_TIMED_CHUNKS, _TIMED_CALLS = 256, 3


@dataclass(frozen=True)
class SweepRow:
    """One cell, measured on held-out chunks. None: the method has no such thing, or the cell was refused.

    Attributes:
        method: ``fast``, ``binning``, ``bspline``, ``reference`` or ``published``.
        horizon, action_dim: H and A.
        order: of FAST's coefficients.
        bins, scale: quantisation steps over [-1, 1] and γ = bins / 2; of a spline, levels of a coefficient, and
            no scale.
        bound: the error bound that the encoder keeps, normalised units.
        control_points: of a spline, per dimension.
        path: of a published tokenizer.
        vocab_size: ids asked for; where a method takes no wish, those it has.
        vocab_actual: ids that the tokenizer has.
        vocab_used, vocab_use: ids that occur in held-out chunks, their number and their share of ``vocab_actual``.
        tokens_mean: tokens a chunk; tokens_low, tokens_high: its 95 % bootstrap interval over episodes (None with
            one episode).
        tokens_p50, tokens_p99, tokens_max: of the chunks' token counts.
        compression: H·A / tokens_mean, against one token for each value.
        bits_per_chunk: tokens_mean · log2 vocab_actual.
        entropy_bits: tokens_mean · entropy of the tokens' frequencies: bits a chunk under the best memoryless code.
        rmse, p99_abs_error, max_abs_error: over all values, normalised units.
        worst_dimension: with the largest normalised error; worst_error_native: that error in ``worst_unit``.
        within_atol: share of chunks with every value within the sweep's atol.
        nats_per_value: of the n-gram model; probe_nats_per_value: of the probe.
        rollout_rmse, rollout_max: action error of the probe's own tokens, normalised units; probe_s: its seconds.
        rollout_repaired: share of those chunks whose tokens had to be mended; 0 where a grammar guides the sampling.
        fit_s: seconds of the fit; one that served several vocabularies counts whole in each.
        encode_per_s, decode_per_s: chunks a second, of normalised chunks, in a worker among others.
        chunks, episodes: measured on.
        error: why there is no result.
    """

    method: str
    horizon: int
    action_dim: int | None = None
    order: str | None = None
    bins: float | None = None
    scale: float | None = None
    bound: float | None = None
    control_points: int | None = None
    path: str | None = None
    vocab_size: int | None = None
    vocab_actual: int | None = None
    vocab_used: int | None = None
    vocab_use: float | None = None
    tokens_mean: float | None = None
    tokens_low: float | None = None
    tokens_high: float | None = None
    tokens_p50: float | None = None
    tokens_p99: float | None = None
    tokens_max: int | None = None
    compression: float | None = None
    bits_per_chunk: float | None = None
    entropy_bits: float | None = None
    rmse: float | None = None
    p99_abs_error: float | None = None
    max_abs_error: float | None = None
    worst_dimension: str | None = None
    worst_error_native: float | None = None
    worst_unit: str | None = None
    within_atol: float | None = None
    nats_per_value: float | None = None
    probe_nats_per_value: float | None = None
    rollout_rmse: float | None = None
    rollout_max: float | None = None
    rollout_repaired: float | None = None
    probe_s: float | None = None
    fit_s: float | None = None
    encode_per_s: float | None = None
    decode_per_s: float | None = None
    chunks: int | None = None
    episodes: int | None = None
    error: str | None = None


def row_of_cell(cell: SweepCell, *, error: str | None = None) -> SweepRow:
    """A row with nothing measured."""
    return SweepRow(
        cell.method,
        cell.horizon,
        order=cell.order,
        bins=cell.bins,
        scale=None if cell.bins is None or cell.method == "bspline" else cell.bins / 2,
        bound=cell.bound,
        control_points=cell.control_points,
        path=cell.path,
        vocab_size=cell.vocab_size,
        error=error,
    )


def measured_row(
    cell: SweepCell, tokenizer: ActionTokenizer, data: SweepData, result: RoundTrip, tokens: Ragged
) -> SweepRow:
    """A row with all that a round trip and its tokens tell.

    Args:
        cell: what was asked for.
        tokenizer: what came of it.
        data: measured on.
        result: of this tokenizer or of one of its family: the errors are the same.
        tokens: of the held-out chunks.
    """
    scale = _scale(tokenizer)
    row = row_of_cell(cell)
    worst = result.worst_dimension
    return replace(
        row,
        action_dim=data.heldout.actions.shape[2],
        bins=row.bins if scale is None else 2 * scale,
        scale=row.scale if scale is None else scale,
        vocab_size=cell.vocab_size or tokenizer.vocab_size,
        vocab_actual=tokenizer.vocab_size,
        **token_figures(tokens, tokenizer.vocab_size, data),
        rmse=result.rmse,
        p99_abs_error=result.p99_abs_error,
        max_abs_error=result.max_abs_error,
        worst_dimension=worst.name,
        worst_error_native=worst.max_abs_error_native,
        worst_unit=worst.unit,
        within_atol=result.within_atol,
        **speeds(tokenizer, data),
        chunks=result.chunks,
        episodes=result.episodes,
    )


def token_figures(tokens: Ragged, vocab_size: int, data: SweepData) -> dict[str, Any]:
    """The figures of a row that come of its held-out tokens."""
    counts = tokens.lengths
    mean = float(counts.mean())
    uses = np.bincount(tokens.values, minlength=vocab_size)
    shares = uses[uses > 0] / max(1, uses.sum())
    low, high = bootstrap_interval(counts, data.heldout.episode, seed=data.context.seed)
    p50, p99 = np.percentile(counts, [50, 99])
    values = data.heldout.actions[0].size
    return {
        "vocab_used": int(np.count_nonzero(uses)),
        "vocab_use": float(np.count_nonzero(uses) / vocab_size),
        "tokens_mean": mean,
        "tokens_low": low,
        "tokens_high": high,
        "tokens_p50": float(p50),
        "tokens_p99": float(p99),
        "tokens_max": int(counts.max()),
        "compression": values / mean if mean else None,
        "bits_per_chunk": mean * math.log2(vocab_size),
        "entropy_bits": mean * float(-(shares * np.log2(shares)).sum()),
    }


def speeds(tokenizer: ActionTokenizer, data: SweepData) -> dict[str, Any]:
    """Chunks a second on a few hundred of the held-out chunks: the best of three calls."""
    assert tokenizer.normalizer is not None
    count = len(data.heldout)
    picked = np.linspace(0, count - 1, min(count, _TIMED_CHUNKS)).astype(int)
    chunks = tokenizer.normalizer.normalize(data.heldout.actions[picked])
    shape = {"horizon": chunks.shape[1], "action_dim": chunks.shape[2]}
    tokens = tokenizer.encode_normalized(chunks)
    return {
        "encode_per_s": len(picked) / _best(lambda: tokenizer.encode_normalized(chunks)),
        "decode_per_s": len(picked) / _best(lambda: tokenizer.decode_normalized(tokens, **shape)),
    }


def payload(row: SweepRow, result: RoundTrip | None = None, tokens: Ragged | None = None) -> Row:
    """A row as it is stored, with what figures need besides: token counts and errors by dimension."""
    details: dict[str, Any] = {}
    if result is not None and tokens is not None:
        lengths, counts = np.unique(tokens.lengths, return_counts=True)
        details = {
            "token_lengths": [[int(length), int(count)] for length, count in zip(lengths, counts, strict=True)],
            "per_dim": [to_plain(dim) for dim in result.per_dim],
        }
    return {"row": to_plain(row), "error": row.error, **details}


def _scale(tokenizer: ActionTokenizer) -> float | None:
    if isinstance(tokenizer, FastTokenizer):
        return tokenizer.codec.scale
    return tokenizer.scale if isinstance(tokenizer, PublishedFast) else None


def _best(call: Callable[[], Sequence[Any] | NDArray[Any]]) -> float:
    seconds = []
    for _ in range(_TIMED_CALLS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
