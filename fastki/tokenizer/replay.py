"""A tokenizer on a dataset, cut and split as it was when the tokenizer was fitted: what ``fastki roundtrip`` does.

>>> from fastki import open_dataset
>>> from fastki.tokenizer import FitOptions, RoundTripOptions, fit_on_dataset, roundtrip_on_dataset
>>> dataset = open_dataset("synthetic:droid?episodes=8")
>>> tokenizer = fit_on_dataset(dataset, FitOptions()).tokenizer
>>> measured = roundtrip_on_dataset(tokenizer, dataset, RoundTripOptions(atol=0.01))
>>> measured.part, measured.result.passed
('heldout', True)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastki.data import (
    ChunkSpec,
    Dataset,
    fit_normalizer,
    gather_chunks,
    iter_chunks,
    open_with,
    parse_dims,
    split_episodes,
)
from fastki.data.mixture import Mixture
from fastki.errors import DataError, TokenizerError, UsageError
from fastki.tokenizer.base import ActionTokenizer
from fastki.tokenizer.corruption import CorruptionRow, corruption_study
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.fit import FitSettings, Progress, fit_tokenizer
from fastki.tokenizer.pipeline import choose_horizon
from fastki.tokenizer.precision import coarsest_bins
from fastki.tokenizer.published import PublishedFast
from fastki.tokenizer.roundtrip import RoundTrip, roundtrip
from fastki.tokenizer.source import TokenizerSource

Which = Literal["heldout", "fitted", "all"]
_SAMPLE_CHUNKS = 10_000
_CORRUPTED_CHUNKS = 2_000


@dataclass(frozen=True)
class RoundTripOptions:
    """How a tokenizer is measured on a dataset.

    Attributes:
        atol: bound on the absolute error, normalised units.
        part: which episodes of the data that it was fitted on; other data are measured whole.
        dims: other dimensions than those it was fitted on.
        horizon: for published tokenizers, whose files may not name one.
        stride: frames between the starts of chunks; None as it was fitted.
        holdout, seed: split for published tokenizers, whose normaliser is fitted on the other episodes.
    """

    atol: float = 0.01
    part: Which = "heldout"
    dims: str | None = None
    horizon: int | None = None
    stride: int | None = None
    holdout: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.atol > 0:
            raise UsageError(f"--atol must be a positive number, not {self.atol}")


@dataclass(frozen=True)
class Part:
    """A tokenizer and one dataset to measure it on.

    Attributes:
        name: the dataset's.
        tokenizer: with the dataset's normaliser, where it has one.
        dataset: opened.
        dims: the dimensions that a mixture keeps of it, as its file says.
    """

    name: str
    tokenizer: ActionTokenizer
    dataset: Dataset
    dims: str | None = None


@dataclass(frozen=True)
class Measured:
    """A round trip on a dataset.

    Attributes:
        result: errors and token counts.
        part: which episodes these were.
        short_episodes: episodes of that split too short for one chunk.
        passing_bins: where a value missed ``atol``: the fewest bins at which none does.
        tokenizer: the one measured; a published one has got a normaliser by now.
    """

    result: RoundTrip
    part: Which
    short_episodes: int
    passing_bins: int | None
    tokenizer: ActionTokenizer


def roundtrip_on_dataset(
    tokenizer: ActionTokenizer,
    dataset: Dataset,
    options: RoundTripOptions,
    *,
    progress: Progress | None = None,
) -> Measured:
    """Measure a tokenizer on a dataset: on held-out episodes if it was fitted on these data, else on all.

    Raises:
        UsageError: the data do not have the tokenizer's shape, or every episode is shorter than the horizon.
        DataError: the data can't be read.
    """
    report = progress or (lambda *_: None)
    replay = Replay.of(tokenizer, dataset, options)
    info = dataset.info
    kept = replay.spec.kept(info.action_dim)
    result = roundtrip(
        replay.tokenizer,
        iter_chunks(
            dataset,
            replay.spec,
            episodes=replay.episodes,
            progress=lambda done, total: report("round trip", done, total),
        ),
        atol=options.atol,
        names=tuple(info.action_names[dim] for dim in kept),
        units=tuple(info.action_units[dim] for dim in kept),
    )
    passing = None
    if not result.passed:
        report("passing bins", 0, 1)
        passing = _passing_bins(replay, options.atol)
        report("passing bins", 1, 1)
    return Measured(result, replay.part, replay.short_episodes, passing, replay.tokenizer)


def corruption_on_dataset(
    tokenizer: ActionTokenizer,
    dataset: Dataset,
    options: RoundTripOptions,
    rates: Sequence[float],
    *,
    progress: Progress | None = None,
) -> list[CorruptionRow]:
    """What damage to tokens does, on at most 2,000 of the chunks that :func:`roundtrip_on_dataset` measures.

    A tokenizer of ours is compared with its like in the other order, fitted anew on the same episodes.

    Raises:
        UsageError, DataError: as :func:`roundtrip_on_dataset`; a rate outside [0, 1].
    """
    report = progress or (lambda *_: None)
    replay = Replay.of(tokenizer, dataset, options)
    report("corruption", 0, 2)
    compared: dict[str, ActionTokenizer] = {replay.tokenizer.method: replay.tokenizer}
    if isinstance(tokenizer, FastTokenizer):
        twin = _in_other_order(tokenizer, dataset, replay.spec)
        by_order = {tokenizer.codec.order: tokenizer, twin.codec.order: twin}
        compared = {"frequency-major": by_order["freq"], "dimension-major": by_order["dim"]}
    report("corruption", 1, 2)
    sample = gather_chunks(dataset, replay.spec, episodes=replay.episodes, max_chunks=_CORRUPTED_CHUNKS)
    rows = corruption_study(compared, sample.chunks, rates)
    report("corruption", 2, 2)
    return rows


def open_source(tokenizer: ActionTokenizer) -> Dataset:
    """The dataset that a tokenizer was fitted on.

    Raises:
        TokenizerError: the tokenizer does not say which, or it was a mixture.
        DataError: it is no longer there.
    """
    source = _source_of(tokenizer)
    if source is None:
        raise TokenizerError("this tokenizer does not say which data it was fitted on: give DATA")
    try:
        return open_with(source.data, source.opened)
    except DataError as error:
        raise DataError(
            f"the data that this tokenizer was fitted on can't be opened ({error}); or give DATA"
        ) from error


def parts_of(tokenizer: ActionTokenizer, dataset: Dataset | None) -> list[Part]:
    """What a measurement is made of: one part for a dataset, one for each dataset of a mixture.

    Args:
        tokenizer: to be measured.
        dataset: the data, a mixture's members each by themselves; None takes those that it was fitted on.

    Raises:
        TokenizerError, DataError: as :func:`open_source`.
    """
    if isinstance(dataset, Mixture):
        members = dataset.members
        return [Part(m.name, _own(tokenizer, m.dataset), m.dataset, m.part.dims) for m in members]
    if dataset is not None:
        return [Part(dataset.info.uri, _own(tokenizer, dataset), dataset)]
    if isinstance(tokenizer, FastTokenizer) and tokenizer.members:
        owned = [(member.name, tokenizer.for_dataset(member.name)) for member in tokenizer.members]
        return [Part(name, own, open_source(own)) for name, own in owned]
    opened = open_source(tokenizer)
    return [Part(opened.info.uri, tokenizer, opened)]


def _own(tokenizer: ActionTokenizer, dataset: Dataset) -> ActionTokenizer:
    """The tokenizer with the normaliser that a mixture's has for ``dataset``, if it has seen it."""
    if isinstance(tokenizer, FastTokenizer):
        for member in tokenizer.members:
            if member.source.fingerprint == dataset.info.fingerprint:
                return tokenizer.for_dataset(member.name)
    return tokenizer


