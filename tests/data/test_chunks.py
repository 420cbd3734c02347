from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastki.config import from_plain, to_plain
from fastki.data import (
    Chunks,
    ChunkSampler,
    ChunkSpec,
    Episode,
    IdleFilter,
    gather_chunks,
    iter_chunks,
    open_dataset,
)
from fastki.data.chunks import cut_chunks
from fastki.errors import DataError, UsageError


def ramp(frames, dims=3, index=0):
    """Actions whose values say frame and dimension: 10 · frame + dimension; the state is 1000 more."""
    actions = 10.0 * np.arange(frames)[:, None] + np.arange(dims)
    return Episode(index, actions, actions + 1000.0)


@pytest.fixture
def dataset(make_lerobot, some_episodes):
    """Episodes of 9, 4, 12, 7 and 20 frames."""
    return open_dataset(make_lerobot(some_episodes, version="v3.0"))


def test_windows_by_hand():
    chunks = cut_chunks(ramp(7), ChunkSpec(horizon=3, stride=2, dims=(2, 0)))
    assert chunks.actions[:, :, 0].tolist() == [[2, 12, 22], [22, 32, 42], [42, 52, 62]]
    assert chunks.actions[:, :, 1].tolist() == [[0, 10, 20], [20, 30, 40], [40, 50, 60]]
    assert chunks.start.tolist() == [0, 2, 4]
    assert chunks.previous.tolist() == [[2, 0], [12, 10], [32, 30]]
    assert not chunks.reference.any()
    assert (chunks.start.dtype, chunks.episode.dtype, chunks.actions.dtype) == (
        np.int32,
        np.int32,
        np.float64,
    )


def test_delta_from_state_by_hand():
    chunks = cut_chunks(ramp(5), ChunkSpec(horizon=2, stride=3, dims=(0, 2), delta=(2,)))
    assert chunks.reference.tolist() == [[0, 1002], [0, 1032]]
    assert chunks.actions.tolist() == [[[0, -1000], [10, -990]], [[30, -1000], [40, -990]]]
    assert chunks.previous.tolist() == [[0, -1000], [20, -1010]]
    assert chunks.absolute()[1].tolist() == [[30, 32], [40, 42]]


def test_delta_from_previous_by_hand():
    spec = ChunkSpec(horizon=2, stride=3, delta=(0,), delta_from="previous")
    chunks = cut_chunks(dataclasses.replace(ramp(5, dims=1), state=None), spec)
    assert chunks.actions[..., 0].tolist() == [[0, 10], [10, 20]]
    assert chunks.reference.tolist() == [[0], [20]]
    assert chunks.previous.tolist() == [[0], [0]]


@given(
    frames=st.integers(1, 40),
    horizon=st.integers(1, 12),
    stride=st.integers(1, 7),
    delta=st.sets(st.sampled_from([0, 2])),
    source=st.sampled_from(["state", "previous"]),
)
def test_chunks_are_slices_of_the_episode(frames, horizon, stride, delta, source):
    spec = ChunkSpec(horizon=horizon, stride=stride, dims=(2, 0), delta=tuple(delta), delta_from=source)
    episode = ramp(frames)
    chunks = cut_chunks(episode, spec)
    assert len(chunks) == spec.count(frames) == len(range(0, frames - horizon + 1, stride))
    for i, start in enumerate(chunks.start):
        np.testing.assert_array_equal(chunks.absolute()[i], episode.actions[start : start + horizon, [2, 0]])
        np.testing.assert_array_equal(
            chunks.previous[i] + chunks.reference[i], episode.actions[max(start - 1, 0), [2, 0]]
        )


def test_iter_chunks_leaves_out_short_episodes(dataset, some_episodes):
    calls = []
    parts = list(iter_chunks(dataset, ChunkSpec(horizon=8), progress=lambda done, total: calls.append((done, total))))
    assert [(int(part.episode[0]), len(part)) for part in parts] == [(0, 2), (2, 5), (4, 13)]
    assert calls == [(i, 5) for i in range(1, 6)]
    np.testing.assert_array_equal(parts[1].actions[3], some_episodes[2]["action"][3:11])


