"""The data path: datasets → episodes → chunks → normalised actions. Names load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastki.data.chunks import Chunks, ChunkSpec
    from fastki.data.dims import parse_dims
    from fastki.data.episode import Dataset, DatasetInfo, Episode, FrameSource
    from fastki.data.fit import Survey, fit_normalizer, survey
    from fastki.data.gather import ChunkSample, ChunkSampler, gather_chunks, iter_chunks
    from fastki.data.idle import IdleFilter
    from fastki.data.norm_stats import NormStats, load_norm_stats, save_norm_stats
    from fastki.data.normalize import Normalizer
    from fastki.data.open import open_dataset, open_with
    from fastki.data.options import OpenOptions
    from fastki.data.split import split_episodes

_HOMES = {
    "ChunkSample": "gather",
    "ChunkSampler": "gather",
    "ChunkSpec": "chunks",
    "Chunks": "chunks",
    "Dataset": "episode",
    "DatasetInfo": "episode",
    "Episode": "episode",
    "FrameSource": "episode",
    "IdleFilter": "idle",
    "NormStats": "norm_stats",
    "Normalizer": "normalize",
    "OpenOptions": "options",
    "Survey": "fit",
    "fit_normalizer": "fit",
    "gather_chunks": "gather",
    "iter_chunks": "gather",
    "load_norm_stats": "norm_stats",
    "open_dataset": "open",
    "open_with": "open",
    "parse_dims": "dims",
    "save_norm_stats": "norm_stats",
    "split_episodes": "split",
    "survey": "fit",
}

__all__ = [
    "ChunkSample",
    "ChunkSampler",
    "ChunkSpec",
    "Chunks",
    "Dataset",
    "DatasetInfo",
    "Episode",
    "FrameSource",
    "IdleFilter",
    "NormStats",
    "Normalizer",
    "OpenOptions",
    "Survey",
    "fit_normalizer",
    "gather_chunks",
    "iter_chunks",
    "load_norm_stats",
    "open_dataset",
    "open_with",
    "parse_dims",
    "save_norm_stats",
    "split_episodes",
    "survey",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fastki.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fastki.data.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
