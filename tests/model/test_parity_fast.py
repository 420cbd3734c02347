"""π0-FAST's numbers, from openpi's parameters. Rows of padding are left out: see ``test_parity``."""

from __future__ import annotations

import jax
import numpy as np
import pytest

pytest.importorskip("flax")

from openpi_golden import FLOAT32, fast_pass, load_golden, relative
from quick import run_quickly

from fastki.model.config import MODES
from fastki.model.losses import compute_losses
from fastki.model.params import abstract_model, flatten

GRADIENT_NORM = 5e-6
"""Of a gradient's norm, in which the rounding of single numbers averages out."""
NO_GRADIENT = 1e-7
"""Gradients that are zero but for rounding."""


@pytest.fixture(scope="module")
def golden(shared):
    return load_golden(shared, "pi0_fast")


@pytest.fixture(scope="module")
def found(golden):
    return fast_pass(golden)


def test_every_parameter_has_openpis_name_and_shape(golden):
    shapes = {name: leaf.shape for name, leaf in flatten(abstract_model(golden.config())[1]).items()}
    assert shapes == golden.shapes


def test_embeddings_and_masks_are_openpis(golden, found):
    assert relative(found["token_embeddings"], golden.outputs["token_embeddings"]) < FLOAT32
    for name in ("input_mask", "ar_mask", "attn_mask"):
        np.testing.assert_array_equal(found[name], golden.outputs[name], err_msg=name)


def test_positions_count_padding_and_missing_cameras(golden, found):
    places = golden.outputs["input_mask"].shape
    np.testing.assert_array_equal(found["positions"], np.broadcast_to(np.arange(places[1]), places))


def test_logits_and_losses_are_openpis(golden, found):
    rows = golden.inputs["tokenized_prompt_mask"][:, :-1]
    for name in ("pre_logits_text", "logits"):
        assert relative(np.asarray(found[name])[rows], golden.outputs[name][rows]) < FLOAT32, name
    assert relative(found["loss"], golden.outputs["loss"]) < FLOAT32


def test_the_norm_of_every_gradient_is_openpis(golden):
    definition = golden.definition()

    def loss(params):
        return compute_losses(definition.merge(params), golden.batch, golden.draw, MODES["fast"]).total

    value, gradients = run_quickly(jax.value_and_grad(loss), golden.params)
    assert float(value) == pytest.approx(golden.outputs["loss"].mean(), rel=FLOAT32)
    norms = golden.report["float32"]["grad_norms"]
    assert set(flatten(gradients)) == set(norms)
    for name, gradient in flatten(gradients).items():
        assert np.linalg.norm(gradient) == pytest.approx(norms[name], rel=GRADIENT_NORM, abs=NO_GRADIENT), name
