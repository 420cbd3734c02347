"""What is measured: shapes, scales and vocabularies, and the chunks of a dataset in those shapes.

Axis letters: N chunks, H horizon, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import say
from fastki.data import ChunkSpec, Dataset, Normalizer, fit_normalizer, gather_chunks, split_episodes
from fastki.data.norm_stats import NormStats

HOLDOUT = 0.2
_RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "data" / "g1_pick_bottle"


class Shape(NamedTuple):
    """H and A of a chunk."""

    horizon: int
    action_dim: int

    def __str__(self) -> str:
        return f"H{self.horizon} A{self.action_dim}"


@dataclass(frozen=True)
class Plan:
    """The extent of a run.

    Attributes:
        shapes: of the speed and latency tables.
        scales: of the speed and latency tables.
        vocab_size: of the speed, latency and memory tables.
        repetitions: of each timed call, at least.
        latency_calls: single calls timed for a latency.
        max_chunks: of each side of the split; None for all.
        memory_chunks: how many chunks the fits whose memory is measured get.
        study_shapes: of the compression and bound tables.
        study_scales: of the compression table.
        study_vocab_sizes: of the compression table.
        bound_vocab_sizes: of the bound table.
        atol: the bound, normalised units.
    """

    shapes: tuple[Shape, ...] = (Shape(16, 8), Shape(16, 26), Shape(50, 26))
    scales: tuple[int, ...] = (10, 40)
    vocab_size: int = 1024
    repetitions: int = 5
    latency_calls: int = 2000
    max_chunks: int | None = None
    memory_chunks: int = 300_000
    study_shapes: tuple[Shape, ...] = (Shape(16, 8), Shape(50, 26))
    study_scales: tuple[int, ...] = (10, 20, 40, 100)
    study_vocab_sizes: tuple[int, ...] = (256, 512, 1024, 2048, 4096)
    bound_vocab_sizes: tuple[int, ...] = (1024, 2048, 4096)
    atol: float = 0.01

    def within(self, action_dim: int) -> Plan:
        """The same for data of only so many action dimensions."""
        return replace(
            self, shapes=_clamped(self.shapes, action_dim), study_shapes=_clamped(self.study_shapes, action_dim)
        )


FULL = Plan()
QUICK = Plan(
    shapes=(Shape(16, 8),),
    scales=(10,),
    repetitions=2,
    latency_calls=200,
    max_chunks=2000,
    memory_chunks=20_000,
    study_shapes=(Shape(16, 8),),
    study_scales=(10, 40),
    study_vocab_sizes=(256, 1024),
    bound_vocab_sizes=(1024, 2048),
)


@dataclass(frozen=True)
class Split:
    """Normalised chunks float64 ``[N, H, A]`` in [-1, 1] of fitted and of held-out episodes."""

    shape: Shape
    fitted: NDArray[np.float64]
    heldout: NDArray[np.float64]


def default_data() -> str:
    """Real recordings where they lie beside the checkout, else the built-in sample."""
    return str(_RECORDINGS) if _RECORDINGS.is_dir() else "synthetic:droid"


def load_splits(dataset: Dataset, plan: Plan) -> dict[Shape, Split]:
    """The chunks of every shape of the plan: every window of the first A dimensions, split by episode."""
    shapes = dict.fromkeys((*plan.shapes, *plan.study_shapes))
    return {shape: _load(dataset, shape, plan.max_chunks) for shape in shapes}


def describe_data(dataset: Dataset, splits: Iterable[Split]) -> dict[str, Any]:
    """What was measured on, for the tables' captions."""
    fitted, heldout = split_episodes(len(dataset), holdout=HOLDOUT)
    return {
        "uri": dataset.info.uri,
        "episodes_fitted": len(fitted),
        "episodes_heldout": len(heldout),
        "chunks": {str(split.shape): [len(split.fitted), len(split.heldout)] for split in splits},
    }


def identity(action_dim: int) -> Normalizer:
    """The normaliser that leaves already normalised values as they are."""
    return Normalizer("none", NormStats(np.zeros(action_dim), np.ones(action_dim)))


def _load(dataset: Dataset, shape: Shape, max_chunks: int | None) -> Split:
    say(f"reading {shape} chunks of {dataset.info.uri}")
    spec = ChunkSpec(horizon=shape.horizon, dims=tuple(range(shape.action_dim)))
    fitted, heldout = split_episodes(len(dataset), holdout=HOLDOUT)
    normalizer = fit_normalizer(dataset, spec, episodes=fitted, method="quantile", clip=True)
    sides = (
        gather_chunks(dataset, spec, episodes=side, max_chunks=max_chunks).chunks.actions for side in (fitted, heldout)
    )
    return Split(shape, *(normalizer.normalize(side) for side in sides))


def _clamped(shapes: Iterable[Shape], action_dim: int) -> tuple[Shape, ...]:
    return tuple(dict.fromkeys(Shape(shape.horizon, min(shape.action_dim, action_dim)) for shape in shapes))
