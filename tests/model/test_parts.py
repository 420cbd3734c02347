"""Parts of a model by the names of its parameters."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from fastki.model.parts import PARTS, is_lora, part_of


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("PaliGemma/img/Transformer/encoderblock/MlpBlock_0/Dense_0/kernel", "tower"),
        ("PaliGemma/img/Transformer/encoderblock/LayerNorm_1/scale", "tower"),
        ("PaliGemma/img/pos_embedding", "tower"),
        ("PaliGemma/llm/embedder/input_embedding", "embedder"),
        ("PaliGemma/llm/layers/attn/q_einsum/w", "backbone"),
        ("PaliGemma/llm/layers/attn/q_einsum/lora_a", "backbone"),
        ("PaliGemma/llm/final_norm/scale", "backbone"),
        ("PaliGemma/llm/layers/attn/q_einsum_1/w", "expert"),
        ("PaliGemma/llm/layers/attn/q_einsum_1/lora_b", "expert"),
        ("PaliGemma/llm/layers/mlp_1/linear", "expert"),
        ("PaliGemma/llm/final_norm_1/Dense_0/kernel", "expert"),
        ("action_in_proj/kernel", "expert"),
        ("time_mlp_in/bias", "expert"),
    ],
)
def test_each_parameter_has_its_part(path, part):
    assert part_of(path) == part


@pytest.mark.parametrize("path", ["PaliGemma/other/kernel", "PaliGemma", "PaliGemma/llm"])
def test_what_no_part_claims_is_refused(path):
    with pytest.raises(ValueError, match="no known part"):
        part_of(path)


def test_every_parameter_of_openpi_has_a_part(shared):
    paths = json.loads((shared / "golden/openpi/pi05_asym/params.json").read_text())
    counts = Counter(part_of(path) for path in paths)
    assert set(counts) == set(PARTS)
    assert counts["embedder"] == 1


@pytest.mark.parametrize("name", ["mlp/gating_einsum_lora_a", "mlp/linear_lora_b", "attn/kv_einsum_1/lora_a"])
def test_adapters_are_known_by_their_leaf(name):
    assert is_lora(f"PaliGemma/llm/layers/{name}")


def test_a_folder_named_after_adapters_makes_none():
    assert not is_lora("lora_a/kernel")
