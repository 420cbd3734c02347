"""Seconds of a fit, chunks a second of encode and decode, and microseconds of a single chunk: reference and fastki."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import Plan, Shape, Split, identity
from benchmarks.reference import RangeError, ReferenceFast
from benchmarks.timing import latency_us, measure, say
from fastki import FastTokenizer
from fastki.tokenizer.bpe import train_bpe

_LATENCY_CHUNKS = 200
_WARM_UP_CHUNKS = 64

Chunks = NDArray[np.float64]
Encode = Callable[[Chunks], Sequence[Any]]
Decode = Callable[[Sequence[Any]], Chunks]


class _Fit(Protocol):
    def __call__(self, chunks: Chunks, *, scale: float, vocab_size: int) -> tuple[Encode, Decode]: ...


def measure_speed(plan: Plan, splits: dict[Shape, Split]) -> list[dict[str, Any]]:
    """One row for each shape and scale of the plan."""
    return [_speed_row(plan, splits[shape], scale) for shape in plan.shapes for scale in plan.scales]


def measure_latency(plan: Plan, splits: dict[Shape, Split]) -> list[dict[str, Any]]:
    """One row for each shape and scale of the plan, and for each shape one of fastki under the plan's bound."""
    rows = []
    for shape in plan.shapes:
        for scale in plan.scales:
            say(f"latency: {shape} scale {scale}")
            ends = {"reference": _fit_reference, "fastki": _fit_fastki}
            row = {name: _latency(plan, splits[shape], fit, scale) for name, fit in ends.items()}
            rows.append({**_name(shape), "scale": scale, "atol": None, **row})
        say(f"latency: {shape} atol {plan.atol}")
        bounded = fit_within(splits[shape].fitted, plan.vocab_size, atol=plan.atol)
        ours = _latency_of(plan, splits[shape], bounded.encode_normalized, bounded.decode_normalized)
        row = {"reference": {"fails": "keeps no bound"}, "fastki": ours}
        rows.append({**_name(shape), "scale": bounded.codec.scale, "atol": plan.atol, **row})
    return rows


def fit_at(chunks: Chunks, vocab_size: int, *, scale: float) -> FastTokenizer:
    """fastki's fit on chunks that are already normalised, at the reference's scale."""
    normalizer = identity(chunks.shape[2])
    return FastTokenizer.fit(chunks, normalizer=normalizer, vocab_size=vocab_size, scale=scale)


def fit_within(chunks: Chunks, vocab_size: int, *, atol: float, order: str = "freq") -> FastTokenizer:
    """fastki's fit under a bound, on chunks that are already normalised."""
    normalizer = identity(chunks.shape[2])
    return FastTokenizer.fit(chunks, normalizer=normalizer, vocab_size=vocab_size, atol=atol, order=order)


def rmse(decoded: Chunks, chunks: Chunks) -> float:
    """Root of the mean squared error, normalised units."""
    return float(np.sqrt(np.mean((decoded - chunks) ** 2)))


def _speed_row(plan: Plan, split: Split, scale: float) -> dict[str, Any]:
    row: dict[str, Any] = {**_name(split.shape), "scale": scale, "vocab_size": plan.vocab_size}
    for name, fit in (("reference", _fit_reference), ("fastki", _fit_fastki)):
        say(f"speed: {split.shape} scale {scale}, {name}")
        row[name] = _speed(plan, split, fit, scale)
    row["fastki"]["train_bpe"] = _engine(plan, split, scale)
    if "fails" not in row["reference"]:
        row["ratio"] = {
            "fit": row["reference"]["fit_s"] / row["fastki"]["fit_s"],
            "encode": row["fastki"]["encode_per_s"] / row["reference"]["encode_per_s"],
            "decode": row["fastki"]["decode_per_s"] / row["reference"]["decode_per_s"],
        }
    return row


def _speed(plan: Plan, split: Split, fit: _Fit, scale: float) -> dict[str, Any]:
    """The same calls for both: a fit on the fitted chunks, an encode and a decode of the held-out ones."""
    try:
        encode, decode = fit(split.fitted[:_WARM_UP_CHUNKS], scale=scale, vocab_size=plan.vocab_size)
        decode(encode(split.heldout[:_WARM_UP_CHUNKS]))
        fitting = measure(
            lambda: fit(split.fitted, scale=scale, vocab_size=plan.vocab_size), repetitions=plan.repetitions
        )
    except RangeError as error:
        return {"fails": str(error)}
    encode, decode = fitting.result
    encoding = measure(lambda: encode(split.heldout), repetitions=plan.repetitions)
    tokens = encoding.result
    decoding = measure(lambda: decode(tokens), repetitions=plan.repetitions)
    return {
        "fit_s": fitting.seconds,
        "encode_per_s": len(tokens) / encoding.seconds,
        "decode_per_s": len(tokens) / decoding.seconds,
        "repetitions": [fitting.repetitions, encoding.repetitions, decoding.repetitions],
        "tokens": float(np.mean([len(row) for row in tokens])),
        "rmse": rmse(decoding.result, split.heldout),
    }


def _engine(plan: Plan, split: Split, scale: float) -> dict[str, Any]:
    """Training alone, on streams that are already written."""
    codec = fit_at(split.fitted, plan.vocab_size, scale=scale).codec
    streams = codec.write(split.fitted)
    num_symbols = codec.alphabet.size
    training = measure(
        lambda: train_bpe(streams, num_symbols=num_symbols, vocab_size=plan.vocab_size),
        repetitions=plan.repetitions,
    )
    return {"seconds": training.seconds, "repetitions": training.repetitions, "symbols": len(streams.values)}


def _latency(plan: Plan, split: Split, fit: _Fit, scale: float) -> dict[str, Any]:
    try:
        encode, decode = fit(split.fitted, scale=scale, vocab_size=plan.vocab_size)
    except RangeError as error:
        return {"fails": str(error)}
    return _latency_of(plan, split, encode, decode)


def _latency_of(plan: Plan, split: Split, encode: Encode, decode: Decode) -> dict[str, Any]:
    picked = np.linspace(0, len(split.heldout) - 1, min(_LATENCY_CHUNKS, len(split.heldout))).astype(int)
    singles = [split.heldout[index : index + 1] for index in picked]
    tokens = [encode(single) for single in singles]
    return {
        "encode_us": latency_us(encode, singles, calls=plan.latency_calls),
        "decode_us": latency_us(decode, tokens, calls=plan.latency_calls),
    }


def _fit_reference(chunks: Chunks, *, scale: float, vocab_size: int) -> tuple[Encode, Decode]:
    reference = ReferenceFast.fit(chunks, scale=scale, vocab_size=vocab_size)
    return reference.encode, reference.decode


def _fit_fastki(chunks: Chunks, *, scale: float, vocab_size: int) -> tuple[Encode, Decode]:
    tokenizer = fit_at(chunks, vocab_size, scale=scale)
    return tokenizer.encode_normalized, tokenizer.decode_normalized


def _name(shape: Shape) -> dict[str, Any]:
    return {"horizon": shape.horizon, "action_dim": shape.action_dim}