@dataclass(frozen=True)
class Replay:
    """A tokenizer with a normaliser, and the part of a dataset that it is measured on.

    Attributes:
        tokenizer: a published one has got a normaliser by now.
        dataset: opened.
        spec: how chunks are cut: as the tokenizer's were.
        part: which episodes these are.
        episodes: their indices, without those too short for one chunk.
        short_episodes: how many are.
    """

    tokenizer: ActionTokenizer
    dataset: Dataset
    spec: ChunkSpec
    part: Which
    episodes: NDArray[np.integer[Any]]
    short_episodes: int

    @classmethod
    def of(
        cls, tokenizer: ActionTokenizer, dataset: Dataset, options: RoundTripOptions, *, split_others: bool = False
    ) -> Replay:
        """What ``options`` choose.

        Args:
            tokenizer, dataset: any.
            options: its holdout and seed split the data where no fit did.
            split_others: split other data than those of the fit too, rather than take them whole.

        Raises:
            UsageError: the data do not have the tokenizer's shape, or the part has no episode that is long enough.
        """
        info, source = dataset.info, _source_of(tokenizer)
        spec = _spec(tokenizer, dataset, options)
        part: Which = "all"
        episodes: NDArray[np.integer[Any]] = np.arange(len(dataset))
        if isinstance(tokenizer, PublishedFast | FastTokenizer) and tokenizer.normalizer is None:
            seen, _ = split_episodes(len(dataset), holdout=options.holdout, seed=options.seed)
            tokenizer = tokenizer.with_normalizer(fit_normalizer(dataset, spec, episodes=seen))
            part, episodes = _pick(len(dataset), options.holdout, options.seed, options.part)
        elif source is not None and source.fingerprint == info.fingerprint:
            part, episodes = _pick(len(dataset), source.holdout, source.seed, options.part)
        elif split_others:
            part, episodes = _pick(len(dataset), options.holdout, options.seed, options.part)
        long_enough = episodes[[spec.count(int(length)) > 0 for length in info.lengths[episodes]]]
        if not len(long_enough):
            raise UsageError(
                f"every episode of the {part} part is shorter than the horizon {spec.horizon} (the longest has "
                f"{info.lengths[episodes].max()} frames): measure with --episodes all, or fit with a smaller --horizon"
            )
        return cls(tokenizer, dataset, spec, part, long_enough, len(episodes) - len(long_enough))


