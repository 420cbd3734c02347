"""Devices that share the work, and what must not depend on how many there are."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from toy_training import SCHEDULE, ToyRun

from fastki.errors import UsageError
from fastki.training.mesh import MeshOptions, array_sharding, batch_sharding, check_batch, make_mesh, place_batch
from fastki.training.recipe import Recipe

MESH = jax.sharding.AbstractMesh((2, 4), ("data", "fsdp"))
CUT = MeshOptions(fsdp=4, replicate_below=0)


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((8, 16), (None, "fsdp")),
        ((16, 8), ("fsdp", None)),
        ((16, 16), (None, "fsdp")),
        ((18, 8), (None, "fsdp")),
        ((2, 3, 12), (None, None, "fsdp")),
        ((4,), ("fsdp",)),
        ((7, 9), ()),
        ((0, 4), (None, "fsdp")),
    ],
)
def test_the_largest_axis_that_divides_is_cut(shape, spec):
    assert tuple(array_sharding(shape, np.float32, MESH, CUT).spec) == spec


def test_small_arrays_are_copied_to_all():
    options = MeshOptions(fsdp=4, replicate_below=1024)
    assert tuple(array_sharding((255,), np.float32, MESH, options).spec) == ()
    assert tuple(array_sharding((8, 31), np.float32, MESH, options).spec) == ()
    assert tuple(array_sharding((8, 32), np.float32, MESH, options).spec) == (None, "fsdp")


def test_shards_that_the_devices_do_not_divide_into_are_refused():
    with pytest.raises(UsageError, match=r"fsdp 3 does not divide the 1 devices: choose one of 1$"):
        make_mesh(MeshOptions(fsdp=3), jax.devices()[:1])


@pytest.mark.parametrize(("field", "value"), [("fsdp", 0), ("replicate_below", -1)])
def test_options_out_of_range_are_refused(field, value):
    with pytest.raises(UsageError, match=field):
        MeshOptions(**{field: value})


@pytest.mark.parametrize(
    ("batch", "accumulate", "message"),
    [
        (12, 1, "over 8 devices and 1 micro-batches: choose a multiple of 8, such as 8 or 16"),
        (24, 2, "choose a multiple of 16, such as 16 or 32"),
        (4, 1, "such as 8"),
        (0, 1, "such as 8"),
    ],
)
def test_a_batch_that_cannot_be_cut_evenly_is_refused(batch, accumulate, message):
    with pytest.raises(UsageError, match=message):
        check_batch(batch, accumulate, MESH)


def test_a_batch_that_can_be_cut_passes():
    check_batch(32, 4, MESH)


def test_rows_are_placed_whole_and_in_order():
    mesh = make_mesh(MeshOptions(), jax.devices()[:1])
    rows = {"a": np.arange(6.0).reshape(3, 2), "b": np.array([True, False, True])}
    placed = place_batch(rows, mesh)
    assert placed["a"].sharding == batch_sharding(mesh)
    np.testing.assert_array_equal(placed["a"], rows["a"])
    np.testing.assert_array_equal(placed["b"], rows["b"])


def test_eight_devices_train_as_one_does(toy_results):
    one = ToyRun(devices=1)
    cut = Recipe(schedule=SCHEDULE, accumulate=2)
    meshes = [one, ToyRun(), ToyRun(fsdp=8), ToyRun(fsdp=4)]
    in_pieces = [dataclasses.replace(run, recipe=cut, quiet=True) for run in (one, ToyRun(fsdp=4))]
    alone, *shared, alone_in_pieces, shared_in_pieces = toy_results(*meshes, *in_pieces, devices=8)
    assert len(alone["losses"]) == 20
    assert alone["losses"][-1] != alone["losses"][0]
    for result in shared:
        np.testing.assert_allclose(result["losses"], alone["losses"], rtol=1e-5)
    np.testing.assert_allclose(shared_in_pieces["losses"], alone_in_pieces["losses"], rtol=1e-5)
    assert [result["cut"] for result in (alone, shared[0])] == [1, 1]
    assert shared[1]["cut"] < 0.2 < shared[2]["cut"] < 0.4  # An eighth and a quarter, and what is too small to cut.


def test_a_checkpoint_of_one_mesh_is_restored_on_others_bit_for_bit(toy_results, tmp_path):
    saved = ToyRun(steps=10, folder=str(tmp_path), fsdp=4)
    others = [dataclasses.replace(saved, fsdp=fsdp, devices=devices) for fsdp, devices in ((8, None), (1, 1), (2, 4))]
    first, *restored = toy_results(saved, *others, devices=8)
    assert len(first["losses"]) == 10
    for result in restored:
        assert (result["start"], result["losses"]) == (10, [])
        assert result["digest"] == first["digest"]
