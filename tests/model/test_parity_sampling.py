"""Actions and tokens that openpi samples, from its parameters and its noise."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

pytest.importorskip("flax")

from openpi_golden import FLOAT32, load_golden, relative
from quick import run_quickly

from fastki.model.fast_sampling import TokenHead, write_tokens
from fastki.model.flow_sampling import sample_actions

BFLOAT16 = 1e-2
"""Of the largest action: openpi's own bfloat16 samples differ from its float32 ones by 3e-3, and its jitted passes from
its eager ones by up to 8e-3."""
END = 1


def sampled(golden, dtype):
    definition = golden.definition(dtype)
    return run_quickly(
        lambda params, observation, noise: sample_actions(definition.merge(params), observation, noise),
        golden.params,
        golden.observation,
        golden.inputs["sample_noise"],
    )


@pytest.mark.parametrize("name", ["pi05_sym", "pi05_asym", "pi0_asym"])
def test_ten_steps_from_openpis_noise_give_its_actions(shared, name):
    golden = load_golden(shared, name)
    assert relative(sampled(golden, "float32"), golden.outputs["sample_actions"]) < FLOAT32


@pytest.mark.parametrize("name", ["pi05_sym", "pi05_asym"])
def test_bfloat16_gives_them_within_its_noise(shared, name):
    golden = load_golden(shared, name)
    assert relative(sampled(golden, "bfloat16"), golden.outputs_bfloat16["sample_actions"]) < BFLOAT16


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_greedy_tokens_are_openpis(shared, dtype):
    """With every camera there: openpi's decoding looks at the wrong places of the prefix where one is missing."""
    golden = load_golden(shared, "pi0_fast")
    names = ("tokenized_prompt", "tokenized_prompt_mask", "token_ar_mask", "token_loss_mask")
    observation = replace(
        golden.observation,
        image_masks={camera: np.ones(2, bool) for camera in golden.cameras},
        **{name: golden.inputs[f"infer/{name}"] for name in names},
    )
    definition = golden.definition(dtype)
    head = TokenHead.any_text(definition.config.vocab, END)
    written = run_quickly(
        lambda params, observation, key: write_tokens(definition.merge(params), observation, key, head, max_tokens=12),
        golden.params,
        observation,
        jax.random.key(0),
    )
    assert written.lengths.tolist() == [12, 12]
    np.testing.assert_array_equal(written.tokens, golden.outputs["sampled_tokens_all_cameras"].astype(int))
