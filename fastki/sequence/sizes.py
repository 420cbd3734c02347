"""Sizes of models, and what a sequence costs them: floating-point operations and bytes, per example.

A multiplication and an addition are two operations (FLOPs). Counted are the matrix products:

- SigLIP, per camera, n tokens of width w, depth d, MLP m, patch p:
  ``2·n·3p²·w + d·(8·n·w² + 4·n·w·m + 4·n²·w) + 2·n·w·W``, the last into the language model's width W;
- a Gemma stream of L tokens, width D, N heads of h, K key/value heads, gated MLP F, that sees M keys:
  ``d·(2·L·D·N·h + 4·L·D·K·h + 2·L·N·h·D + 6·L·D·F)`` and, for attention itself, ``d·4·L·M·N·h``;
- logits, for each token of text in training: ``2·D·V``.

Left out are norms, softmax, rotations, activations, the adaptive scales and the projections of actions and time: well
under 1 % in the large sizes. Attention is counted over the whole of the padded sequence, masked pairs included, as
dense attention computes it. A training step is three times the forward pass (each product has two in the backward
one); recomputing activations ("remat") would add a fourth. Inference fills the key/value cache once with the padded
prefix, without FAST, and runs the action expert ``steps`` times over it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from fastki.errors import UsageError

STEPS = 10
"""Euler steps of the flow at inference, openpi's default."""
_BYTES_OF_BFLOAT16 = 2


@dataclass(frozen=True)
class VisionSize:
    """A SigLIP tower: pixels a side, patch, width, depth, width of the MLP, heads."""

    image_size: int
    patch: int
    width: int
    depth: int
    mlp: int
    heads: int

    @property
    def tokens(self) -> int:
        """Tokens of one picture."""
        return (self.image_size // self.patch) ** 2


@dataclass(frozen=True)
class StreamSize:
    """A Gemma, or the action expert: width, depth, width of the gated MLP, heads, key/value heads, width of a head."""

    width: int
    depth: int
    mlp: int
    heads: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class ModelSize:
    """A π0.5-style model.

    Attributes:
        name: on the command line.
        vision: of the pictures.
        backbone: of pictures and text.
        expert: of the actions; depth and heads are the backbone's, as they attend together.
        vocab: of the text; None: whatever the text tokenizer has.
        action_dim: D.
        max_token_len: that openpi's configuration has, or a fitting one.
        cameras: slots of the batch, empty ones included.

    Raises:
        UsageError: an expert whose depth or heads are not the backbone's.
    """

    name: str
    vision: VisionSize
    backbone: StreamSize
    expert: StreamSize
    vocab: int | None = None
    action_dim: int = 32
    max_token_len: int = 200
    cameras: int = 3

    def __post_init__(self) -> None:
        shared = ("depth", "heads", "kv_heads", "head_dim")
        if any(getattr(self.backbone, name) != getattr(self.expert, name) for name in shared):
            raise UsageError(
                f"model {self.name}: backbone and expert attend together, so {', '.join(shared)} must agree"
            )

    def table_rows(self, ids: int) -> int:
        """Rows of the table of text embeddings, for a text tokenizer of so many ids: never fewer than those."""
        return max(self.vocab or 0, ids)


SIZES: dict[str, ModelSize] = {
    size.name: size
    for size in (
        ModelSize(
            "dummy",
            VisionSize(28, 14, 32, 2, 128, 2),
            StreamSize(64, 4, 128, 8, 1, 16),
            StreamSize(64, 4, 128, 8, 1, 16),
        ),
        ModelSize(
            "tiny",
            VisionSize(64, 16, 96, 2, 192, 3),
            StreamSize(96, 4, 256, 4, 2, 24),
            StreamSize(64, 4, 160, 4, 2, 24),
        ),
        ModelSize(
            "small",
            VisionSize(112, 14, 384, 6, 1536, 6),
            StreamSize(512, 8, 2048, 8, 1, 64),
            StreamSize(256, 8, 1024, 8, 1, 64),
        ),
        ModelSize(
            "pi05",
            VisionSize(224, 14, 1152, 27, 4304, 16),
            StreamSize(2048, 18, 16_384, 8, 1, 256),
            StreamSize(1024, 18, 4096, 8, 1, 256),
            vocab=257_152,
        ),
    )
}


@dataclass(frozen=True)
class Cost:
    """What one example costs.

    Attributes:
        attention: FLOPs of scores and weighted sums in the language model and the expert.
        total: all FLOPs.
    """

    attention: int
    total: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.attention + other.attention, self.total + other.total)

    def times(self, factor: int) -> Cost:
        """So many of it."""
        return Cost(self.attention * factor, self.total * factor)


def model_size(name: str) -> ModelSize:
    """The size of that name; UsageError with a near one if there is none."""
    if name in SIZES:
        return SIZES[name]
    near = difflib.get_close_matches(name, SIZES, n=1)
    raise UsageError(
        f"there is no model {name!r}: " + (f"did you mean {near[0]}?" if near else f"use {', '.join(SIZES)}")
    )


def vision_flops(vision: VisionSize, width: int) -> int:
    """Of one picture, forward, into tokens of ``width``."""
    n, w, m = vision.tokens, vision.width, vision.mlp
    layer = 8 * n * w * w + 4 * n * w * m + 4 * n * n * w
    return 2 * n * 3 * vision.patch**2 * w + vision.depth * layer + 2 * n * w * width


def stream_cost(stream: StreamSize, tokens: int, keys: int) -> Cost:
    """Of ``tokens`` that see ``keys`` each, forward."""
    heads, kv = stream.heads * stream.head_dim, stream.kv_heads * stream.head_dim
    layer = tokens * stream.width * (4 * heads + 4 * kv + 6 * stream.mlp)
    attention = 4 * tokens * keys * heads
    return Cost(stream.depth * attention, stream.depth * (layer + attention))


def training_cost(size: ModelSize, *, images: int, text: int, horizon: int, logits: int, vocab: int) -> Cost:
    """Of a training step, per example.

    Args:
        size: of the model.
        images: cameras, empty slots included.
        text: tokens of text, padded.
        horizon: noisy actions; 0 without the expert.
        logits: text tokens whose logits are computed; 0 without FAST.
        vocab: of the text.
    """
    backbone = images * size.vision.tokens + text
    cost = stream_cost(size.backbone, backbone, backbone) + stream_cost(size.expert, horizon, backbone + horizon)
    rest = images * vision_flops(size.vision, size.backbone.width) + 2 * logits * size.backbone.width * vocab
    return (cost + Cost(0, rest)).times(3)


def inference_cost(size: ModelSize, *, images: int, text: int, horizon: int, steps: int = STEPS) -> Cost:
    """Of one chunk of actions by the flow: the prefix once, the expert ``steps`` times; per example."""
    prefix = images * size.vision.tokens + text
    cost = stream_cost(size.backbone, prefix, prefix)
    cost += stream_cost(size.expert, horizon, prefix + horizon).times(steps)
    return cost + Cost(0, images * vision_flops(size.vision, size.backbone.width))


def cache_bytes(size: ModelSize, tokens: int) -> int:
    """Of the key/value cache of ``tokens``, in bfloat16, per example."""
    stream = size.backbone
    return 2 * stream.depth * stream.kv_heads * stream.head_dim * tokens * _BYTES_OF_BFLOAT16
