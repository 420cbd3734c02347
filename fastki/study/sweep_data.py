"""The chunks of a sweep, a shard a horizon: read, normalised and transformed once for all of its cells.

Axis letters: N chunks, H horizon, A action dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data import Chunks, ChunkSpec, Dataset, Normalizer, split_episodes, survey
from fastki.study.cells import Shard
from fastki.study.grid import SweepOptions
from fastki.tokenizer.dct import dct
from fastki.tokenizer.pipeline import chunk_spec, heldout_chunks

_FIELDS = ("actions", "reference", "previous", "episode", "start")


@dataclass(frozen=True, eq=False)
class SweepContext:
    """What cells know besides the chunks.

    Attributes:
        spec: how the chunks are cut.
        normalizer: fitted on the fitted episodes.
        names, units: of the A dimensions.
        atol: the bound asked about, normalised units.
        probe: steps of the probe, 0 for none.
        seed: of the bootstrap and the probe.
    """

    spec: ChunkSpec
    normalizer: Normalizer
    names: tuple[str, ...]
    units: tuple[str | None, ...]
    atol: float
    probe: int
    seed: int


@dataclass(frozen=True, eq=False)
class SweepData:
    """A shard, read back.

    Attributes:
        fitted: the chunks to fit on, native units.
        heldout: those to measure on; the fitted ones where no held-out episode is long enough.
        transformed: the DCT of the normalised fitted chunks, float64 ``[N, H, A]``.
        context: the rest.
        fitted_state, heldout_state: the state at each chunk's first frame, ``[N, S]``, for a probe; None without one
            or where the dataset has no state.
    """

    fitted: Chunks
    heldout: Chunks
    transformed: NDArray[np.float64]
    context: SweepContext
    fitted_state: NDArray[np.float64] | None = None
    heldout_state: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, shard: Shard) -> SweepData:
        context: SweepContext = shard.context
        arrays = {name: np.asarray(array) for name, array in shard.arrays.items()}
        fitted, heldout = (
            Chunks(**{field: arrays[f"{side}_{field}"] for field in _FIELDS}, spec=context.spec)
            for side in ("fitted", "heldout")
        )
        states = arrays.get("fitted_state"), arrays.get("heldout_state")
        return cls(fitted, heldout, arrays["transformed"], context, *states)


def horizon_spec(dataset: Dataset, options: SweepOptions, horizon: int) -> ChunkSpec:
    """How chunks of this horizon are cut."""
    return chunk_spec(dataset, replace(options.data, horizon=horizon))


def heldout_episodes(dataset: Dataset, options: SweepOptions, horizon: int) -> NDArray[np.int64]:
    """The held-out episodes long enough for a chunk; empty where there is none."""
    _, held = split_episodes(len(dataset), holdout=options.data.holdout, seed=options.data.seed)
    spec = horizon_spec(dataset, options, horizon)
    return held[[spec.count(int(length)) > 0 for length in dataset.info.lengths[held]]]


def make_shard(dataset: Dataset, options: SweepOptions, horizon: int) -> Shard:
    """Both sides of the split, as ``fastki fit`` takes them.

    Raises:
        DataError: every fitted episode is shorter than the horizon, or one can't be read.
    """
    data, spec = options.data, horizon_spec(dataset, options, horizon)
    seen, _ = split_episodes(len(dataset), holdout=data.holdout, seed=data.seed)
    held = heldout_episodes(dataset, options, horizon)
    found = survey(
        dataset, spec, episodes=seen, max_chunks=data.max_chunks, seed=data.seed, method=data.norm, clip=data.clip
    )
    fitted, normalizer = found.sample.chunks, found.normalizer
    heldout = heldout_chunks(dataset, spec, held, data) or fitted
    kept = spec.kept(dataset.info.action_dim)
    context = SweepContext(
        spec,
        normalizer,
        names=tuple(dataset.info.action_names[dim] for dim in kept),
        units=tuple(dataset.info.action_units[dim] for dim in kept),
        atol=options.bound,
        probe=options.probe,
        seed=data.seed,
    )
    arrays: dict[str, NDArray[Any]] = {"transformed": dct(normalizer.normalize(fitted.actions))}
    for side, chunks in (("fitted", fitted), ("heldout", heldout)):
        arrays |= {f"{side}_{field}": getattr(chunks, field) for field in _FIELDS}
        if options.probe and dataset.info.state_key is not None:
            arrays[f"{side}_state"] = _states(dataset, chunks)
    return Shard(arrays, context)


def _states(dataset: Dataset, chunks: Chunks) -> NDArray[np.float64]:
    """The state at each chunk's first frame, ``[N, S]``."""
    states = np.empty((len(chunks), dataset.info.state_dim))
    for index in np.unique(chunks.episode).tolist():
        mine = chunks.episode == index
        state = dataset.read(index).state
        assert state is not None
        states[mine] = state[chunks.start[mine]]
    return states
