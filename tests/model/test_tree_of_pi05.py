"""π0.5 at full size: openpi's names, the shapes that its widths make, and how many numbers; nothing is allocated."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("flax")

import jax
import jax.numpy as jnp
from openpi_golden import load_golden

from fastki.model.config import LoraConfig, ModelConfig
from fastki.model.params import abstract_model, count, flatten
from fastki.sequence.sizes import SIZES

PARAMETERS = 3_353_433_872
LAYERS, TOWER_LAYERS = 18, 27


@pytest.fixture(scope="module")
def shapes():
    config = ModelConfig(SIZES["pi05"], vocab=257_152, action_horizon=50)
    return flatten(abstract_model(config)[1])


def test_its_names_are_openpis(shapes, shared):
    assert set(shapes) == set(load_golden(shared, "pi05_asym").shapes)


def test_every_leaf_is_float32_and_only_a_shape(shapes):
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) and leaf.dtype == jnp.float32 for leaf in shapes.values())


def test_its_numbers_are_those_of_its_widths(shapes):
    """SigLIP So400m/14, Gemma 2B, and an expert of 300M, each counted by hand."""
    w, mlp = 1152, 4304
    tower = (14 * 14 * 3 * w + w) + 256 * w  # Patches and their positions.
    tower += TOWER_LAYERS * (4 * (w * w + w) + (w * mlp + mlp) + (mlp * w + w) + 2 * 2 * w)
    tower += 2 * w + (w * 2048 + 2048)  # The last norm and the way into the language model.
    heads, own = 8 * 256, 1 * 256

    def stream(width, hidden, norm):
        attention = width * heads + 2 * width * own + heads * width
        return LAYERS * (attention + 3 * width * hidden + 2 * norm) + norm

    backbone = 257_152 * 2048 + stream(2048, 16_384, norm=2048)
    c = 1024
    expert = stream(c, 4096, norm=c * 3 * c + 3 * c)
    actions = (32 * c + c) + (c * 32 + 32) + 2 * (c * c + c)
    found = dict.fromkeys(("tower", "backbone", "expert", "actions"), 0)
    for name, leaf in shapes.items():
        in_llm = name.startswith("PaliGemma/llm")
        part = "tower" if name.startswith("PaliGemma/img") else "actions"
        if in_llm:
            part = "expert" if any(step.endswith("_1") for step in name.split("/")) else "backbone"
        found[part] += math.prod(leaf.shape)
    assert found == {"tower": tower, "backbone": backbone, "expert": expert, "actions": actions}
    assert tower + backbone + expert + actions == PARAMETERS


def test_layers_are_stacked_on_the_first_axis(shapes):
    for name, leaf in shapes.items():
        if name.startswith("PaliGemma/llm/layers/"):
            assert leaf.shape[0] == LAYERS, name
        if "/encoderblock/" in name:
            assert leaf.shape[0] == TOWER_LAYERS, name
    assert shapes["PaliGemma/llm/layers/attn/kv_einsum_1/w"].shape == (18, 2, 1, 1024, 256)
    assert shapes["PaliGemma/llm/layers/attn/q_einsum/w"].shape == (18, 8, 2048, 256)
    assert shapes["PaliGemma/llm/layers/mlp/gating_einsum"].shape == (18, 2, 2048, 16_384)
    tower = "PaliGemma/img/Transformer/encoderblock/MultiHeadDotProductAttention_0"
    assert shapes[f"{tower}/query/kernel"].shape == (27, 1152, 16, 72)


def test_pi0_and_pi0_fast_have_their_own_parts_and_low_rank_additions_are_extra(shapes):
    size, c = SIZES["pi05"], 1024

    def total(**options):
        return count(abstract_model(ModelConfig(size, vocab=257_152, **options))[1])

    adaptive = (2 * LAYERS + 1) * (c * 3 * c + 3 * c - c)  # More than a plain norm's scale.
    time, state = 2 * (c * c + c), (2 * c * c + c) + (c * c + c) + (32 * c + c)
    assert total(kind="pi0") == PARAMETERS - adaptive - time + state
    backbone = sum(
        math.prod(leaf.shape)
        for name, leaf in shapes.items()
        if (name.startswith("PaliGemma") and not any(step.endswith("_1") for step in name.split("/")[2:]))
        or name.startswith("PaliGemma/img")
    )
    assert total(kind="pi0_fast") == backbone
    r = 16
    pairs = 8 * (2048 + 256) + 2 * (2048 + 256) + 8 * (256 + 2048) + 2 * (2048 + 16_384) + (16_384 + 2048)
    assert total(backbone_lora=LoraConfig(r, r)) == PARAMETERS + LAYERS * r * pairs
