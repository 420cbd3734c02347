"""openpi's numbers of the small parts: time embedding, rotary positions, norms, masks by flags."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flax")

import jax.numpy as jnp
from flax import nnx
from openpi_golden import load

from fastki.model.layers import AdaptiveRMSNorm, RMSNorm, rope, time_embedding
from fastki.sequence.masks import make_attention

FLOAT32 = 1e-6
"""Absolute, of numbers of size 1 to 5: a few units in the last place."""
ANGLE = 2.0**-13
"""Of a sine: twice the float32 spacing of angles from 512 to 1570 rad, which the sine hands on."""
BFLOAT16 = 2.0**-7
"""Relative: one unit in the last place. A result may lie on the border between two."""


@pytest.fixture(scope="module")
def units(shared):
    return load(shared / "golden" / "openpi" / "units" / "units.npz")


def widened(array):
    """bfloat16 → float32."""
    assert array.dtype == jnp.bfloat16
    return np.asarray(array.astype(jnp.float32))


@pytest.mark.parametrize("width", [32, 64, 1024])
def test_the_time_embedding(units, width):
    ours = time_embedding(jnp.asarray(units["posemb/pos"]), width)
    np.testing.assert_allclose(ours, units[f"posemb/out_{width}"], atol=ANGLE)


def test_an_odd_width_has_no_time_embedding():
    with pytest.raises(ValueError, match="a width of 33 is odd"):
        time_embedding(jnp.zeros(1), 33)


def test_rotary_positions(units):
    x, positions = units["rope/x"], units["rope/positions"]
    spacing = np.spacing(np.float32(positions.max()))
    np.testing.assert_allclose(rope(x, positions), units["rope/out_float32"], atol=spacing * np.abs(x).max())
    near = positions < 8  # Angles as good as exact.
    np.testing.assert_allclose(rope(x, positions)[near], units["rope/out_float32"][near], atol=FLOAT32)
    ours = widened(rope(jnp.asarray(x, jnp.bfloat16), positions))
    np.testing.assert_allclose(ours, units["rope/out_bfloat16"], rtol=BFLOAT16, atol=FLOAT32)
    assert (ours == units["rope/out_bfloat16"]).mean() > 0.99


def test_pi0_fasts_rotary_positions_are_not_rounded(units):
    half, positions = jnp.asarray(units["rope/x"], jnp.bfloat16), units["rope/positions"]
    wide = rope(half, positions, dtype=jnp.float32)
    spacing = np.spacing(np.float32(positions.max()))
    np.testing.assert_allclose(wide, units["rope/out_fast_bfloat16_in"], atol=spacing * np.abs(units["rope/x"]).max())
    assert (wide != rope(half, positions).astype(jnp.float32)).mean() > 0.5


def norms_of(units):
    """A plain and an adaptive norm with the units' parameters."""
    width = units["rmsnorm/scale"].shape[-1]
    plain, adaptive = RMSNorm((width,)), AdaptiveRMSNorm((width,), width)
    plain.scale = nnx.Param(jnp.asarray(units["rmsnorm/scale"]))
    for name in ("kernel", "bias"):
        adaptive.Dense_0[name] = nnx.Param(jnp.asarray(units[f"rmsnorm/Dense_0/{name}"]))
    return plain, adaptive


def test_norms_in_float32(units):
    plain, adaptive = norms_of(units)
    x, cond = jnp.asarray(units["rmsnorm/x"]), jnp.asarray(units["rmsnorm/cond"])
    normed, no_gate = plain(x)
    assert no_gate is None
    np.testing.assert_allclose(normed, units["rmsnorm/plain_float32"], atol=FLOAT32)
    for ours, name in zip(adaptive(x, cond), ("ada_float32", "ada_gate_float32"), strict=True):
        np.testing.assert_allclose(ours, units[f"rmsnorm/{name}"], atol=3 * FLOAT32)


def test_norms_in_bfloat16_round_exactly_where_openpis_do(units):
    """Not jitted: XLA would leave out roundings within what it fuses."""
    plain, adaptive = norms_of(units)
    x, cond = jnp.asarray(units["rmsnorm/x"], jnp.bfloat16), jnp.asarray(units["rmsnorm/cond"])
    for ours, name in zip(
        (plain(x)[0], *adaptive(x, cond)), ("plain_bfloat16", "ada_bfloat16", "ada_gate_bfloat16"), strict=True
    ):
        np.testing.assert_array_equal(widened(ours), units[f"rmsnorm/{name}"], err_msg=name)


@pytest.mark.parametrize("case", ["causal", "prefix_lm", "blocks", "padded", "padded_mid_causal"])
def test_masks_by_flags(units, case):
    flags, valid = units[f"attn_mask/{case}/mask_ar"], units[f"attn_mask/{case}/input_mask"]
    ours = make_attention(jnp.asarray(valid), jnp.asarray(flags).astype(jnp.int32), jnp)
    np.testing.assert_array_equal(ours, units[f"attn_mask/{case}/out"])
