"""Results as plain dictionaries: what ``--json`` prints and what is written beside the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastki.config import to_plain
from fastki.data import DatasetInfo
from fastki.data.summary import DatasetSummary
from fastki.sequence.id_map import IdMap
from fastki.tokenizer import ActionTokenizer, CorruptionRow, FastTokenizer, Fitted, Measured, MixtureFit, RoundTrip
from fastki.tokenizer.anatomy import TokenEntry

_FIGURES = (
    "tokens_mean",
    "tokens_p50",
    "tokens_p99",
    "compression",
    "max_abs_error",
    "p99_abs_error",
    "rmse",
    "within_atol",
    "vocab_used",
)


def fit_payload(fitted: Fitted, folder: str, info: DatasetInfo) -> dict[str, Any]:
    """One fit: figures on held-out chunks (None where nothing was held out), the fitted ones under ``fit_…``."""
    tokenizer, sample = fitted.tokenizer, fitted.fit_sample
    return {
        "tokenizer": folder,
        "vocab_size": tokenizer.vocab_size,
        "scale": tokenizer.codec.scale,
        "bins": tokenizer.codec.bins,
        "literals": tokenizer.codec.literals,
        "horizon": tokenizer.horizon,
        "action_dim": tokenizer.action_dim,
        "chunks": len(sample.chunks),
        "total_chunks": sample.total_chunks,
        "episodes": sample.episodes_used,
        "short_episodes": sum(not sample.chunks.spec.count(int(length)) for length in info.lengths),
        "idle_chunks": sample.idle_chunks,
        "heldout_episodes": fitted.heldout_episodes,
        "heldout_chunks": 0 if fitted.heldout is None else fitted.heldout.chunks,
        "atol": fitted.fitted.atol,
        **_figures(fitted.heldout),
        **{f"fit_{name}": value for name, value in _figures(fitted.fitted).items()},
    }


def _figures(result: RoundTrip | None) -> dict[str, Any]:
    """What a round trip found; None for each where there was none."""
    return {name: None if result is None else getattr(result, name) for name in _FIGURES}


def mixture_payload(fitted: MixtureFit, folder: str, info: DatasetInfo) -> dict[str, Any]:
    """A fit on several datasets, with an entry for each; the figures of all chunks together under ``fit_…``."""
    tokenizer = fitted.tokenizer
    return {
        "tokenizer": folder,
        "data": info.uri,
        "vocab_size": tokenizer.vocab_size,
        "scale": tokenizer.codec.scale,
        "bins": tokenizer.codec.bins,
        "literals": tokenizer.codec.literals,
        "horizon": tokenizer.horizon,
        "action_dim": tokenizer.action_dim,
        "chunks": fitted.fitted.chunks,
        "atol": fitted.fitted.atol,
        "tokens_mean": fitted.tokens_mean,
        **{f"fit_{name}": value for name, value in _figures(fitted.fitted).items()},
        "datasets": [
            {
                "name": member.name,
                "share": member.share,
                "chunks": member.drawn,
                "different_chunks": len(member.sample.chunks),
                "total_chunks": member.sample.total_chunks,
                "idle_chunks": member.sample.idle_chunks,
                "episodes": member.sample.episodes_used,
                "heldout_episodes": member.heldout_episodes,
                **_figures(member.heldout),
            }
            for member in fitted.members
        ],
    }


def roundtrip_payload(
    measured: Measured, tokenizer: str, data: str, damage: Sequence[CorruptionRow] = ()
) -> dict[str, Any]:
    """One round trip, with an entry a dimension, and one a kind and rate of damage where that was studied."""
    result = measured.result
    return {
        "tokenizer": tokenizer,
        "data": data,
        "part": measured.part,
        "chunks": result.chunks,
        "episodes": result.episodes,
        "short_episodes": measured.short_episodes,
        "atol": result.atol,
        "passed": result.passed,
        "passing_bins": measured.passing_bins,
        "within_atol": result.within_atol,
        "max_abs_error": result.max_abs_error,
        "p99_abs_error": result.p99_abs_error,
        "rmse": result.rmse,
        "tokens_mean": result.tokens_mean,
        "tokens_p50": result.tokens_p50,
        "tokens_p99": result.tokens_p99,
        "tokens_max": result.tokens_max,
        "compression": result.compression,
        "vocab_used": result.vocab_used,
        "outside": result.outside,
        "worst_dimension": result.worst_dimension.name,
        "worst_chunk": {"episode": result.worst.episode, "start": result.worst.start},
        "per_dim": _dimensions(result),
        "corruption": [to_plain(row) for row in damage],
    }


def mixture_roundtrip_payload(tokenizer: str, parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Round trips on several datasets, by name."""
    return {
        "tokenizer": tokenizer,
        "passed": all(part["passed"] for part in parts.values()),
        "max_abs_error": max(part["max_abs_error"] for part in parts.values()),
        "datasets": dict(parts),
    }


