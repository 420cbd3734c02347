"""What all conventions of HDF5 files have in common."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_makers import droid_metadata, write_aloha, write_droid, write_libero, write_robomimic

from fastki.data import open_dataset
from fastki.data.formats import hdf5
from fastki.data.formats.hdf5_file import Hdf5File, opened
from fastki.errors import DataError

WRITERS: dict[str, Callable[[Path], Path]] = {
    "droid": lambda folder: write_droid(folder / "episode", 4, metadata=droid_metadata()) / "trajectory.h5",
    "libero": lambda folder: write_libero(folder / "x_demo.hdf5", (3, 2)),
    "robomimic": lambda folder: write_robomimic(folder / "low_dim.hdf5", (3, 2)),
    "aloha": lambda folder: write_aloha(folder / "episode_0.hdf5", 4),
    "aloha padded": lambda folder: write_aloha(folder / "episode_0.hdf5", 4, compress="padded"),
    "aloha ragged": lambda folder: write_aloha(folder / "episode_0.hdf5", 4, compress="ragged"),
}
EVERY = pytest.mark.parametrize("kind", WRITERS)


def read_all(path: Path | str) -> None:
    dataset = open_dataset(path)
    for episode in dataset:
        for frames in episode.images.values():
            frames[len(frames) - 1]


def compressed(path: Path) -> None:
    """Write ``path`` anew as newer libraries do, with everything in compressed chunks."""
    content = io.BytesIO(path.read_bytes())
    with h5py.File(content, "r") as old, h5py.File(path, "w", libver="latest") as new:
        new.attrs.update(old.attrs)

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                made: h5py.Group | h5py.Dataset = new.create_group(name)
            elif item.shape and item.dtype.kind in "fiub":
                made = new.create_dataset(name, data=item[()], compression="gzip", shuffle=True, fletcher32=True)
            else:
                made = new.create_dataset(name, data=item[()], dtype=item.dtype)
            made.attrs.update(item.attrs)

        old.visititems(copy)


@EVERY
def test_claims_go_by_names(tmp_path, kind):
    path = WRITERS[kind](tmp_path / "data")
    assert hdf5.claims(path)
    assert hdf5.claims(path.parent)
    assert hdf5.claims(tmp_path) == (kind == "droid")  # A tree of trajectories is one dataset.
    for other in ("a.npy", "b.h5.txt", "none", ".hidden.h5"):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / other).write_bytes(b"")
        assert not hdf5.claims(tmp_path / "other" / other) or other == ".hidden.h5"
    assert not hdf5.claims(tmp_path / "other")
    assert not hdf5.claims(tmp_path / "absent")


@EVERY
def test_compressed_chunks_in_the_latest_format_read_the_same(tmp_path, kind):
    path = WRITERS[kind](tmp_path)
    before = [(e.actions, e.state, e.prompt, [f[1] for f in e.images.values()]) for e in open_dataset(path)]
    compressed(path)
    after = [(e.actions, e.state, e.prompt, [f[1] for f in e.images.values()]) for e in open_dataset(path)]
    for old, new in zip(before, after, strict=True):
        for expected, array in zip(old[:2], new[:2], strict=True):
            np.testing.assert_array_equal(array, expected)
        assert new[2] == old[2]
        np.testing.assert_array_equal(new[3], old[3])


@EVERY
def test_remote_files_read_the_same(tmp_path, kind):
    from upath import UPath

    path = WRITERS[kind](tmp_path / "data")
    root = UPath(f"memory://hdf5-{kind.replace(' ', '-')}")
    for file in (tmp_path / "data").rglob("*"):
        if file.is_file():
            place = root / file.relative_to(tmp_path / "data").as_posix()
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    for uri in (str(root), str(root / path.relative_to(tmp_path / "data").as_posix())):
        remote, local = open_dataset(uri), open_dataset(path)
        assert remote.info.lengths.tolist() == local.info.lengths.tolist()
        assert remote.info.cameras == local.info.cameras
        for i, episode in enumerate(remote):
            np.testing.assert_array_equal(episode.actions, local[i].actions)
            assert episode.prompt == local[i].prompt
            for camera, frames in episode.images.items():
                np.testing.assert_array_equal(frames[1], local[i].images[camera][1])
    assert open_dataset(str(root)).info.fingerprint == open_dataset(tmp_path / "data").info.fingerprint


def test_a_tree_of_remote_trajectories():
    from upath import UPath

    root = UPath("memory://hdf5-tree")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for key, width in (("joint_velocity", 7), ("gripper_position", 1)):
            file[f"action/{key}"] = np.ones((5, width)) if width > 1 else np.ones(5)
        file["observation/robot_state/joint_positions"] = np.ones((5, 7))
    for name in ("B/success/d/e0", "A/success/d/e1", "A/failure/d/e2"):
        (root / name).mkdir(parents=True)
        (root / name / "trajectory.h5").write_bytes(buffer.getvalue())
    dataset = open_dataset(str(root), split="success")
    assert (len(dataset), dataset.info.preset, dataset[1].actions.shape) == (2, "droid", (5, 8))


def test_opening_reads_no_values_and_each_file_is_closed(tmp_path, monkeypatch):
    for i in range(4):
        write_aloha(tmp_path / f"episode_{i}.hdf5", seed=i)
    read: list[str] = []
    handles = []
    for name in ("numbers", "row"):
        original = getattr(Hdf5File, name)

        def spy(self, key, *arguments, _original=original, **named):
            read.append(f"{self.path.name} {key}")
            handles.append(self.handle)
            return _original(self, key, *arguments, **named)

        monkeypatch.setattr(Hdf5File, name, spy)
    dataset = open_dataset(tmp_path)
    assert read == []
    episode = dataset.read(2, state=False)
    assert read == ["episode_2.hdf5 action"]
    assert episode.images["observations/images/cam_high"][3].shape == (16, 24, 3)
    assert read[1:] == ["episode_2.hdf5 observations/images/cam_high"]
    assert not any(handles)  # A closed handle is false.


@pytest.mark.parametrize("kind", ["libero", "aloha padded"])
def test_datasets_and_frames_go_to_other_processes(tmp_path, kind):
    dataset = open_dataset(WRITERS[kind](tmp_path))
    episode = pickle.loads(pickle.dumps(dataset))[1 if kind == "libero" else 0]
    for camera, frames in pickle.loads(pickle.dumps(episode)).images.items():
        np.testing.assert_array_equal(frames[1], dataset[episode.index].images[camera][1])


def test_files_of_other_layouts_name_the_conventions_and_the_mend(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        for i in range(12):
            file[f"model/layer_{i}/kernel"] = np.zeros((3, 3))
    expected = (
        r"weights\.h5 holds model/layer_0/kernel, .* and 4 more, which is none of the conventions that are read: "
        r"DROID \(action/joint_velocity.*robomimic \(data/demo_\*/actions.*ALOHA \(action, .*or to \.npz with actions"
    )
    for path in (tmp_path, tmp_path / "weights.h5"):
        with pytest.raises(DataError, match=expected):
            open_dataset(path)
    with h5py.File(tmp_path / "weights.h5", "w"):
        pass
    with pytest.raises(DataError, match=r"weights\.h5 holds no arrays, which is none"):
        open_dataset(tmp_path)


def test_a_stranger_among_the_files_is_named(tmp_path):
    for i in range(3):
        write_aloha(tmp_path / f"episode_{i}.hdf5", 4 + i)
    with h5py.File(tmp_path / "stats.h5", "w") as file:
        file["mean"] = np.zeros(14)
    with pytest.raises(DataError, match=r"stats\.h5 does not hold ALOHA data .* but mean: move it out of the folder"):
        open_dataset(tmp_path)
    with h5py.File(tmp_path / "a_first.h5", "w") as file:
        file["mean"] = np.zeros(14)
    dataset = open_dataset(tmp_path, skip_bad=True)
    assert dataset.info.lengths.tolist() == [4, 5, 6]
    assert sum("does not hold ALOHA data" in note for note in dataset.info.notes) == 2


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x89HDF\r\n\x1a\n", b"x" * 99]
)
def test_files_that_are_no_hdf5(tmp_path, content):
    write_aloha(tmp_path / "episode_0.hdf5")
    (tmp_path / "episode_1.hdf5").write_bytes(content)
    with pytest.raises(DataError, match=r"episode_1\.hdf5 cannot be read \(.*\): damaged, incomplete or no HDF5"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, skip_bad=True)) == 1
    (tmp_path / "episode_0.hdf5").unlink()
    with pytest.raises(DataError, match=r"episode_1\.hdf5 cannot be read"):
        open_dataset(tmp_path, skip_bad=True)


def test_a_file_that_goes_away(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5")
    dataset = open_dataset(path)
    path.unlink()
    with pytest.raises(DataError, match=r"episode_0\.hdf5 is missing"):
        dataset[0]


def test_without_h5py_the_message_installs_it(tmp_path, monkeypatch):
    path = write_aloha(tmp_path / "episode_0.hdf5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"reading HDF5 files needs h5py: `pip install 'fastki\[hdf5\]'`"):
        open_dataset(path)


@pytest.mark.parametrize("key", ["action", "observations/qpos", "observations/images/cam_high"])
@pytest.mark.parametrize("way", ["link", "link on the way", "soft link to a link", "virtual", "raw"])
def test_nothing_is_read_out_of_other_files(tmp_path, key, way):
    """The other file holds just what would fit, so that following the link would go unnoticed."""
    other = write_aloha(tmp_path / "other/secret.hdf5")
    raw = tmp_path / "other/raw.bin"
    path = write_aloha(tmp_path / "data/episode_0.hdf5")
    with h5py.File(path, "a") as file:
        shape, dtype = file[key].shape, file[key].dtype
        raw.write_bytes(bytes(file[key].nbytes))
        del file[key]
        if way == "link":
            file[key] = h5py.ExternalLink(other, key)
        elif way == "link on the way":
            file["all"] = h5py.ExternalLink(other, "/")
            file[key] = h5py.SoftLink(f"/all/{key}")
        elif way == "soft link to a link":
            file["it"] = h5py.ExternalLink(other, key)
            file[key] = h5py.SoftLink("/it")
        elif way == "virtual":
            layout = h5py.VirtualLayout(shape, dtype)
            layout[...] = h5py.VirtualSource(other, key, shape)
            file.create_virtual_dataset(key, layout)
        else:
            file.create_dataset(key, shape, dtype, external=[(raw, 0, h5py.h5f.UNLIMITED)])
    with h5py.File(path) as file:
        assert file[key].shape == shape
    if "images" in key:
        assert key not in open_dataset(path).info.cameras
        return
    write_aloha(tmp_path / "data/episode_00.hdf5")  # The first of the folder, so that the keys are known.
    with pytest.raises(DataError, match=rf"episode_0\.hdf5: ({key}|all|it) .* which is refused: copy"):
        open_dataset(tmp_path / "data")


def test_links_inside_the_file_are_followed_but_not_in_circles(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5")
    with h5py.File(path, "a") as file:
        actions = file["action"][()]
        file["moved"] = file["action"]
        del file["action"]
        file["action"] = h5py.SoftLink("observations/../moved")
    with pytest.raises(DataError, match="none of the conventions"):  # ".." is a name like any other.
        open_dataset(path)
    with h5py.File(path, "a") as file:
        del file["action"]
        file["action"] = h5py.SoftLink("/moved")
        file["observations/again"] = file["/"]
        file["observations/loop"] = h5py.SoftLink("loop")
    dataset = open_dataset(path)
    np.testing.assert_array_equal(dataset[0].actions, actions)
    with h5py.File(path, "a") as file:
        del file["action"]
        file["action"] = h5py.SoftLink("/action")
    with pytest.raises(DataError, match="action links out of the file, which is refused"):
        open_dataset(path)


def test_groups_that_hold_each_other_are_looked_through_in_bounds(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5")
    with h5py.File(path, "a") as file:
        groups = [file.create_group(f"observations/z{i}") for i in range(12)]
        for group in groups:  # 12 ** 8 ways through them.
            for i, other in enumerate(groups):
                group[f"z{i}"] = other
    info = open_dataset(path).info
    assert (info.preset, info.state_key, len(info.cameras)) == ("aloha", "observations/qpos", 2)


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [((10**12, 14), (1024, 14)), ((2**40, 14), (1, 14)), ((6, 14), (2**24, 14)), ((10**7, 14), True)],
)
def test_sizes_that_cannot_be_are_refused_before_memory_is_taken(tmp_path, shape, chunks):
    path = write_aloha(tmp_path / "episode_0.hdf5")
    with h5py.File(path, "a") as file:
        del file["action"]
        file.create_dataset("action", shape, "f4", chunks=chunks, maxshape=(None, 14), compression="gzip")
    with pytest.raises(DataError, match=r"action claims \(\d+, 14\) values of type float32, too many for a file of"):
        open_dataset(path)


def test_a_frame_that_cannot_be_is_refused(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5")
    key = "observations/images/cam_high"
    with h5py.File(path, "a") as file:
        del file[key]
        file.create_dataset(key, (6, 10**6, 10**6, 3), "u1", chunks=(1, 64, 64, 3))
    frames = open_dataset(path)[0].images[key]
    with pytest.raises(DataError, match=r"cam_high claims \(1000000, 1000000, 3\) values of type uint8"):
        frames[0]


def test_rows_never_written_are_as_good_as_any(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5")
    with h5py.File(path, "a") as file:
        images = ("observations/images/cam_high", "observations/images/cam_left_wrist")
        for key in ("action", "observations/qpos", *images):
            shape = (20_000, *file[key].shape[1:])
            del file[key]
            file.create_dataset(key, shape, "u1" if key in images else "f4", chunks=(1, *shape[1:]))
    episode = open_dataset(path)[0]
    assert episode.actions.shape == (20_000, 14)
    assert episode.images["observations/images/cam_high"][-1].max() == 0


@pytest.mark.parametrize(
    "options", [{}, {"userblock_size": 1024}, {"libver": "latest"}, {"libver": "latest", "track_order": True}]
)
def test_texts_of_any_length_are_what_h5py_reads(tmp_path, options):
    texts = [f"text {i} é " * (i * 300) for i in range(8)]
    with h5py.File(tmp_path / "a.h5", "w", **options) as file:
        group = file.create_group("data")
        for i, text in enumerate(texts):
            group.attrs[f"n{i}"] = text
        group["many"], group["one"], group["fixed"] = texts, "alone", np.array([b"a", b"bb"])
        file.attrs["list"], file.attrs["flag"], file.attrs["off"] = ["x", "y"], True, False
    notes: list[str] = []
    with opened(tmp_path / "a.h5") as file:
        assert [file.text("data", f"n{i}", notes) for i in range(8)] == texts
        assert (file.text("", "list", notes), file.text("", "flag", notes), file.text("x", "y", notes)) == ("x", "", "")
        assert (file.texts("data/many"), file.texts("data/one"), file.texts("data/fixed")) == (
            texts,
            ["alone"],
            ["a", "bb"],
        )
        assert (file.texts("data"), file.texts("data/none")) == ([], [])
        assert (file.flag("flag"), file.flag("off"), file.flag("none")) == (True, False, False)
    assert notes == []


def test_attributes_in_dense_storage_are_a_note(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        for i in range(20):
            file.attrs[f"n{i}"] = "text"
    notes: list[str] = []
    with opened(tmp_path / "a.h5") as file:
        assert file.text("", "n3", notes) == ""
    assert "attribute n3 is stored in a way that is not read" in notes[0]


@pytest.mark.parametrize("size", [0, 2**64 - 1, 2**64 - 16, 2**64 - 24, 10**6])
@pytest.mark.parametrize("number", [0, 7])
def test_a_damaged_heap_of_texts_neither_hangs_nor_crashes(tmp_path, size, number):
    path = write_robomimic(tmp_path / "low_dim.hdf5", (3, 2), env_kwargs={"control_freq": 10})
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    struct.pack_into("<HHIQ", content, heap + 16, number, 1, 0, size)
    path.write_bytes(content)
    info = open_dataset(path).info
    assert (info.fps, any("a text is not where it should be" in note for note in info.notes)) == (20.0, True)


def test_a_text_that_claims_gigabytes_takes_none(tmp_path):
    path = write_robomimic(tmp_path / "low_dim.hdf5", (3, 2), env_kwargs={"control_freq": 10})
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    with h5py.File(path) as file:
        length = len(file["data"].attrs["env_args"])
    reference = struct.pack("<IQI", length, heap, 1)
    at = content.index(reference)
    content[at : at + 4] = struct.pack("<I", 2**32 - 1)
    path.write_bytes(content)
    assert open_dataset(path).info.fps == 10.0


def mutations(good: bytes, count: int, *, seed: int):
    """``good`` with bytes changed, cut out, put in, or the end cut off."""
    rng = np.random.default_rng(seed)
    for trial in range(count):
        bad = bytearray(good)
        reach = min(len(bad), (len(bad), 2048, 512)[trial % 3])
        how = trial % 5
        if how < 3:
            for at in rng.integers(reach, size=int(rng.integers(1, 6))):
                bad[at] = rng.integers(256)
        elif how == 3:
            at = int(rng.integers(reach))
            bad[at : at + 8] = rng.choice([b"\xff" * 8, bytes(7) + b"\1", b"\xff\xff\xff\x7f\0\0\0\0"])
        elif trial % 2:
            at = int(rng.integers(reach))
            del bad[at : at + int(rng.integers(1, 64))]
        else:
            del bad[int(rng.integers(len(bad))) :]
        yield bytes(bad)


@EVERY
@pytest.mark.parametrize("again", [False, True])
def test_fuzzed_files_give_data_errors_only(tmp_path, kind, again):
    path = WRITERS[kind](tmp_path)
    if again:
        compressed(path)
    messages = []
    for content in mutations(path.read_bytes(), 60, seed=len(kind)):
        path.write_bytes(content)
        try:
            read_all(path)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert not any("\n" in message for message in messages)


def test_fuzzed_metadata_gives_data_errors_only(tmp_path):
    folder = write_droid(tmp_path / "e", metadata=droid_metadata())
    path = folder / "metadata_LAB+0.json"
    failures = 0
    for content in mutations(path.read_bytes(), 60, seed=0):
        path.write_bytes(content)
        try:
            read_all(folder)
        except DataError:
            failures += 1
    assert failures > 10


def bomb(path, *, inflated, declared=(100, 14)):
    """An ALOHA episode whose actions' only chunk unpacks to ``inflated`` bytes, more than it declares."""
    write_aloha(path, 100, cameras=())
    with h5py.File(path, "a") as file:
        del file["action"]
        actions = file.create_dataset("action", declared, "f8", chunks=declared, compression="gzip", shuffle=True)
        actions.id.write_direct_chunk((0, 0), zlib.compress(bytes(inflated), 9))
    return path


def test_a_chunk_that_unpacks_to_more_than_it_declares_is_refused(tmp_path):
    path = bomb(tmp_path / "episode_0.hdf5", inflated=200 * 2**20)
    dataset = open_dataset(path)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"action: a chunk unpacks to more than the 11,200 bytes"):
            dataset[0]
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_large_honest_chunks_are_read(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5", 6000)
    actions = np.random.default_rng(0).normal(size=(6000, 14))
    with h5py.File(path, "a") as file:
        del file["action"]
        file.create_dataset("action", data=actions, chunks=(2500, 7), compression="gzip", shuffle=True, fletcher32=True)
    np.testing.assert_array_equal(open_dataset(path)[0].actions, actions)
