"""Attention in blocks is dense attention, with its gradient, however the work is cut."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastki.model import blocked
from fastki.model.attention import KeysValues, Numerics, attend

SHAPES = [(4, 13, 4, 1), (3, 7, 4, 2), (2, 9, 3, 3), (1, 1, 2, 1)]
"""B, T, N and K."""


def inputs(batch: int, queries: int, heads: int, kv_heads: int, dtype: str = "float32"):
    rng = np.random.default_rng(0)
    keys, width = queries + 5, 8
    arrays = (
        rng.normal(size=(batch, length, count, width))
        for length, count in ((queries, heads), (keys, kv_heads), (keys, kv_heads), (queries, heads))
    )
    query, keys_, values, slope = (jnp.asarray(array, dtype) for array in arrays)
    mask = rng.random((batch, queries, keys)) < 0.6
    mask[0, 0] = False
    return (query, keys_, values), jnp.asarray(mask), slope


def value_and_slopes(kernel: str, arrays, mask, slope):
    def work(query, keys, values):
        return attend(query, KeysValues(keys, values), mask, Numerics(kernel))

    @jax.jit
    def both(arrays, slope):
        result, backward = jax.vjp(work, *arrays)
        return result, *backward(slope)

    return both(arrays, slope)


@pytest.mark.parametrize("most", [1 << 19, 700, 30])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_dense_attention(shape, most, monkeypatch):
    monkeypatch.setattr(blocked, "SCORES_AT_ONCE", most)
    arrays, mask, slope = inputs(*shape)
    dense, blocks = (value_and_slopes(kernel, arrays, mask, slope) for kernel in ("xla", "blocks"))
    for mine, theirs in zip(blocks, dense, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("most", [1 << 19, 700])
def test_it_is_as_near_in_bfloat16(most, monkeypatch):
    monkeypatch.setattr(blocked, "SCORES_AT_ONCE", most)
    arrays, mask, slope = inputs(4, 13, 4, 1, "bfloat16")
    wide = (array.astype(jnp.float32) for array in (*arrays, slope))
    *wide_arrays, wide_slope = wide
    exact = value_and_slopes("xla", wide_arrays, mask, wide_slope)
    for mine, true in zip(value_and_slopes("blocks", arrays, mask, slope), exact, strict=True):
        assert mine.dtype == jnp.bfloat16
        assert float(jnp.abs(mine.astype(jnp.float32) - true).max()) < 0.02 * float(jnp.abs(true).max())


def test_a_row_that_sees_nothing_reads_the_mean_and_moves_no_score():
    arrays, mask, slope = inputs(2, 3, 2, 1)
    alone = jnp.zeros_like(slope).at[0, 0].set(slope[0, 0])
    result, by_query, _, by_values = value_and_slopes("blocks", arrays, mask, alone)
    np.testing.assert_allclose(result[0, 0, 0], arrays[2][0, :, 0].mean(axis=0), atol=1e-6)
    assert not by_query.any()
    np.testing.assert_allclose(by_values[0, :, 0], jnp.broadcast_to(alone[0, 0].sum(axis=0) / 8, (8, 8)), atol=1e-6)


def test_a_mask_of_one_example_is_that_of_all():
    arrays, mask, slope = inputs(3, 6, 2, 1)
    one = value_and_slopes("blocks", arrays, mask[1:2], slope)
    each = value_and_slopes("blocks", arrays, jnp.repeat(mask[1:2], 3, axis=0), slope)
    for mine, theirs in zip(one, each, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_no_score_is_kept_for_the_backward_pass():
    """Eight examples of 256 queries: all scores would be 16 MB, a block of them is 2."""
    arrays, mask, slope = inputs(8, 256, 8, 1)
    work = jax.jit(lambda *arrays: value_and_slopes("blocks", arrays, mask, slope))
    dense = jax.jit(lambda *arrays: value_and_slopes("xla", arrays, mask, slope))
    mine, theirs = (step.lower(*arrays).compile().memory_analysis().temp_size_in_bytes / 1e6 for step in (work, dense))
    assert mine < 12 < 16 < theirs


def test_blocks_are_what_a_processor_gets_by_itself():
    arrays, mask, _ = inputs(2, 4, 2, 1)
    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        pytest.skip("not one processor")
    query, keys, values = arrays
    automatic, chosen = (
        attend(query, KeysValues(keys, values), mask, Numerics(kernel)) for kernel in ("auto", "blocks")
    )
    np.testing.assert_array_equal(automatic, chosen)
