"""Idle frames: openpi's rule for DROID, by hand and against its words."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastki.data import ChunkSpec, Episode, IdleFilter, gather_chunks
from fastki.data.chunks import cut_chunks
from fastki.data.idle import at_rest, idle_frames
from fastki.errors import DataError, UsageError


def by_loops(actions, idle):
    """The rule, frame by frame."""
    still = [False] + [bool((np.abs(b - a) < idle.threshold).all()) for a, b in itertools.pairwise(actions)]
    keep = drop_runs(still, idle.min_idle)
    result = [False] * len(actions)
    start = None
    for t in range(len(actions) + 1):
        if t < len(actions) and keep[t]:
            start = t if start is None else start
        elif start is not None:
            if t - start >= idle.min_moving:
                for frame in range(start, t - idle.tail):
                    result[frame] = True
            start = None
    return result


def drop_runs(still, at_least):
    keep, t = [True] * len(still), 0
    while t < len(still):
        end = t
        while end < len(still) and still[end]:
            end += 1
        if end - t >= at_least:
            keep[t:end] = [False] * (end - t)
        t = max(end, t + 1)
    return keep


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 30)), min_size=1, max_size=8),
    st.integers(1, 9),
    st.integers(1, 20),
    st.integers(0, 12),
)
def test_moving_frames_are_those_of_the_rule(runs, min_idle, min_moving, tail):
    steps = np.concatenate([np.full(length, 0.5 if moves else 1e-4) for moves, length in runs])
    actions = np.cumsum(np.stack([steps, np.zeros_like(steps)], axis=1), axis=0)
    idle = IdleFilter(min_idle=min_idle, min_moving=min_moving, tail=tail)
    assert idle.moving(actions).tolist() == by_loops(actions, idle)


def test_defaults_are_openpis():
    assert IdleFilter() == IdleFilter(threshold=1e-3, min_idle=7, min_moving=16, tail=10)


def test_one_moving_dimension_is_movement():
    actions = np.zeros((20, 3))
    actions[:, 1] = np.arange(20)
    assert at_rest(actions).sum() == 0
    assert at_rest(actions[:, [0, 2]]).sum() == 19
    assert idle_frames(actions[:, [0, 2]], IdleFilter()) == 19
    assert len(at_rest(actions[:0])) == 0


def still_then_moving():
    """40 frames at rest but for dimension 1, then 60 moving in both."""
    actions = np.zeros((100, 2))
    actions[:, 1] = np.arange(100)
    actions[40:, 0] = np.arange(60)
    return actions


def test_chunks_start_only_where_something_moves_and_stay_whole():
    episode = Episode(0, still_then_moving())
    spec = ChunkSpec(horizon=16, idle=IdleFilter(), idle_ignores=(1,))
    chunks = cut_chunks(episode, spec)
    assert chunks.start.tolist() == list(range(41, 85))
    np.testing.assert_array_equal(np.diff(chunks.actions[..., 1], axis=1), 1.0)
    everything = cut_chunks(episode, ChunkSpec(horizon=16, idle=IdleFilter()))
    assert everything.start.tolist() == list(range(85)), "dimension 1 moves all the time"


def test_what_is_left_out_is_counted(tmp_path):
    from fastki.data import open_dataset

    np.save(tmp_path / "frames.npy", still_then_moving())
    dataset = open_dataset(tmp_path / "frames.npy")
    sample = gather_chunks(dataset, ChunkSpec(horizon=16, idle=IdleFilter(), idle_ignores=(1,)))
    assert (sample.total_chunks, sample.idle_chunks) == (44, 41)
    np.save(tmp_path / "still.npy", np.zeros((100, 2)))
    with pytest.raises(DataError, match=r"every chunk starts where the action hardly moves.*smaller --drop-idle"):
        gather_chunks(open_dataset(tmp_path / "still.npy"), ChunkSpec(horizon=16, idle=IdleFilter()))


@pytest.mark.parametrize("wrong", [{"threshold": 0}, {"threshold": np.nan}, {"min_idle": 0}, {"tail": -1}])
def test_bad_filters(wrong):
    with pytest.raises(UsageError):
        IdleFilter(**wrong)