def _spec(tokenizer: ActionTokenizer, dataset: Dataset, options: RoundTripOptions) -> ChunkSpec:
    info, source = dataset.info, _source_of(tokenizer)
    horizon = choose_horizon(dataset, options.horizon, tokenizer.horizon)
    spec = ChunkSpec(horizon=horizon) if source is None else replace(source.spec, horizon=horizon)
    if options.stride is not None:
        spec = replace(spec, stride=options.stride)
    if options.dims is not None:
        spec = replace(spec, dims=parse_dims(options.dims, info.action_dim, info.action_names))
    kept = range(info.action_dim) if spec.dims is None else spec.dims
    if max(kept) >= info.action_dim or tokenizer.action_dim not in (None, len(kept)):
        raise UsageError(_wrong_width(info.uri, info.action_dim, len(kept), tokenizer.action_dim))
    return spec


def _wrong_width(uri: str, width: int, chosen: int, wanted: int | None) -> str:
    what = f"{uri} has {width} action dimensions"
    if chosen < width:
        what += f", {chosen} of them chosen"
    mend = "fit a tokenizer on these data"
    if wanted is not None and width > wanted:
        mend = f"choose {wanted} with --dims, or {mend}"
    return f"{what}; the tokenizer was fitted for {wanted}: {mend}"


def _pick(episodes: int, holdout: float, seed: int, part: Which) -> tuple[Which, NDArray[np.integer[Any]]]:
    fitted, heldout = split_episodes(episodes, holdout=holdout, seed=seed)
    if part == "all" or not len(heldout):
        return "all" if part == "all" else "fitted", np.arange(episodes)
    return part, heldout if part == "heldout" else fitted


def _passing_bins(replay: Replay, atol: float) -> int | None:
    """Fewest bins that keep at most 10,000 of the chunks within ``atol``; None where no precision does."""
    assert replay.tokenizer.normalizer is not None
    sample = gather_chunks(replay.dataset, replay.spec, episodes=replay.episodes, max_chunks=_SAMPLE_CHUNKS)
    try:
        return coarsest_bins(replay.tokenizer.normalizer.normalize(sample.chunks.actions, clip=False), atol)
    except UsageError:
        return None


def _in_other_order(tokenizer: FastTokenizer, dataset: Dataset, spec: ChunkSpec) -> FastTokenizer:
    """The tokenizer's like in the other order, fitted on the same episodes if these are its data, else on all."""
    codec, source = tokenizer.codec, tokenizer.source
    episodes = None
    if source is not None and source.fingerprint == dataset.info.fingerprint:
        episodes, _ = split_episodes(len(dataset), holdout=source.holdout, seed=source.seed)
    settings = FitSettings(
        vocab_size=tokenizer.vocab_size,
        scale=codec.scale if codec.atol is None else None,
        atol=codec.atol,
        order="dim" if codec.order == "freq" else "freq",
        reference=codec.reference,
        deadzone=codec.deadzone,
        rdo=codec.rdo,
    )
    chunks = gather_chunks(dataset, spec, episodes=episodes, max_chunks=_SAMPLE_CHUNKS).chunks
    return fit_tokenizer(chunks, settings, normalizer=tokenizer.normalizer)


def _source_of(tokenizer: ActionTokenizer) -> TokenizerSource | None:
    return tokenizer.source if isinstance(tokenizer, FastTokenizer) else None
