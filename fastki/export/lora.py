"""A policy's weights by name, and its low-rank additions: kept where openpi has the like, merged elsewhere.

Nothing here needs JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.model.config import LoraConfig, ModelConfig

Progress = Callable[[str, int, int], None]
Weights = dict[str, NDArray[Any]]
"""Name of a parameter → its values."""

OPENPI_LORA = (LoraConfig(16, 16.0), LoraConfig(32, 32.0))
"""Of openpi's variants ``gemma_2b_lora`` and ``gemma_300m_lora``: backbone and expert."""
_ENDS = (("/lora_a", "/lora_b", "/w"), ("_lora_a", "_lora_b", ""))


def kept_by_openpi(model: ModelConfig) -> tuple[bool, bool]:
    """Whether the additions of backbone and expert are those of openpi's LoRA variants."""
    return model.backbone_lora == OPENPI_LORA[0], model.expert_lora == OPENPI_LORA[1]


def merge_lora(weights: Mapping[str, NDArray[Any]], model: ModelConfig, keep: tuple[bool, bool]) -> Weights:
    """``w + a·b·alpha/rank``, float32, in place of the weights and additions of each stream that is not kept.

    Args:
        weights: by openpi's names.
        model: whose scales count.
        keep: the additions of the backbone, and of the expert.
    """
    merged = dict(weights)
    for name in weights:
        for first, second, own in _ENDS:
            if not name.endswith(first):
                continue
            base = name.removesuffix(first)
            stream = int(any(part.endswith("_1") for part in base.split("/")))
            lora = (model.backbone_lora, model.expert_lora)[stream]
            if lora is None or keep[stream]:
                continue
            low, high = merged.pop(name), merged.pop(base + second)
            addition = np.matmul(low.astype(np.float32), high.astype(np.float32)) * np.float32(lora.scale)
            merged[base + own] = merged[base + own].astype(np.float32) + addition
    return merged


def nbytes(weights: Mapping[str, NDArray[Any]]) -> int:
    """Of all of them."""
    return sum(value.nbytes for value in weights.values())
