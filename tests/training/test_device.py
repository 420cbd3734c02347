"""Batches on their way to the device: the same numbers, in order, as far ahead as asked."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from toy_source import ToySource

from fastki.errors import UsageError
from fastki.training.device import device_prefetch
from fastki.training.loader import Loader
from fastki.training.loader_config import LoaderConfig


@pytest.mark.parametrize("sharded", [False, True])
def test_batches_arrive_in_order_as_arrays_of_jax(sharded):
    mesh = Mesh(np.array(jax.devices()[:1]), ("batch",))
    sharding = NamedSharding(mesh, PartitionSpec("batch")) if sharded else None
    batches = [ToySource().read(np.array([number, number + 1])) for number in range(5)]
    arrived = list(device_prefetch(iter(batches), sharding))
    assert len(arrived) == 5
    for there, here in zip(arrived, batches, strict=True):
        assert isinstance(there.batch.observation.state, jax.Array)
        assert isinstance(there.has_actions, jax.Array)
        assert isinstance(there.episodes, np.ndarray)
        if sharded:
            assert there.batch.actions.sharding == sharding
        np.testing.assert_array_equal(there.batch.observation.state, here.batch.observation.state)
        assert there.batch.actions_mask.dtype == bool
        assert len(there) == 2


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_depth_is_how_far_ahead_it_reads(depth):
    read = []

    def batches():
        for number in range(10):
            read.append(number)
            yield ToySource().read(np.array([number]))

    source = device_prefetch(batches(), depth=depth)
    next(source)
    assert len(read) == depth
    next(source)
    assert len(read) == depth + 1
    with pytest.raises(UsageError, match="prefetch of 0"):
        device_prefetch(batches(), depth=0)


def test_a_run_resumes_after_the_batch_it_trained_on_not_those_under_way():
    config = LoaderConfig(4)
    with Loader(ToySource(), config) as loader:
        source = device_prefetch(loader, depth=3)
        batches = [next(source) for _ in range(4)]
        state = loader.get_state(batches[1])
    with Loader(ToySource(), config) as again:
        again.set_state(state)
        np.testing.assert_array_equal(next(again).starts, batches[2].starts)