def test_gather_is_all_chunks_and_counts_the_short(dataset):
    sample = gather_chunks(dataset, ChunkSpec(horizon=8))
    everything = Chunks.concatenate(list(iter_chunks(dataset, ChunkSpec(horizon=8))))
    np.testing.assert_array_equal(sample.chunks.actions, everything.actions)
    assert (sample.total_chunks, sample.episodes_used, sample.short_episodes) == (20, 3, (1, 3))
    part = gather_chunks(dataset, ChunkSpec(horizon=8), episodes=np.array([3, 4]))
    assert set(part.chunks.episode.tolist()) == {4}
    assert part.short_episodes == (3,)


@settings(max_examples=25, deadline=None)
@given(limit=st.integers(1, 300), seed=st.integers(0, 5), stride=st.integers(1, 4))
def test_a_sample_is_part_of_the_whole_in_its_order(limit, seed, stride):
    dataset = open_dataset("synthetic:droid?episodes=4")
    spec = ChunkSpec(horizon=60, stride=stride)
    sample = gather_chunks(dataset, spec, max_chunks=limit, seed=seed)
    assert len(sample.chunks) == min(limit, sample.total_chunks)
    whole = gather_chunks(dataset, spec).chunks
    places = list(zip(whole.episode.tolist(), whole.start.tolist(), strict=True))
    drawn = list(zip(sample.chunks.episode.tolist(), sample.chunks.start.tolist(), strict=True))
    assert drawn == sorted(set(drawn))
    picked = whole.take(np.array([places.index(place) for place in drawn]))
    np.testing.assert_array_equal(sample.chunks.actions, picked.actions)
    np.testing.assert_array_equal(sample.chunks.previous, picked.previous)


def test_a_sample_does_not_depend_on_the_order_of_reading():
    dataset = open_dataset("synthetic:droid?episodes=6")
    samplers = [ChunkSampler(ChunkSpec(horizon=16), max_chunks=40, seed=3) for _ in range(2)]
    for index in range(6):
        samplers[0].add(dataset[index])
        samplers[1].add(dataset[5 - index])
    one, other = (sampler.chunks() for sampler in samplers)
    np.testing.assert_array_equal(one.actions, other.actions)
    np.testing.assert_array_equal(one.start, other.start)


def test_every_chunk_is_drawn_about_as_often(dataset):
    spec = ChunkSpec(horizon=8)
    counts = np.zeros((5, 20))
    for seed in range(1000):
        chunks = gather_chunks(dataset, spec, max_chunks=4, seed=seed).chunks
        np.add.at(counts, (chunks.episode, chunks.start), 1)
    drawn = counts[counts > 0]
    expected = 1000 * 4 / 20  # 2 + 0 + 5 + 0 + 13 chunks
    assert len(drawn) == 20
    assert (np.abs(drawn - expected) < 5 * np.sqrt(expected)).all()


@pytest.mark.parametrize(
    ("pad", "last"), [("repeat", [[40, 40, 40], [30, 40, 40]]), ("zero", [[40, 0, 0], [30, 40, 0]])]
)
def test_padding_at_the_end_by_hand(pad, last):
    spec = ChunkSpec(horizon=3, pad_end=pad)
    chunks = cut_chunks(ramp(5, dims=1), spec)
    assert chunks.start.tolist() == [0, 1, 2, 3, 4]
    assert chunks.actions[2, :, 0].tolist() == [20, 30, 40]
    assert chunks.actions[[4, 3], :, 0].tolist() == last
    assert spec.count(5) == 5
    assert spec.count(0) == 0
    assert len(cut_chunks(ramp(1, dims=1), spec)) == 1


