"""Merged additions compute what they did beside the weights; those of openpi's variants stay."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("flax")

from model_batches import micro_config, random_batch, random_draw, random_model
from quick import run_quickly

from fastki.export.lora import OPENPI_LORA, kept_by_openpi, merge_lora
from fastki.model.config import MODES, LoraConfig
from fastki.model.losses import compute_losses
from fastki.model.params import abstract_model, flatten, nest

LENGTHS = ((5, 6), (3, 9), (4, 0))
LORAS = {"backbone_lora": LoraConfig(2, 4.0), "expert_lora": LoraConfig(3, 6.0)}


def test_the_merged_model_has_the_losses_of_the_additions():
    config = micro_config(**LORAS)
    definition, params = random_model(config)
    plain, shapes = abstract_model(dataclasses.replace(config, backbone_lora=None, expert_lora=None))
    weights = {name: np.asarray(leaf) for name, leaf in flatten(params).items()}
    merged = merge_lora(weights, config, (False, False))
    assert merged.keys() == flatten(shapes).keys()
    batch = random_batch(config, LENGTHS)
    draw = random_draw(batch)

    def loss(model, leaves):
        def total(leaves, batch):
            return compute_losses(model.merge(leaves), batch, draw, MODES["ki"]).total

        return float(run_quickly(total, leaves, batch))

    before, after = loss(definition, params), loss(plain, nest(merged))
    without = loss(plain, nest({name: weights[name] for name in merged}))
    np.testing.assert_allclose(after, before, rtol=5e-5)
    assert abs(without - before) > 1e-3


def test_a_stream_that_is_kept_is_left_as_it_is():
    config = micro_config(**LORAS)
    weights = {name: np.asarray(leaf) for name, leaf in flatten(random_model(config)[1]).items()}
    merged = merge_lora(weights, config, (True, False))
    assert {name for name in merged if "lora" in name} == {n for n in weights if "lora" in n and "_1" not in n}
    name = "PaliGemma/llm/layers/attn/q_einsum/w"
    np.testing.assert_array_equal(merged[name], weights[name])


@pytest.mark.parametrize(
    ("loras", "kept"),
    [
        ((None, None), (False, False)),
        (OPENPI_LORA, (True, True)),
        ((LoraConfig(16, 32.0), LoraConfig(16, 16.0)), (False, False)),
    ],
)
def test_openpis_variants_are_told_by_rank_and_alpha(loras, kept):
    assert kept_by_openpi(micro_config(backbone_lora=loras[0], expert_lora=loras[1])) == kept


def test_frozen_bfloat16_weights_become_float32_where_something_is_added():
    import ml_dtypes

    config = micro_config(backbone_lora=LoraConfig(2, 4.0))
    weights = {n: np.asarray(leaf).astype(ml_dtypes.bfloat16) for n, leaf in flatten(random_model(config)[1]).items()}
    merged = merge_lora(weights, config, (False, False))
    assert merged["PaliGemma/llm/layers/mlp/linear"].dtype == np.float32
    assert merged["PaliGemma/img/head/bias"].dtype == ml_dtypes.bfloat16
