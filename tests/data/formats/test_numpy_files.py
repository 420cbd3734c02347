from __future__ import annotations

import numpy as np
import pytest

from fastki.data import ChunkSpec, gather_chunks, open_dataset
from fastki.errors import DataError


def save(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def test_npy_of_frames_is_one_episode(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    np.save(tmp_path / "a.npy", values)
    dataset = open_dataset(tmp_path / "a.npy")
    assert (len(dataset), dataset.info.action_key, dataset.info.chunked_horizon) == (1, "action", None)
    assert (dataset.info.format, dataset.info.fps, dataset[0].state) == ("NumPy .npy", None, None)
    np.testing.assert_array_equal(dataset[0].actions, values)


def test_npy_of_chunks_is_an_episode_each(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 5, 3))
    np.save(tmp_path / "a.npy", values)
    dataset = open_dataset(tmp_path / "a.npy")
    assert dataset.info.chunked_horizon == 5
    np.testing.assert_array_equal(np.stack([episode.actions for episode in dataset]), values)
    chunks = gather_chunks(dataset, ChunkSpec(horizon=5)).chunks
    np.testing.assert_array_equal(chunks.actions, values)


def test_npy_of_one_dimension(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5))
    assert open_dataset(tmp_path / "a.npy")[0].actions.tolist() == [[0.0], [1.0], [2.0], [3.0], [4.0]]


def test_npz_with_everything(tmp_path):
    actions, state = np.random.default_rng(0).normal(size=(2, 10, 2))
    path = save(
        tmp_path,
        actions=actions,
        state=state,
        episode_ends=[4, 10],
        fps=15,
        names=["x", "y"],
        state_names=["u", "v"],
    )
    dataset = open_dataset(path)
    info = dataset.info
    assert (info.lengths.tolist(), info.fps, info.action_names) == ([4, 6], 15.0, ("x", "y"))
    assert (info.state_key, info.state_names) == ("state", ("u", "v"))
    np.testing.assert_array_equal(dataset[1].actions, actions[4:])
    np.testing.assert_array_equal(dataset[1].state, state[4:])
    assert dataset.read(1, state=False).state is None


def test_npz_without_ends(tmp_path):
    assert len(open_dataset(save(tmp_path, action=np.ones((6, 2))))) == 1
    dataset = open_dataset(save(tmp_path, action=np.ones((6, 3, 2)), state=np.ones((6, 3, 1))))
    assert (len(dataset), dataset.info.chunked_horizon) == (6, 3)
    assert dataset[2].state.shape == (3, 1)


def test_npz_keys(tmp_path):
    path = save(tmp_path, left=np.ones((4, 2)), right=np.zeros((4, 1)))
    with pytest.raises(DataError, match=r"several keys could be the actions \(left, right\).*--action-key"):
        open_dataset(path)
    dataset = open_dataset(path, action_key="left,right")
    assert dataset.info.action_names == ("left[0]", "left[1]", "right[0]")
    assert dataset[0].actions[0].tolist() == [1.0, 1.0, 0.0]
    with pytest.raises(DataError, match="names a key twice"):
        open_dataset(path, action_key="left,left")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"actions": np.ones((4, 2)), "episode_ends": [2, 5]},
            "must rise from above 0 to the number of frames, 4",
        ),
        ({"actions": np.ones((4, 2)), "episode_ends": [2, 2, 4]}, "episode_ends must rise"),
        ({"actions": np.ones((4, 2)), "episode_ends": [0, 4]}, "episode_ends must rise"),
        ({"actions": np.ones((4, 2)), "episode_ends": [2.0, 4.0]}, "whole numbers"),
        ({"actions": np.ones((4, 2, 2)), "episode_ends": [4]}, r"needs actions \[T, A\]"),
        ({"actions": np.ones((0, 2))}, "no frames, so no episodes"),
        ({"actions": np.ones((1, 70_000), np.int8)}, "70000 values a frame, too many for actions"),
        ({"actions": np.ones((4, 0))}, "no numbers that could be actions"),
        ({"actions": np.ones((4, 2)), "fps": -1}, "fps must be one number above 0"),
        ({"actions": np.ones((4, 2)), "state": np.ones((3, 2))}, "state has 3 frames, but actions has 4"),
        ({"actions": np.array(["a", "b"])}, "no numbers that could be actions"),
        ({"actions": np.ones((4, 2), dtype=complex)}, "no numbers that could be actions"),
        ({"actions": np.array([[1.0], None], dtype=object)}, "Python objects, which are never loaded"),
    ],
)
def test_bad_npz(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        open_dataset(save(tmp_path, **arrays))


def test_bad_files(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((50, 3)))
    content = path.read_bytes()
    for damaged in (content[:-9], content[:30], b"", b"nothing"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.npy cannot be read .*damaged or incomplete"):
            open_dataset(path)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects"):
        open_dataset(path)
    archive = save(tmp_path, actions=np.ones((50, 3)))
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"data\.npz cannot be read"):
        open_dataset(archive)


def test_nan_is_found_in_the_episode_that_has_it(tmp_path):
    actions = np.ones((6, 2))
    actions[4, 1] = np.inf
    dataset = open_dataset(save(tmp_path, actions=actions, episode_ends=[3, 6]))
    assert len(dataset[0]) == 3
    with pytest.raises(DataError, match=r"episode 1, action: inf at frame 1, dimension 1 \(action\[1\]\); 1 of 3"):
        dataset[1]


def test_fuzzed_files_give_data_errors_only(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.normal(size=(20, 3)))
    save(tmp_path, actions=rng.normal(size=(20, 3)), episode_ends=[5, 20])
    for path in (tmp_path / "a.npy", tmp_path / "data.npz"):
        good = path.read_bytes()
        for trial in range(150):
            bad = bytearray(good)
            reach = 128 if trial % 2 else len(bad)
            for at in rng.integers(min(reach, len(bad)), size=3):
                bad[at] = rng.integers(256)
            path.write_bytes(bad)
            try:
                list(open_dataset(path))
            except DataError:
                continue
