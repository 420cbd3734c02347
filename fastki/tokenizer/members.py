"""Tokenizers of mixtures: one vocabulary over several datasets, each with a normaliser of its own.

Axis letters: N chunks, H horizon, A action dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastki.data import Chunks, ChunkSample, ChunkSpec, Normalizer, NormStats, split_episodes, survey
from fastki.data.mixture import Member, Mixture
from fastki.errors import UsageError
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.fit import Progress, fit_tokenizer
from fastki.tokenizer.pipeline import FitOptions, chunk_spec, heldout_chunks, measure
from fastki.tokenizer.roundtrip import RoundTrip, roundtrip
from fastki.tokenizer.source import TokenizerMember, TokenizerSource


@dataclass(frozen=True, eq=False)
class MemberFit:
    """What a fit on a mixture took of one dataset, and what it does there.

    Attributes:
        name: the dataset's.
        share: of the fitted chunks, in (0, 1].
        sample: the chunks drawn, native units, each once.
        drawn: how many chunks went into the fit; more than ``sample`` has where some had to be repeated.
        heldout_episodes: how many episodes were held out.
        heldout: errors and token counts on those, native units where it says so; None where they give no chunk.
    """

    name: str
    share: float
    sample: ChunkSample
    drawn: int
    heldout_episodes: int
    heldout: RoundTrip | None


@dataclass(frozen=True, eq=False)
class MixtureFit:
    """A tokenizer fitted on a mixture.

    Attributes:
        tokenizer: without a normaliser of its own; ``for_dataset`` gives it a member's.
        fitted: on the chunks that it was fitted on, normalised units throughout.
        members: the datasets.
    """

    tokenizer: FastTokenizer
    fitted: RoundTrip
    members: tuple[MemberFit, ...]

    @property
    def tokens_mean(self) -> float | None:
        """Tokens a held-out chunk, the datasets counting by their shares; None if one held nothing out."""
        means = [(member.share, member.heldout.tokens_mean) for member in self.members if member.heldout]
        return sum(share * mean for share, mean in means) if len(means) == len(self.members) else None


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A member's part in the fit: its normaliser, its record, and its chunks in normalised units."""

    member: Member
    spec: ChunkSpec
    sample: ChunkSample
    normalizer: Normalizer
    source: TokenizerSource
    heldout_episodes: NDArray[np.int64]
    chunks: Chunks


def fit_on_mixture(mixture: Mixture, options: FitOptions, *, progress: Progress | None = None) -> MixtureFit:
    """Fit one tokenizer on chunks drawn from the members by weight, each member normalised by its own statistics.

    A member that has fewer chunks than its share asks for gives some of them more than once.

    Args:
        mixture: the datasets, each with its own dimensions and differences.
        options: as for one dataset, but for ``dims`` and ``delta``, which the mixture says.
        progress: told what goes on.

    Raises:
        UsageError, DataError: as for one dataset.
    """
    report = progress or (lambda *_: None)
    if options.dims is not None or options.delta is not None:
        raise UsageError(f"--dims and --delta are ambiguous for a mixture: write them into {mixture.info.uri}")
    base = chunk_spec(mixture, options)
    budget = _budget(mixture, base, options)
    drawn = []
    for done, member in enumerate(mixture.members, 1):
        drawn.append(_draw(member, base, options, budget))
        report("chunks", done, len(mixture.members))
    chunks = Chunks.concatenate([part.chunks for part in drawn])
    identity = _identity(chunks.actions.shape[2])
    tokenizer = fit_tokenizer(chunks, options.tokenizer, normalizer=identity, progress=progress)
    report("measure", 0, len(drawn) + 1)
    fitted = roundtrip(tokenizer, [chunks], atol=options.tokenizer.bound, names=mixture.info.action_names)
    tokenizer = replace(
        tokenizer,
        normalizer=None,
        members=tuple(TokenizerMember(d.member.name, d.member.share, d.normalizer, d.source) for d in drawn),
    )
    members = []
    for done, part in enumerate(drawn, 1):
        members.append(_measure(tokenizer, part, options))
        report("measure", done + 1, len(drawn) + 1)
    return MixtureFit(tokenizer, fitted, tuple(members))


def _budget(mixture: Mixture, base: ChunkSpec, options: FitOptions) -> int:
    """How many chunks are drawn in all: ``max_chunks``, or as many as there are."""
    available = 0
    for member in mixture.members:
        available += sum(base.count(int(length)) for length in member.dataset.info.lengths)
    return max(len(mixture.members), min(options.max_chunks, available))


def _draw(member: Member, base: ChunkSpec, options: FitOptions, budget: int) -> _Drawn:
    spec = member.spec(base)
    fit_episodes, heldout = split_episodes(len(member.dataset), holdout=options.holdout, seed=options.seed)
    wanted = max(1, round(member.share * budget))
    seen = survey(
        member.dataset,
        spec,
        episodes=fit_episodes,
        max_chunks=wanted,
        seed=options.seed,
        method=options.norm,
        clip=options.clip,
    )
    source = TokenizerSource.of(member.dataset, seen.sample, holdout=options.holdout, seed=options.seed)
    chunks = seen.sample.chunks
    repeated = chunks.take(np.arange(wanted) % len(chunks))
    return _Drawn(
        member, spec, seen.sample, seen.normalizer, source, heldout, _normalized(repeated, seen.normalizer, base)
    )


def _normalized(chunks: Chunks, normalizer: Normalizer, base: ChunkSpec) -> Chunks:
    return Chunks(
        actions=normalizer.normalize(chunks.actions),
        reference=np.zeros_like(chunks.reference),
        previous=normalizer.normalize(chunks.previous),
        episode=chunks.episode,
        start=chunks.start,
        spec=ChunkSpec(horizon=base.horizon, stride=base.stride),
    )


def _identity(action_dim: int) -> Normalizer:
    return Normalizer("none", NormStats(np.zeros(action_dim), np.ones(action_dim)))


def _measure(tokenizer: FastTokenizer, part: _Drawn, options: FitOptions) -> MemberFit:
    held = heldout_chunks(part.member.dataset, part.spec, part.heldout_episodes, options)
    own = tokenizer.with_normalizer(part.normalizer)
    heldout = None if held is None else measure(own, part.source, held, options)
    return MemberFit(
        part.member.name, part.member.share, part.sample, len(part.chunks), len(part.heldout_episodes), heldout
    )
