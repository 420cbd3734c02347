"""fastki: FAST action tokenizers and knowledge-insulated training for π0.5-style robot policies.

The public names load on first use, so that ``import fastki`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fastki.data import Chunks, Episode, Normalizer, open_dataset
    from fastki.tokenizer import FastTokenizer

_HOMES = {
    "Chunks": "fastki.data",
    "Episode": "fastki.data",
    "Normalizer": "fastki.data",
    "open_dataset": "fastki.data",
    "FastTokenizer": "fastki.tokenizer",
}

__all__ = ["Chunks", "Episode", "FastTokenizer", "Normalizer", "__version__", "open_dataset"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fastki' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
