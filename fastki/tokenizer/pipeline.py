"""From a dataset to a fitted and measured tokenizer, and from a tokenizer back to its data.

What ``fastki fit`` and ``fastki roundtrip`` do, for a notebook:

>>> from fastki import open_dataset
>>> from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset
>>> fitted = fit_on_dataset(open_dataset("synthetic:droid?episodes=8"), FitOptions(FitSettings(bins=40)))
>>> fitted.tokenizer.horizon, fitted.heldout is not None
(16, True)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastki.data import (
    Chunks,
    ChunkSample,
    ChunkSpec,
    Dataset,
    Normalizer,
    fit_normalizer,
    gather_chunks,
    iter_chunks,
    open_dataset,
    parse_dims,
    split_episodes,
)
from fastki.errors import TokenizerError, UsageError
from fastki.tokenizer.base import ActionTokenizer
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.fit import FitSettings, Progress, fit_tokenizer
from fastki.tokenizer.precision import coarsest_bins
from fastki.tokenizer.published import PublishedFast
from fastki.tokenizer.roundtrip import RoundTrip, roundtrip
from fastki.tokenizer.source import TokenizerSource

DEFAULT_HORIZON = 16
Split = Literal["heldout", "fitted", "all"]


@dataclass(frozen=True)
class FitOptions:
    """How a dataset becomes a tokenizer.

    Attributes:
        tokenizer: vocabulary, precision and order.
        horizon: H; None takes 16, or the horizon of data that are chunks already.
        stride: frames between the starts of chunks.
        dims: such as ``0:7,13``, or None for all.
        delta: dimensions relative to a reference, such as ``0:7``, in the dataset's numbering.
        delta_from: the state at the chunk's first frame, or the action before the chunk.
        norm: the normaliser's method.
        clip: clip normalised values to [-1, 1]; openpi does not.
        holdout: share of the episodes held out, in [0, 1).
        seed: of the split and of the sampling.
        max_chunks: fit and measure on at most so many, spread over the episodes.
    """

    tokenizer: FitSettings = field(default_factory=FitSettings)
    horizon: int | None = None
    stride: int = 1
    dims: str | None = None
    delta: str | None = None
    delta_from: Literal["state", "previous"] = "state"
    norm: Literal["quantile", "minmax", "zscore", "none"] = "quantile"
    clip: bool = False
    holdout: float = 0.1
    seed: int = 0
    max_chunks: int = 10_000


@dataclass(frozen=True)
class Fitted:
    """A tokenizer fitted on a dataset, and what it does to both sides of the split.

    Attributes:
        tokenizer: with its normaliser and source.
        fitted: on the chunks that it was fitted on.
        heldout: on held-out episodes; None where there was nothing to hold out.
        fit_sample: the fitted chunks and what they were drawn from.
        heldout_episodes: how many episodes were held out.
    """

    tokenizer: FastTokenizer
    fitted: RoundTrip
    heldout: RoundTrip | None
    fit_sample: ChunkSample
    heldout_episodes: int


@dataclass(frozen=True)
class RoundTripOptions:
    """How a tokenizer is measured on a dataset.

    Attributes:
        atol: bound on the absolute error, normalised units.
        split: which episodes of the data that it was fitted on; other data are measured whole.
        dims: other dimensions than those it was fitted on.
        horizon: for published tokenizers, whose files may not name one.
        stride: frames between the starts of chunks; None as it was fitted.
        holdout, seed: split for published tokenizers, whose normaliser is fitted on the other episodes.
    """

    atol: float = 0.01
    split: Split = "heldout"
    dims: str | None = None
    horizon: int | None = None
    stride: int | None = None
    holdout: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """A round trip on a dataset.

    Attributes:
        result: errors and token counts.
        split: which episodes these were.
        short_episodes: episodes of that split too short for one chunk.
        passing_bins: where a value missed ``atol``: the fewest bins at which none does.
        tokenizer: the one measured; a published one has got a normaliser by now.
    """

    result: RoundTrip
    split: Split
    short_episodes: int
    passing_bins: int | None
    tokenizer: ActionTokenizer


def fit_on_dataset(dataset: Dataset, options: FitOptions, *, progress: Progress | None = None) -> Fitted:
    """Split a dataset by episode, fit a tokenizer on one side, and measure it on both.

    Raises:
        UsageError: an option is out of range, or contradicts another.
        DataError: the data can't be read, or no episode is as long as the horizon.
    """
    report = progress or (lambda *_: None)
    info = dataset.info
    spec = chunk_spec(dataset, options)
    fit_episodes, heldout_episodes = split_episodes(len(dataset), holdout=options.holdout, seed=options.seed)
    sample = gather_chunks(
        dataset,
        spec,
        episodes=fit_episodes,
        max_chunks=options.max_chunks,
        seed=options.seed,
        progress=lambda done, total: report("chunks", done, total),
    )
    normalizer = fit_normalizer(
        dataset,
        spec,
        episodes=fit_episodes,
        method=options.norm,
        clip=options.clip,
        progress=lambda done, total: report("statistics", done, total),
    )
    kept = _kept(spec, info.action_dim)
    source = TokenizerSource(
        data=_absolute(info.uri),
        fingerprint=info.fingerprint,
        action_key=info.action_key,
        state_key=info.state_key,
        stride=spec.stride,
        dims=spec.dims,
        delta=spec.delta,
        delta_from=spec.delta_from,
        holdout=options.holdout,
        seed=options.seed,
        episodes=sample.episodes_used,
        chunks=len(sample.chunks),
        total_chunks=sample.total_chunks,
        names=tuple(info.action_names[dim] for dim in kept),
        units=tuple(info.action_units[dim] for dim in kept),
        fps=info.fps,
    )
    tokenizer = fit_tokenizer(
        sample.chunks,
        options.tokenizer,
        normalizer=normalizer,
        source=source,
        progress=progress,
    )
    atol = options.tokenizer.bound
    report("measure", 0, 2)
    fitted = roundtrip(tokenizer, [sample.chunks], atol=atol, names=source.names, units=source.units)
    report("measure", 1, 2)
    heldout = None
    long_enough = heldout_episodes[info.lengths[heldout_episodes] >= spec.horizon]
    if len(long_enough):
        held = gather_chunks(
            dataset, spec, episodes=long_enough, max_chunks=options.max_chunks, seed=options.seed
        )
        heldout = roundtrip(tokenizer, [held.chunks], atol=atol, names=source.names, units=source.units)
    report("measure", 2, 2)
    return Fitted(tokenizer, fitted, heldout, sample, len(heldout_episodes))


def roundtrip_on_dataset(
    tokenizer: ActionTokenizer,
    dataset: Dataset,
    options: RoundTripOptions,
    *,
    progress: Progress | None = None,
) -> Measured:
    """Measure a tokenizer on a dataset: on held-out episodes if it was fitted on these data, else on all.

    Raises:
        UsageError: the data do not have the tokenizer's shape.
        DataError: the data can't be read, or no episode is as long as the horizon.
    """
    report = progress or (lambda *_: None)
    info = dataset.info
    source = tokenizer.source if isinstance(tokenizer, FastTokenizer) else None
    spec = _spec_for(tokenizer, dataset, options)
    if isinstance(tokenizer, PublishedFast) and tokenizer.normalizer is None:
        seen, _ = split_episodes(len(dataset), holdout=options.holdout, seed=options.seed)
        normalizer = fit_normalizer(dataset, spec, episodes=seen, method="quantile", clip=False)
        tokenizer = tokenizer.with_normalizer(normalizer)
        split, episodes = _pick(len(dataset), options.holdout, options.seed, options.split)
    elif source is not None and source.fingerprint == info.fingerprint:
        split, episodes = _pick(len(dataset), source.holdout, source.seed, options.split)
    else:
        split, episodes = "all", np.arange(len(dataset))
    long_enough = episodes[info.lengths[episodes] >= spec.horizon]
    if not len(long_enough):
        raise UsageError(
            f"every episode of the {split} split is shorter than the horizon {spec.horizon} (the longest has "
            f"{info.lengths[episodes].max()} frames): measure with --split all, or fit with a smaller --horizon"
        )
    kept = _kept(spec, info.action_dim)
    result = roundtrip(
        tokenizer,
        iter_chunks(
            dataset,
            spec,
            episodes=long_enough,
            progress=lambda done, total: report("round trip", done, total),
        ),
        atol=options.atol,
        names=tuple(info.action_names[dim] for dim in kept),
        units=tuple(info.action_units[dim] for dim in kept),
    )
    passing = None
    if not result.passed:
        report("passing bins", 0, 1)
        passing = _passing_bins(tokenizer, dataset, spec, long_enough, options.atol)
        report("passing bins", 1, 1)
    return Measured(result, split, len(episodes) - len(long_enough), passing, tokenizer)


def chunk_spec(dataset: Dataset, options: FitOptions) -> ChunkSpec:
    """How the options cut a dataset into chunks, with dimensions parsed.

    Raises:
        UsageError: a dimension that does not exist, or a horizon or stride out of range.
    """
    info = dataset.info
    return ChunkSpec(
        horizon=options.horizon or info.chunked_horizon or DEFAULT_HORIZON,
        stride=options.stride,
        dims=None if options.dims is None else parse_dims(options.dims, info.action_dim, info.action_names),
        delta=() if options.delta is None else parse_dims(options.delta, info.action_dim, info.action_names),
        delta_from=options.delta_from,
    )


def open_source(tokenizer: ActionTokenizer) -> Dataset:
    """The dataset that a tokenizer was fitted on.

    Raises:
        TokenizerError: the tokenizer does not say which.
        DataError: it is no longer there.
    """
    source = tokenizer.source if isinstance(tokenizer, FastTokenizer) else None
    if source is None:
        raise TokenizerError("this tokenizer does not say which data it was fitted on: give DATA")
    return open_dataset(source.data, action_key=source.action_key, state_key=source.state_key)


def _spec_for(tokenizer: ActionTokenizer, dataset: Dataset, options: RoundTripOptions) -> ChunkSpec:
    source = tokenizer.source if isinstance(tokenizer, FastTokenizer) else None
    info = dataset.info
    horizon = options.horizon or tokenizer.horizon or info.chunked_horizon or DEFAULT_HORIZON
    plain = ChunkSpec(horizon=horizon)
    if source is not None:
        plain = source.spec(horizon)
    dims = plain.dims
    if options.dims is not None:
        dims = parse_dims(options.dims, info.action_dim, info.action_names)
    spec = ChunkSpec(
        horizon=horizon,
        stride=options.stride or plain.stride,
        dims=dims,
        delta=plain.delta,
        delta_from=plain.delta_from,
    )
    wanted, kept = tokenizer.action_dim, _kept(spec, info.action_dim)
    if max(kept) >= info.action_dim or (wanted is not None and len(kept) != wanted):
        raise UsageError(
            f"{info.uri} has {info.action_dim} action dimensions, the tokenizer was fitted for {wanted}"
            f"{'' if source is None or source.dims is None else f' (dimensions {list(source.dims)})'}: choose "
            "them with --dims"
        )
    return spec


def _pick(
    episodes: int, holdout: float, seed: int, split: Split
) -> tuple[Split, NDArray[np.integer[Any]]]:
    fitted, heldout = split_episodes(episodes, holdout=holdout, seed=seed)
    if split == "all" or not len(heldout):
        return "all" if split == "all" else "fitted", np.arange(episodes)
    return split, heldout if split == "heldout" else fitted


def _passing_bins(
    tokenizer: ActionTokenizer,
    dataset: Dataset,
    spec: ChunkSpec,
    episodes: NDArray[np.integer[Any]],
    atol: float,
) -> int | None:
    """Fewest bins that keep at most 10,000 of the chunks within ``atol``; None where no precision does."""
    assert tokenizer.normalizer is not None
    chunks: Chunks = gather_chunks(dataset, spec, episodes=episodes, max_chunks=10_000).chunks
    try:
        return coarsest_bins(tokenizer.normalizer.normalize(chunks.actions, clip=False), atol)
    except UsageError:
        return None


def _kept(spec: ChunkSpec, action_dim: int) -> tuple[int, ...]:
    return tuple(range(action_dim)) if spec.dims is None else spec.dims


def _absolute(uri: str) -> str:
    path = Path(uri).expanduser()
    return str(path.resolve()) if path.exists() else uri