def test_padding_comes_before_differences():
    spec = ChunkSpec(horizon=3, pad_end="zero", delta=(0,))
    chunks = cut_chunks(ramp(3, dims=1), spec)
    assert chunks.actions[2, :, 0].tolist() == [20 - 1020, -1020, -1020]


def test_padded_episodes_shorter_than_the_horizon_give_chunks(dataset):
    sample = gather_chunks(dataset, ChunkSpec(horizon=21, pad_end="repeat"))
    assert (len(sample.chunks), sample.short_episodes) == (52, ())


def test_horizon_longer_than_every_episode(dataset):
    with pytest.raises(
        DataError, match=r"every episode is shorter .* episode 4, has 20\): use --horizon N, N at most 20"
    ):
        gather_chunks(dataset, ChunkSpec(horizon=21))
    assert list(iter_chunks(dataset, ChunkSpec(horizon=21))) == []


def test_delta_without_enough_state(dataset):
    with pytest.raises(DataError, match="has no state: use --delta-from previous"):
        cut_chunks(dataclasses.replace(ramp(5), state=None), ChunkSpec(horizon=2, delta=(0,)))
    narrow = dataclasses.replace(ramp(5), state=np.zeros((5, 2)))
    with pytest.raises(DataError, match="only 2 dimensions: use --delta-from previous"):
        cut_chunks(narrow, ChunkSpec(horizon=2, delta=(2,)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "--horizon 0"),
        ({"stride": 0}, "--stride 0"),
        ({"dims": ()}, "--dims names no dimension"),
        ({"dims": (1, 1)}, "each dimension once"),
        ({"dims": (-1,)}, "each dimension once, from 0"),
        ({"delta": (1, 1)}, "each dimension once"),
        ({"dims": (0, 1), "delta": (2,)}, r"--delta names dimensions \[2\] that --dims leaves out"),
        ({"delta_from": "stat"}, "use state or previous"),
    ],
)
def test_bad_specs(options, message):
    with pytest.raises(UsageError, match=message):
        ChunkSpec(**options)


def test_spec_and_episodes_are_checked_against_the_data(dataset):
    for spec in (ChunkSpec(dims=(0, 3)), ChunkSpec(delta=(3,))):
        with pytest.raises(UsageError, match="no action dimension 3: the data have 0 to 2"):
            gather_chunks(dataset, spec)
    with pytest.raises(UsageError, match="no episode 5: there are 0 to 4"):
        gather_chunks(dataset, ChunkSpec(), episodes=[5])
    with pytest.raises(UsageError, match="no episodes are chosen"):
        gather_chunks(dataset, ChunkSpec(), episodes=[])
    with pytest.raises(UsageError, match="at most 0 chunks"):
        gather_chunks(dataset, ChunkSpec(horizon=4), max_chunks=0)


def test_spec_survives_json():
    spec = ChunkSpec(horizon=8, dims=(2, 0), delta=(0,), pad_end="zero", idle=IdleFilter(0.5), idle_ignores=(2,))
    assert from_plain(ChunkSpec, json.loads(json.dumps(to_plain(spec)))) == spec


def test_take_and_concatenate():
    chunks = cut_chunks(ramp(9), ChunkSpec(horizon=3))
    again = Chunks.concatenate([chunks.take(np.arange(2)), chunks.take(chunks.start >= 2)])
    np.testing.assert_array_equal(again.actions, chunks.actions)
    np.testing.assert_array_equal(again.previous, chunks.previous)
    for parts in ([], [chunks, cut_chunks(ramp(9), ChunkSpec(horizon=4))]):
        with pytest.raises(UsageError):
            Chunks.concatenate(parts)


def test_bad_episodes():
    with pytest.raises(DataError, match=r"not \[T, A\]"):
        Episode(0, np.zeros(3))
    with pytest.raises(DataError, match="the actions have 3 frames"):
        Episode(0, np.zeros((3, 1)), np.zeros((4, 1)))
    mine = np.zeros((3, 1))
    Episode(0, mine)
    mine[0] = 1.0  # the caller's array stays writable
