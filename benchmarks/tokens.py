"""Tokens of held-out chunks: at the same rounding, and under the same error bound. Axis letters: N, H, A."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, idct

from benchmarks.cells import Plan, Shape, Split
from benchmarks.reference import RangeError, ReferenceFast
from benchmarks.speed import fit_at, fit_within, rmse
from benchmarks.timing import say
from fastki.tokenizer.stream import ORDERS

_BLOCK = 64
_FINEST = 1 << 16


def measure_compression(plan: Plan, splits: dict[Shape, Split]) -> list[dict[str, Any]]:
    """One row for each shape, scale and vocabulary of the plan: tokens and RMSE on held-out chunks."""
    rows = []
    for shape, scale in itertools.product(plan.study_shapes, plan.study_scales):
        split = splits[shape]
        say(f"compression: {shape} scale {scale}")
        largest = _largest_reference(split, scale, max(plan.study_vocab_sizes))
        for vocab_size in plan.study_vocab_sizes:
            tokenizer = fit_at(split.fitted, vocab_size, scale=scale)
            ids = tokenizer.encode_normalized(split.heldout)
            ours = {"tokens": mean_length(ids), "rmse": rmse(tokenizer.decode_normalized(ids), split.heldout)}
            row = {"horizon": shape.horizon, "action_dim": shape.action_dim, "scale": scale}
            theirs = _reference_tokens(largest, split, vocab_size)
            rows.append({**row, "vocab_size": vocab_size, "reference": theirs, "fastki": ours})
    return rows


def measure_bound(plan: Plan, splits: dict[Shape, Split]) -> list[dict[str, Any]]:
    """One row for each shape and vocabulary of the plan: tokens and violations of the bound on held-out chunks.

    The reference knows no bound, so it gets the coarsest whole scale at which the held-out chunks happen to keep it,
    found on those same chunks; fastki sees only the fitted ones.
    """
    rows = []
    for shape in plan.study_shapes:
        split = splits[shape]
        scale = coarsest_scale(split.heldout, plan.atol)
        say(f"bound: {shape}, the reference needs scale {scale}")
        largest = _largest_reference(split, scale, max(plan.bound_vocab_sizes))
        for vocab_size in plan.bound_vocab_sizes:
            say(f"bound: {shape} vocabulary {vocab_size}")
            row: dict[str, Any] = {"horizon": shape.horizon, "action_dim": shape.action_dim, "atol": plan.atol}
            row["vocab_size"] = vocab_size
            row["reference"] = {"scale": scale, **_reference_bound(largest, split, vocab_size, plan.atol)}
            row["fastki"] = {order: _our_bound(split, vocab_size, plan.atol, order) for order in ORDERS}
            if "tokens" in row["reference"]:
                theirs = row["reference"]["tokens"]
                row["ratio"] = {order: ours["tokens"] / theirs for order, ours in row["fastki"].items()}
            rows.append(row)
    return rows


def coarsest_scale(chunks: NDArray[np.float64], atol: float) -> int:
    """The smallest whole scale at which rounding keeps every value of chunks ``[N, H, A]`` within ``atol``.

    Success is not monotone in the scale, so every one is tried; the block that failed last is tried first.
    """
    coefficients = dct(chunks, axis=1, norm="ortho")
    blocks = [coefficients[start : start + _BLOCK] for start in range(0, len(coefficients), _BLOCK)]
    for scale in range(1, _FINEST):
        for place, block in enumerate(blocks):
            error = idct(np.around(block * scale) / scale - block, axis=1, norm="ortho")
            if np.abs(error).max() > atol:
                blocks.insert(0, blocks.pop(place))
                break
        else:
            return scale
    raise ValueError(f"no scale below {_FINEST} keeps every value within {atol}")


def mean_length(tokens: Sequence[Any]) -> float:
    """Tokens of a chunk on average."""
    return float(np.mean([len(row) for row in tokens]))


def violations(decoded: NDArray[np.float64], chunks: NDArray[np.float64], atol: float) -> dict[str, Any]:
    """How many chunks ``[N, H, A]`` have a value further off than ``atol``, and the largest error of all."""
    worst = np.abs(decoded - chunks).max(axis=(1, 2))
    return {"violations": int((worst > atol).sum()), "max_error": float(worst.max())}


def _largest_reference(split: Split, scale: float, vocab_size: int) -> ReferenceFast | RangeError:
    """The reference with the largest vocabulary: those with smaller ones are its prefixes."""
    try:
        return ReferenceFast.fit(split.fitted, scale=scale, vocab_size=vocab_size)
    except RangeError as error:
        return error


def _reference_tokens(largest: ReferenceFast | RangeError, split: Split, vocab_size: int) -> dict[str, Any]:
    try:
        reference = _prefix(largest, vocab_size)
    except RangeError as error:
        return {"fails": str(error)}
    ids = reference.encode(split.heldout)
    return {"tokens": mean_length(ids), "rmse": rmse(reference.decode(ids), split.heldout)}


def _reference_bound(largest: ReferenceFast | RangeError, split: Split, vocab_size: int, atol: float) -> dict[str, Any]:
    try:
        reference = _prefix(largest, vocab_size)
    except RangeError as error:
        return {"fails": str(error)}
    ids = reference.encode(split.heldout)
    return {"tokens": mean_length(ids), **violations(reference.decode(ids), split.heldout, atol)}


def _prefix(largest: ReferenceFast | RangeError, vocab_size: int) -> ReferenceFast:
    if isinstance(largest, RangeError):
        raise largest
    return largest.prefix(vocab_size)


def _our_bound(split: Split, vocab_size: int, atol: float, order: str) -> dict[str, Any]:
    tokenizer = fit_within(split.fitted, vocab_size, atol=atol, order=order)
    ids = tokenizer.encode_normalized(split.heldout)
    kept = violations(tokenizer.decode_normalized(ids), split.heldout, atol)
    return {"scale": tokenizer.codec.scale, "tokens": mean_length(ids), **kept}
