"""From a dataset to a fitted and measured tokenizer: what ``fastki fit`` does, for a notebook.

>>> from fastki import open_dataset
>>> from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset
>>> fitted = fit_on_dataset(open_dataset("synthetic:droid?episodes=8"), FitOptions(FitSettings(bins=40)))
>>> fitted.tokenizer.horizon, fitted.heldout is not None
(16, True)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastki.data import (
    Chunks,
    ChunkSample,
    ChunkSampler,
    ChunkSpec,
    Dataset,
    Normalizer,
    parse_dims,
    split_episodes,
    survey,
)
from fastki.data.chunks import PadEnd
from fastki.data.idle import IdleFilter
from fastki.data.mixture import Mixture
from fastki.errors import UsageError
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.fit import FitSettings, Progress, fit_tokenizer
from fastki.tokenizer.roundtrip import RoundTrip, roundtrip
from fastki.tokenizer.source import TokenizerSource

DEFAULT_HORIZON = 16


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
        pad_end: chunks that reach beyond an episode's end are padded so, "repeat" (as openpi trains) or "zero";
            "none": there are no such chunks.
        drop_idle: leave out chunks that start where no dimension but the grippers changes by this much from
            frame to frame, native units, in runs as openpi's DROID training has them; None keeps them.
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
    pad_end: PadEnd = "none"
    drop_idle: float | None = None
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


def fit_on_dataset(
    dataset: Dataset,
    options: FitOptions,
    *,
    normalizer: Normalizer | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Split a dataset by episode, fit a tokenizer on one side, and measure it on both.

    Args:
        dataset: with episodes of its own.
        options: how.
        normalizer: in place of one that is fitted on the data.
        progress: told of stages.

    Raises:
        UsageError: an option is out of range, or contradicts another; a mixture, which
            :func:`fastki.tokenizer.fit_on_mixture` fits.
        DataError: the data can't be read, or no episode is as long as the horizon.
    """
    if isinstance(dataset, Mixture):
        raise UsageError(f"{dataset.info.uri} is a mixture: fit it with fit_on_mixture")
    report = progress or (lambda *_: None)
    spec = chunk_spec(dataset, options)
    fit_episodes, heldout_episodes = split_episodes(len(dataset), holdout=options.holdout, seed=options.seed)
    seen = survey(
        dataset,
        spec,
        episodes=fit_episodes,
        max_chunks=options.max_chunks,
        seed=options.seed,
        method=options.norm,
        clip=options.clip,
        progress=lambda done, total: report("chunks", done, total),
    )
    sample = seen.sample
    source = TokenizerSource.of(dataset, sample, holdout=options.holdout, seed=options.seed)
    tokenizer = fit_tokenizer(
        sample.chunks,
        options.tokenizer,
        normalizer=seen.normalizer if normalizer is None else normalizer,
        source=source,
        progress=progress,
    )
    report("measure", 0, 2)
    fitted = measure(tokenizer, source, sample.chunks, options)
    report("measure", 1, 2)
    held = heldout_chunks(dataset, spec, heldout_episodes, options)
    heldout = None if held is None else measure(tokenizer, source, held, options)
    report("measure", 2, 2)
    return Fitted(tokenizer, fitted, heldout, sample, len(heldout_episodes))


def heldout_chunks(
    dataset: Dataset, spec: ChunkSpec, episodes: NDArray[np.int64], options: FitOptions
) -> Chunks | None:
    """At most ``options.max_chunks`` chunks of the held-out ``episodes``, None where they give none."""
    sampler = ChunkSampler(spec, max_chunks=options.max_chunks, seed=options.seed)
    for index in episodes.tolist():
        sampler.add(dataset.read(index, state=spec.needs_state))
    return sampler.chunks()


def chunk_spec(dataset: Dataset, options: FitOptions) -> ChunkSpec:
    """How the options cut a dataset into chunks, with dimensions parsed.

    Raises:
        UsageError: a dimension that does not exist, or a horizon or stride out of range.
    """
    info = dataset.info
    return ChunkSpec(
        horizon=choose_horizon(dataset, options.horizon),
        stride=options.stride,
        dims=None if options.dims is None else parse_dims(options.dims, info.action_dim, info.action_names),
        delta=() if options.delta is None else parse_dims(options.delta, info.action_dim, info.action_names),
        delta_from=options.delta_from,
        pad_end=options.pad_end,
        idle=None if options.drop_idle is None else IdleFilter(options.drop_idle),
        idle_ignores=info.grippers,
    )


def choose_horizon(dataset: Dataset, *wishes: int | None) -> int:
    """The first wish that is one, else the horizon of data that are chunks already, else 16."""
    return next(wish for wish in (*wishes, dataset.info.chunked_horizon, DEFAULT_HORIZON) if wish is not None)


def measure(tokenizer: FastTokenizer, source: TokenizerSource, chunks: Chunks, options: FitOptions) -> RoundTrip:
    """What the tokenizer does to ``chunks``, with the names and units of the data that they come from."""
    return roundtrip(tokenizer, [chunks], atol=options.tokenizer.bound, names=source.names, units=source.units)
