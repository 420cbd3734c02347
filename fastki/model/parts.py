"""The four parts of a π0.5-style model, told apart by the names of its parameters alone.

Paths are openpi's, joined with ``/``. Freezing, learning rates and the norms of gradients are all by part.

>>> part_of("PaliGemma/img/Transformer/encoderblock/MlpBlock_0/Dense_0/kernel")
'tower'
>>> part_of("PaliGemma/llm/layers/mlp/linear"), part_of("PaliGemma/llm/layers/mlp_1/linear")
('backbone', 'expert')
"""

from __future__ import annotations

from typing import Literal, get_args

Part = Literal["tower", "embedder", "backbone", "expert"]
"""The image tower; the table of text embeddings; the rest of the language model; all that makes actions."""

PARTS: tuple[Part, ...] = get_args(Part)

_EXPERT_SUFFIX = "_1"  # openpi numbers the experts of each layer; the first bears no number.


def part_of(path: str) -> Part:
    """The part that the parameter at ``path`` belongs to.

    LoRA leaves belong to the part that they adapt.

    Raises:
        ValueError: it stands under ``PaliGemma`` yet in neither ``img`` nor ``llm``, so that no part can claim it.
    """
    root, *inner = path.split("/")
    if root != "PaliGemma":
        return "expert"
    match inner:
        case ["img", _, *_]:
            return "tower"
        case ["llm", "embedder", *_]:
            return "embedder"
        case ["llm", _, *_]:
            return "expert" if any(name.endswith(_EXPERT_SUFFIX) for name in inner) else "backbone"
    raise ValueError(f"{path} is of no known part of the model: PaliGemma has img and llm")


def is_lora(path: str) -> bool:
    """Whether the parameter at ``path`` is a low-rank adapter's, as ``q_einsum/lora_a`` or ``gating_einsum_lora_b``.

    >>> is_lora("PaliGemma/llm/layers/attn/q_einsum/lora_a"), is_lora("PaliGemma/llm/layers/attn/q_einsum/w")
    (True, False)
    """
    return path.rpartition("/")[2].endswith(("lora_a", "lora_b"))
