"""Operations and bytes, counted by hand."""

from __future__ import annotations

import pytest

from fastki.errors import UsageError
from fastki.sequence.sizes import (
    SIZES,
    ModelSize,
    StreamSize,
    VisionSize,
    cache_bytes,
    inference_cost,
    model_size,
    stream_cost,
    training_cost,
    vision_flops,
)

VISION = VisionSize(image_size=4, patch=2, width=3, depth=2, mlp=5, heads=1)
BACKBONE = StreamSize(width=4, depth=2, mlp=6, heads=2, kv_heads=1, head_dim=3)
EXPERT = StreamSize(width=2, depth=2, mlp=3, heads=2, kv_heads=1, head_dim=3)
MODEL = ModelSize("by hand", VISION, BACKBONE, EXPERT)


def product(rows: int, inner: int, columns: int) -> int:
    """FLOPs of a matrix product."""
    return 2 * rows * inner * columns


def test_a_picture():
    n = 4
    layer = 4 * product(n, 3, 3) + product(n, 3, n) + product(n, n, 3) + product(n, 3, 5) + product(n, 5, 3)
    assert vision_flops(VISION, 4) == product(n, 2 * 2 * 3, 3) + 2 * layer + product(n, 3, 4)


def test_a_stream():
    tokens, keys = 5, 7
    projections = product(tokens, 4, 6) + 2 * product(tokens, 4, 3) + product(tokens, 6, 4)
    mlp = 2 * product(tokens, 4, 6) + product(tokens, 6, 4)
    attention = 2 * (product(tokens, 3, keys) + product(tokens, keys, 3))
    cost = stream_cost(BACKBONE, tokens, keys)
    assert cost.attention == 2 * attention
    assert cost.total == 2 * (projections + mlp + attention)


def test_training_and_inference():
    backbone, expert = stream_cost(BACKBONE, 2 * 4 + 6, 14), stream_cost(EXPERT, 3, 14 + 3)
    pictures = 2 * vision_flops(VISION, 4)
    train = training_cost(MODEL, images=2, text=6, horizon=3, logits=6, vocab=11)
    assert train.total == 3 * (backbone.total + expert.total + pictures + product(6, 4, 11))
    assert train.attention == 3 * (backbone.attention + expert.attention)
    infer = inference_cost(MODEL, images=2, text=6, horizon=3, steps=10)
    assert infer.total == backbone.total + 10 * expert.total + pictures
    assert infer.attention == backbone.attention + 10 * expert.attention


def test_the_cache_holds_keys_and_values_in_two_bytes_each():
    assert cache_bytes(MODEL, 14) == 2 * 2 * 1 * 3 * 14 * 2
    assert cache_bytes(SIZES["pi05"], 968) == 2 * 18 * 256 * 968 * 2


def test_pi05_has_the_published_sizes():
    size = SIZES["pi05"]
    assert size.vision.tokens == 256
    parameters = size.backbone.depth * (
        size.backbone.width * (2 * 8 * 256 + 2 * 256) + 3 * size.backbone.width * size.backbone.mlp
    )
    assert parameters == pytest.approx(1.98e9, rel=0.01)  # Gemma 2B less its embeddings.
    # A forward pass takes about two operations for each parameter and token.
    assert stream_cost(size.backbone, 1000, 0).total == 2 * 1000 * parameters
    tower = vision_flops(size.vision, 0) / (2 * 256)
    assert tower == pytest.approx(0.41e9, rel=0.1)  # So400m, and its attention.


def test_names():
    assert model_size("tiny") is SIZES["tiny"]
    with pytest.raises(UsageError, match="did you mean pi05"):
        model_size("pi0.5")
    with pytest.raises(UsageError, match="use dummy, tiny, small, pi05"):
        model_size("zzz")
    with pytest.raises(UsageError, match="must agree"):
        ModelSize("odd", VISION, BACKBONE, StreamSize(2, 3, 3, 2, 1, 3))
