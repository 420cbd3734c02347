"""Where a tokenizer's data came from: enough to open them again and split them the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastki.data import ChunkSpec


@dataclass(frozen=True)
class TokenizerSource:
    """The data that a tokenizer was fitted on, and how they were cut.

    Attributes:
        data: path or name, as the user gave it (absolute for a local path).
        fingerprint: of the data themselves, wherever they lie.
        action_key: which feature the actions were.
        state_key: which feature the state was, if any.
        stride: frames between the starts of chunks.
        dims: the dimensions kept, or None for all.
        delta: dimensions relative to a reference, in the dataset's numbering.
        delta_from: that reference.
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
    action_key: str | None
    state_key: str | None
    stride: int
    dims: tuple[int, ...] | None
    delta: tuple[int, ...]
    delta_from: Literal["state", "previous"]
    holdout: float
    seed: int
    episodes: int
    chunks: int
    total_chunks: int
    names: tuple[str, ...]
    units: tuple[str | None, ...]
    fps: float | None

    def spec(self, horizon: int) -> ChunkSpec:
        """How to cut the same kind of chunks again."""
        return ChunkSpec(
            horizon=horizon,
            stride=self.stride,
            dims=self.dims,
            delta=self.delta,
            delta_from=self.delta_from,
        )