def _dimensions(result: RoundTrip) -> list[dict[str, Any]]:
    return [
        {
            "name": dim.name,
            "max_abs_error": dim.max_abs_error,
            "p99_abs_error": dim.p99_abs_error,
            "rmse": dim.rmse,
            "max_abs_error_native": dim.max_abs_error_native,
            "rmse_native": dim.rmse_native,
            "unit": dim.unit,
            "outside": dim.outside,
        }
        for dim in result.per_dim
    ]


def dataset_payload(summary: DatasetSummary) -> dict[str, Any]:
    """A dataset: what its metadata say, and its actions by dimension."""
    info, actions = summary.info, summary.actions
    return {
        "data": info.uri,
        "format": info.format,
        "robot": info.robot,
        "fps": info.fps,
        "episodes": info.num_episodes,
        "frames": info.num_frames,
        "lengths": info.lengths.tolist(),
        "preset": info.preset,
        "preset_reason": info.preset_reason,
        "keys": [to_plain(key) for key in info.keys],
        "grippers": list(info.grippers),
        "idle_share": summary.idle_share,
        "idle_threshold": summary.idle.threshold,
        "action_key": info.action_key,
        "action_dim": info.action_dim,
        "state_key": info.state_key,
        "state_dim": info.state_dim,
        "cameras": list(info.cameras),
        "missing_cameras": list(info.missing_cameras),
        "slots": info.slots,
        "prompts": list(summary.prompts),
        "notes": list(info.notes),
        "fingerprint": info.fingerprint,
        "per_dim": [
            {
                "name": info.action_names[dim],
                "unit": info.action_units[dim],
                "still": bool(summary.still[dim]),
                **{name: float(values[dim]) for name, values in vars(actions).items()},
            }
            for dim in range(info.action_dim)
        ],
    }


def tokenizer_payload(
    tokenizer: ActionTokenizer, folder: str, entries: list[TokenEntry], measured: RoundTrip | None, ids: IdMap
) -> dict[str, Any]:
    """A tokenizer: its parameters, its longest tokens, its use where it was measured, and where its ids stand."""
    fast = tokenizer if isinstance(tokenizer, FastTokenizer) else None
    return {
        "tokenizer": folder,
        "method": tokenizer.method,
        "vocab_size": tokenizer.vocab_size,
        "horizon": tokenizer.horizon,
        "action_dim": tokenizer.action_dim,
        "codec": None if fast is None else to_plain(fast.codec),
        "normalizer": None if tokenizer.normalizer is None else tokenizer.normalizer.method,
        "source": None if fast is None else to_plain(fast.source),
        "longest_tokens": [to_plain(entry) for entry in entries],
        "text_ids": to_plain(ids),
        "vocab_used": None if measured is None else measured.vocab_used,
        "tokens_mean": None if measured is None else measured.tokens_mean,
    }
