"""What names and shapes of parameters say about the model that they are of. Nothing here needs JAX.

Axis letters: L layers, W and D widths, M and F widths of MLPs, N heads, K key/value heads, H width of a head, V rows of
the vocabulary, A action dimensions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isqrt

from fastki.errors import UsageError
from fastki.model.config import Kind
from fastki.sequence.sizes import SIZES, StreamSize, VisionSize

Shapes = Mapping[str, tuple[int, ...]]
"""Name of a parameter → its shape."""

PARTS: dict[str, re.Pattern[str]] = {
    "lora": re.compile(r".*lora_[ab]"),
    "tower": re.compile(r"PaliGemma/img/.*"),
    "embedder": re.compile(r"PaliGemma/llm/embedder/.*"),
    "expert": re.compile(r"PaliGemma/llm/(.*/)?[a-z_]+_1(/.*)?"),
    "backbone": re.compile(r"PaliGemma/llm/.*"),
    "state_token": re.compile(r"state_token_proj/.*"),
    "actions": re.compile(r"(action_.*|time_mlp_.*|state_proj)/.*"),
}
"""Parts of a model by name, and what their parameters are called. The first that fits is a parameter's own part; as a
word for many parameters each stands for all that fit, so that ``expert`` is the expert with its low-rank additions."""
OTHER = "other"

_LLM, _LAYERS = "PaliGemma/llm", "PaliGemma/llm/layers"
_BLOCK = "PaliGemma/img/Transformer/encoderblock"
_ACTION_AXIS = {
    "action_in_proj/kernel": 0,
    "action_out_proj/kernel": 1,
    "action_out_proj/bias": 0,
    "state_proj/kernel": 0,
    "state_token_proj/kernel": 0,
}


@dataclass(frozen=True)
class Traits:
    """What can be told of a model; None where its parameters are not there or make no sense.

    Attributes:
        vision, backbone, expert: sizes.
        kind: ``pi05``, ``pi0`` or ``pi0_fast``.
        vocab: V.
        action_dim: A.
        lora: ranks of the low-rank additions of backbone and expert, None for none.
        state_token: whether the state has a projection into the text.
    """

    vision: VisionSize | None
    backbone: StreamSize | None
    expert: StreamSize | None
    kind: Kind | None
    vocab: int | None
    action_dim: int | None
    lora: tuple[int | None, int | None]
    state_token: bool

    @property
    def model(self) -> str | None:
        """The name of the size among :data:`fastki.sequence.sizes.SIZES`, whatever the size of pictures."""
        for name, size in SIZES.items():
            same_tower = self.vision is not None and _without_pixels(size.vision) == _without_pixels(self.vision)
            if same_tower and size.backbone == self.backbone and self.expert in (size.expert, None):
                return name
        return None


def read_traits(shapes: Shapes) -> Traits:
    """The traits of a model with these parameters."""
    projected = _dims(shapes, "action_in_proj/kernel", 2)
    table = _dims(shapes, f"{_LLM}/embedder/input_embedding", 2)
    return Traits(
        vision=_vision(shapes),
        backbone=_stream(shapes, ""),
        expert=_stream(shapes, "_1"),
        kind=_kind(shapes),
        vocab=table[0] if table else None,
        action_dim=projected[0] if projected else None,
        lora=(_rank(shapes, ""), _rank(shapes, "_1")),
        state_token="state_token_proj/kernel" in shapes,
    )


def part_of(name: str) -> str:
    """The part that a parameter belongs to.

    >>> part_of("PaliGemma/llm/layers/mlp_1/linear"), part_of("PaliGemma/llm/final_norm/scale")
    ('expert', 'backbone')
    """
    return next((part for part, pattern in PARTS.items() if pattern.fullmatch(name)), OTHER)


def names_matching(words: Iterable[str], names: Iterable[str]) -> set[str]:
    """Those ``names`` that any of ``words`` stands for.

    A word is a part (``expert``), the beginning of names (``PaliGemma/llm/embedder``), or a regular expression for
    whole names (``.*lora.*``).

    Raises:
        UsageError: a word is no regular expression.
    """
    patterns = [_pattern(word) for word in words]
    return {name for name in names if any(pattern.fullmatch(name) for pattern in patterns)}


def differ_in_actions_only(name: str, one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two shapes of a parameter are those of different action dimensions."""
    axis = _ACTION_AXIS.get(name)
    if axis is None or len(one) != len(other):
        return False
    return {index for index, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]} == {axis}


def _pattern(word: str) -> re.Pattern[str]:
    if word in PARTS:
        return PARTS[word]
    try:
        return re.compile(f"{re.escape(word)}(/.*)?|(?:{word})")
    except re.error as error:
        raise UsageError(
            f"{word!r} is no pattern of names ({error}): give a part ({', '.join(PARTS)}), the beginning of names or a "
            "regular expression such as '.*lora.*'"
        ) from error


def _dims(shapes: Shapes, name: str, count: int) -> tuple[int, ...] | None:
    shape = shapes.get(name)
    return shape if shape is not None and len(shape) == count and all(shape) else None


def _kind(shapes: Shapes) -> Kind | None:
    if "time_mlp_in/kernel" in shapes:
        return "pi05"
    if "action_time_mlp_in/kernel" in shapes:
        return "pi0"
    return "pi0_fast" if f"{_LLM}/embedder/input_embedding" in shapes else None


def _vision(shapes: Shapes) -> VisionSize | None:
    kernel = _dims(shapes, "PaliGemma/img/embedding/kernel", 4)  # [p, p, 3, W]
    positions = _dims(shapes, "PaliGemma/img/pos_embedding", 3)  # [1, T, W]
    query = _dims(shapes, f"{_BLOCK}/MultiHeadDotProductAttention_0/query/kernel", 4)  # [L, W, N, H]
    hidden = _dims(shapes, f"{_BLOCK}/MlpBlock_0/Dense_0/kernel", 3)  # [L, W, M]
    if kernel is None or positions is None or query is None or hidden is None:
        return None
    return VisionSize(kernel[0] * isqrt(positions[1]), kernel[0], query[1], query[0], hidden[2], query[2])


def _stream(shapes: Shapes, end: str) -> StreamSize | None:
    hidden = _dims(shapes, f"{_LAYERS}/mlp{end}/linear", 3)  # [L, F, D]
    joined = _dims(shapes, f"{_LAYERS}/attn/qkv_einsum{end}/w", 5)  # [L, 3, N, D, H]
    query = _dims(shapes, f"{_LAYERS}/attn/q_einsum{end}/w", 4)  # [L, N, D, H]
    pair = _dims(shapes, f"{_LAYERS}/attn/kv_einsum{end}/w", 5)  # [L, 2, K, D, H]
    if hidden is not None and joined is not None:
        return StreamSize(hidden[2], hidden[0], hidden[1], joined[2], joined[2], joined[4])
    if hidden is None or query is None or pair is None:
        return None
    return StreamSize(hidden[2], hidden[0], hidden[1], query[1], pair[2], query[3])


def _rank(shapes: Shapes, end: str) -> int | None:
    rows = _dims(shapes, f"{_LAYERS}/mlp{end}/linear_lora_a", 3)  # [L, F, rank]
    return rows[2] if rows else None


def _without_pixels(size: VisionSize) -> tuple[int, ...]:
    return size.patch, size.width, size.depth, size.mlp, size.heads
