"""Where a tokenizer's data came from: enough to open them again and split them the same way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fastki.data import ChunkSample, ChunkSpec, Dataset, Normalizer
from fastki.data.options import OpenOptions


@dataclass(frozen=True)
class TokenizerSource:
    """The data that a tokenizer was fitted on, and how they were cut.

    Attributes:
        data: path or name, as the user gave it (absolute for a local path).
        fingerprint: of the data themselves, wherever they lie.
        opened: how they were opened, with the keys that were found.
        spec: how chunks were cut from them.
        holdout: share of the episodes held out, in [0, 1).
        seed: of the split and the sampling of chunks.
        episodes: episodes that chunks were taken from.
        chunks: chunks fitted on.
        total_chunks: chunks that those episodes hold.
        names: of the action's dimensions.
        units: of the action's dimensions, None where unknown.
        fps: actions a second, if known.
    """

    data: str
    fingerprint: str
    opened: OpenOptions
    spec: ChunkSpec
    holdout: float
    seed: int
    episodes: int
    chunks: int
    total_chunks: int
    names: tuple[str, ...]
    units: tuple[str | None, ...]
    fps: float | None

    @classmethod
    def of(cls, dataset: Dataset, sample: ChunkSample, *, holdout: float, seed: int) -> TokenizerSource:
        """The record of ``sample``, drawn from the episodes of ``dataset`` that are not held out."""
        info, spec = dataset.info, sample.chunks.spec
        kept = spec.kept(info.action_dim)
        return cls(
            data=_absolute(info.uri),
            fingerprint=info.fingerprint,
            opened=replace(info.opened, action_key=info.action_key, state_key=info.state_key),
            spec=spec,
            holdout=holdout,
            seed=seed,
            episodes=sample.episodes_used,
            chunks=len(sample.chunks),
            total_chunks=sample.total_chunks,
            names=tuple(info.action_names[dim] for dim in kept),
            units=tuple(info.action_units[dim] for dim in kept),
            fps=info.fps,
        )


@dataclass(frozen=True, eq=False)
class TokenizerMember:
    """One dataset of the mixture that a tokenizer was fitted on.

    Attributes:
        name: the dataset's, as the mixture calls it.
        share: of the fitted chunks, in (0, 1].
        normalizer: its own.
        source: where it is and how it was cut.
    """

    name: str
    share: float
    normalizer: Normalizer
    source: TokenizerSource


def _absolute(uri: str) -> str:
    path = Path(uri).expanduser()
    return str(path.resolve()) if path.exists() else uri
