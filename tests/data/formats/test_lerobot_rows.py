"""Which rows of LeRobot's data files are read, and how much of them is held."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from processes import PATIENCE

from fastki.data import open_dataset
from fastki.data.formats import lerobot_rows, parquet
from fastki.data.formats.lerobot_rows import SharedFile
from fastki.errors import DataError

LENGTHS = (9, 4, 12, 7, 20, 1, 6)


@pytest.fixture
def write(tmp_path):
    """Writes a file of episodes 3, 4, … of ``LENGTHS`` frames whose ``x`` counts its rows, ``group`` rows a group."""

    def writing(group: int, lengths=LENGTHS):
        rows = sum(lengths)
        x = np.arange(rows, dtype=np.float32)
        table = pa.table(
            {
                "x": x,
                "pair": pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(x, 2)), 2),
                "episode_index": np.repeat(np.arange(3, 3 + len(lengths)), lengths),
            }
        )
        pq.write_table(table, tmp_path / "file.parquet", row_group_size=group)
        return tmp_path / "file.parquet"

    return writing


@pytest.fixture
def reads(monkeypatch):
    """The columns and row groups of each read, but for the look at ``episode_index``."""
    calls: list[tuple[tuple[str, ...], tuple[int, ...]]] = []
    original = lerobot_rows.read_columns

    def spy(path, names, *, groups=None, footer=None):
        if groups is not None:
            calls.append((tuple(names), tuple(groups)))
        return original(path, names, groups=groups, footer=footer)

    monkeypatch.setattr(lerobot_rows, "read_columns", spy)
    return calls


def span(episode: int) -> tuple[int, int]:
    ends = np.cumsum((0, *LENGTHS))
    return int(ends[episode - 3]), int(ends[episode - 2])


@pytest.mark.parametrize("group", [1, 3, 9, 10, 59, 100])
@pytest.mark.parametrize("block", [1, 10, 25, 1000])
@pytest.mark.parametrize("order", [(3, 4, 5, 6, 7, 8, 9), (9, 3, 5, 4, 8, 8, 6, 7), (6, 7, 8, 3, 4, 9)])
def test_rows_are_those_of_the_episode_in_whatever_order(write, group, block, order):
    file = SharedFile(write(group), block=block)
    for episode in order:
        first, end = span(episode)
        rows = file.rows(episode, ["x", "pair"])
        assert (rows.first, rows.end) == (first, end)
        np.testing.assert_array_equal(rows.columns["x"], np.arange(first, end))
        np.testing.assert_array_equal(rows.columns["pair"], np.arange(first, end)[:, None].repeat(2, axis=1))


def test_one_episode_alone_costs_its_own_row_groups(write, reads):
    SharedFile(write(5), block=1000).rows(6, ["x"])
    first, end = span(6)
    assert reads == [(("x",), tuple(range(first // 5, (end - 1) // 5 + 1)))]


def test_in_order_each_row_group_is_read_once_and_a_block_at_a_time(write, reads):
    file = SharedFile(write(5), block=20)
    for episode in range(3, 10):
        file.rows(episode, ["x"])
    groups = [group for _, read in reads for group in read]
    assert groups == list(range(12))
    assert len(reads) == 3
    assert file._held.end - file._held.first <= 20 + max(LENGTHS) + 5


def test_other_columns_are_read_when_asked_for(write, reads):
    file = SharedFile(write(100), block=1000)
    file.rows(4, ["x"])
    file.rows(5, ["x", "pair"])
    file.rows(4, ["x"])
    file.rows(3, ["pair"])
    assert [names for names, _ in reads] == [("x",), ("x", "pair")]


def test_an_episode_that_is_kept_does_not_keep_the_block(write):
    rows = SharedFile(write(100), block=1000).rows(4, ["x"])
    assert rows.columns["x"].base is None


def test_absent_and_scattered_episodes(write):
    path = write(10)
    with pytest.raises(DataError, match=r"file\.parquet has no rows of episode 77: fetch the dataset again"):
        SharedFile(path, block=5).rows(77, ["x"])
    table = pq.read_table(path)
    pq.write_table(table.take([12, *range(12)]), path)
    with pytest.raises(DataError, match="rows of episode 4 are scattered"):
        SharedFile(path, block=5).rows(4, ["x"])


def test_lists_whose_length_changes_between_row_groups(tmp_path):
    with pq.ParquetWriter(
        tmp_path / "a.parquet", pa.schema({"x": pa.list_(pa.float32()), "episode_index": pa.int64()})
    ) as writer:
        for width in (2, 3):
            writer.write_table(pa.table({"x": [[1.0] * width] * 4, "episode_index": [width] * 3 + [9]}, writer.schema))
    file = SharedFile(tmp_path / "a.parquet", block=1)
    file.rows(2, ["x"])
    with pytest.raises(DataError, match="unequal lengths"):
        SharedFile(tmp_path / "a.parquet", block=100).rows(2, ["x"])


def test_a_footer_that_claims_too_many_rows_is_refused(write, monkeypatch):
    path = write(100)
    monkeypatch.setattr(parquet, "_BOMB_BYTES", 100)
    monkeypatch.setattr(parquet, "_BOMB_RATIO", 0.01)
    with pytest.raises(DataError, match=r"file\.parquet is damaged: it claims 59 rows, more than its size can hold"):
        parquet.read_columns(path, ["x"])


def test_a_column_that_comes_twice(tmp_path):
    column = pa.array([1.0, 2.0])
    pq.write_table(pa.Table.from_arrays([column, column], names=["x", "x"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet is damaged"):
        parquet.read_columns(tmp_path / "a.parquet", ["x"])


def test_lists_of_nothing_are_no_numbers(tmp_path):
    empty = pa.array([[], []], pa.list_(pa.float32(), 0))
    pq.write_table(pa.table({"x": empty, "y": [1.0, 2.0]}), tmp_path / "a.parquet")
    assert parquet.numeric_columns(tmp_path / "a.parquet") == {"y": 1}
    with pytest.raises(DataError, match=r"a\.parquet"):
        parquet.read_columns(tmp_path / "a.parquet", ["x"])


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_threads_may_read_one_dataset(make_lerobot, some_episodes, version):
    dataset = open_dataset(make_lerobot(some_episodes, version=version))
    wrong: list[int] = []

    def read(seed):
        rng = np.random.default_rng(seed)
        for i in rng.integers(5, size=40).tolist():
            episode = dataset.read(i, state=bool(rng.integers(2)))
            if not np.array_equal(episode.actions, some_episodes[i]["action"]):
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_dataset_can_be_pickled_whatever_was_read(make_lerobot, some_episodes, version):
    dataset = open_dataset(make_lerobot(some_episodes, version=version))
    assert len(dataset[2]) == 12
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(dataset))[3].actions, some_episodes[3]["action"])


def test_only_the_needed_columns_are_read(make_lerobot, some_episodes, reads):
    dataset = open_dataset(make_lerobot(some_episodes, version="v3.0", per_file=5))
    assert dataset.read(0, state=False).state is None
    assert dataset.read(1).state is not None
    assert [names for names, _ in reads] == [
        ("action", "task_index"),
        ("action", "observation.state", "task_index"),
    ]
