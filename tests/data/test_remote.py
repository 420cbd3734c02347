"""Datasets by URL: ``memory://`` stands for the object stores, and ``file://`` is local."""

from __future__ import annotations

import uuid
from pathlib import Path

import fsspec
import numpy as np
import pytest

from fastki.data import open_dataset
from fastki.data.files import fingerprint, missing_files, read_text
from fastki.data.paths import as_path, exists, is_local, is_remote, relative_name
from fastki.errors import DataError


@pytest.fixture
def upload():
    """Copies a file or folder to ``memory://`` and gives its URL; all is gone after the test."""
    memory = fsspec.filesystem("memory")
    home = f"/{uuid.uuid4().hex}"

    def call(path: Path) -> str:
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file():
                memory.pipe_file(f"{home}/{file.relative_to(path.parent).as_posix()}", file.read_bytes())
        return f"memory://{home.lstrip('/')}/{path.name}"

    yield call
    for name in [name for name in memory.store if name.startswith(home)]:
        del memory.store[name]


def make_npz(folder: Path, episodes) -> Path:
    lengths = [len(episode["action"]) for episode in episodes]
    np.savez(
        folder / "set.npz",
        action=np.concatenate([episode["action"] for episode in episodes]),
        state=np.concatenate([episode["observation.state"] for episode in episodes]),
        episode_ends=np.cumsum(lengths),
    )
    return folder / "set.npz"


def make_npy(folder: Path, episodes) -> Path:
    np.save(folder / "set.npy", episodes[0]["action"])
    return folder / "set.npy"


def make_zarr(name: str, version: int):
    def make(folder: Path, episodes) -> Path:
        zarr = pytest.importorskip("zarr")
        path = folder / name
        store = zarr.storage.ZipStore(path, mode="w") if path.suffix == ".zip" else zarr.storage.LocalStore(path)
        root = zarr.open_group(store, mode="w", zarr_format=version)
        data, meta = root.create_group("data"), root.create_group("meta")
        for key, source in (("action", "action"), ("state", "observation.state")):
            values = np.concatenate([episode[source] for episode in episodes])
            data.create_array(key, data=values, chunks=(10, values.shape[1]))
        frames = len(values)
        data.create_array("img", data=np.arange(frames * 768, dtype=np.uint8).reshape(frames, 16, 16, 3))
        meta.create_array("episode_ends", data=np.cumsum([len(episode["action"]) for episode in episodes]))
        store.close()
        return path

    return make


MADE = {
    "npy": make_npy,
    "npz": make_npz,
    "zarr v2": make_zarr("set.zarr", 2),
    "zarr v3": make_zarr("set", 3),
    "zarr archive": make_zarr("set.zarr.zip", 2),
    "LeRobot v2.1": None,
    "LeRobot v3.0": None,
}


@pytest.fixture(params=MADE)
def local(request, tmp_path, make_lerobot, some_episodes) -> Path:
    """A dataset of each format."""
    make = MADE[request.param]
    if make is None:
        return make_lerobot(some_episodes, version=request.param.split()[-1])
    return make(tmp_path, some_episodes)


def assert_same(dataset, other) -> None:
    """Equal but for their place: all facts, all numbers, a frame of each camera."""
    for name in vars(dataset.info):
        if name not in ("uri", "lengths"):
            assert getattr(dataset.info, name) == getattr(other.info, name), name
    assert dataset.info.lengths.tolist() == other.info.lengths.tolist()
    for mine, theirs in zip(dataset, other, strict=True):
        np.testing.assert_array_equal(mine.actions, theirs.actions)
        assert (mine.prompt, mine.state is None) == (theirs.prompt, theirs.state is None)
        if mine.state is not None:
            np.testing.assert_array_equal(mine.state, theirs.state)
        assert mine.images.keys() == theirs.images.keys()
        for camera, frames in mine.images.items():
            np.testing.assert_array_equal(frames[-1], theirs.images[camera][-1])


def test_a_url_opens_as_the_path_does(local, upload):
    here = open_dataset(local)
    for url in (upload(local), upload(local) + "/", f"file://{local}", f"local://{local}", f"FILE://localhost{local}"):
        if url.endswith("/") and local.is_file():
            continue
        there = open_dataset(url)
        assert there.info.uri == url
        assert_same(here, there)


def test_a_path_object_of_the_remote_kind_opens_too(tmp_path, upload, some_episodes):
    url = upload(make_npz(tmp_path, some_episodes))
    assert_same(open_dataset(url), open_dataset(as_path(url)))


def test_damaged_and_absent_remote_files(upload, make_lerobot, some_episodes):
    url = upload(make_lerobot(some_episodes))
    memory = fsspec.filesystem("memory")
    file = url.removeprefix("memory:/") + "/data/chunk-000/episode_000001.parquet"
    whole = memory.cat_file(file)
    memory.pipe_file(file, whole[:-50])
    with pytest.raises(DataError, match=r"memory://.*episode_000001\.parquet is damaged or no parquet file"):
        open_dataset(url)[1]
    memory.rm_file(file)
    with pytest.raises(DataError, match=r"memory://.*episode_000001\.parquet is missing"):
        open_dataset(url)
    memory.pipe_file(file, whole)
    memory.pipe_file(url.removeprefix("memory:/") + "/meta/info.json", b"{")
    with pytest.raises(DataError, match=r"memory://.*info\.json is damaged, not valid JSON"):
        open_dataset(url)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("made_v2.1", "made_v21"), r"no such file or folder: did you mean memory://\w+/made_v2\.1\?"),
        (("made_v2.1", "made_v21/sub"), r"did you mean memory://\w+/made_v2\.1/sub\?"),
        (("made_v2.1", "zzz"), "no such file or folder: give a folder"),
        (("made_v2.1", "made_v2.1/meta"), "is the metadata of a LeRobot dataset: give its parent folder memory://"),
        (("/made_v2.1", ""), r"holds some \(made_v2\.1\): give one of them, such as memory://\w+/made_v2\.1$"),
        (("made_v2.1", "made_v2.1/data"), r"is no dataset: it holds nothing that marks one\. Supported: LeRobot"),
        (("made_v2.1", "made_v2.1/meta/info.json"), r"this type of file is not read\. Supported: LeRobot"),
    ],
)
def test_remote_paths_that_are_no_dataset(upload, make_lerobot, some_episodes, change, message):
    url = upload(make_lerobot(some_episodes))
    with pytest.raises(DataError, match=message) as raised:
        open_dataset(url.replace(*change))
    assert "\n" not in str(raised.value)


def test_an_empty_bucket(upload, tmp_path):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match="no such file or folder"):
        open_dataset(upload(tmp_path / "x.txt").replace("/x.txt", "/nothing/at/all"))


@pytest.fixture
def listed(monkeypatch) -> list[str]:
    """The folders of ``memory://`` that were listed."""
    folders: list[str] = []
    memory = fsspec.get_filesystem_class("memory")
    original = memory.ls

    def ls(self, path, *args, **kwargs):
        folders.append(path)
        return original(self, path, *args, **kwargs)

    monkeypatch.setattr(memory, "ls", ls)
    return folders


def test_only_what_is_needed_is_listed(local, upload, listed):
    """A bucket may hold millions of files beside the dataset, and a camera's chunks are as many."""
    url = upload(local)
    memory, folder = fsspec.filesystem("memory"), url.removeprefix("memory:/")
    memory.pipe_file(f"{folder.rpartition('/')[0]}/beside/deep/down/x.bin", b"x")
    listed.clear()
    open_dataset(url)[0]
    own = {path for path in listed if path.startswith(folder)}
    assert set(listed) - own <= {folder.rpartition("/")[0]}  # Where the file itself is looked up.
    assert not [path for path in own if "img" in path]
    assert len(listed) < 60


def test_a_large_folder_that_is_no_dataset_is_not_searched_through(upload, tmp_path, listed):
    (tmp_path / "x.txt").write_text("x")
    url = upload(tmp_path / "x.txt").removesuffix("/x.txt")
    for i in range(5000):
        fsspec.filesystem("memory").pipe_file(f"{url.removeprefix('memory:/')}/{i % 100:02d}/{i}/x.bin", b"x")
    listed.clear()
    with pytest.raises(DataError, match="is no dataset: it holds nothing that marks one"):
        open_dataset(url)
    assert len(set(listed)) < 1000


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("foo://bucket/set", "paths of the form foo:// cannot be opened here .*: use a local path, s3:// or gs://"),
        ("foo:///", "paths of the form foo://"),
    ],
)
def test_schemes_that_nothing_opens(url, message):
    with pytest.raises(DataError, match=message) as raised:
        open_dataset(url)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "library", "extra"),
    [("s3://b/set", "s3fs", "s3"), ("S3://b/set", "s3fs", "s3"), ("s3a://b", "s3fs", "s3"), ("gs://b", "gcsfs", "gcs")],
)
def test_a_library_that_is_not_installed_is_named_by_its_extra(monkeypatch, url, library, extra):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(DataError, match=rf"^{url}: paths of the form .*`pip install 'fastki\[{extra}\]'`$"):
        open_dataset(url)


class LibraryError(Exception):
    """Stands for what botocore raises, which is no OSError."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LibraryError("Unable to locate\n credentials"), r"\(Unable to locate credentials\): check the network and"),
        (PermissionError(13, "Access denied"), r"\(Access denied\): check the network and your credentials"),
        (LibraryError(), r"\(LibraryError\): check"),
    ],
)
@pytest.mark.parametrize("method", ["exists", "_open"])
def test_no_network_or_no_rights(monkeypatch, make_lerobot, some_episodes, upload, error, message, method):
    def fail(*_, **__):
        raise error

    url = upload(make_lerobot(some_episodes))
    monkeypatch.setattr("fastki.data.paths._FAILURES", ((__name__, "LibraryError"),))
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), method, fail)
    if method == "_open" and isinstance(error, PermissionError):
        message = "cannot be read"
    with pytest.raises(DataError, match=message):
        open_dataset(url)


def test_local_paths_that_cannot_be_looked_at():
    with pytest.raises(DataError, match=r"cannot be read .*: check its name and your rights"):
        open_dataset("x" * 5000)
    with pytest.raises(DataError, match="there is no user ~nobody-of-that-name"):
        open_dataset("~nobody-of-that-name/x")


def test_helpers_of_paths(tmp_path, upload):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.txt").write_text("ä")
    url = as_path(upload(tmp_path / "set"))
    assert (is_remote(str(url)), is_local(url), is_remote(f"file://{tmp_path}")) == (True, False, False)
    assert (exists(url), exists(url / "b"), read_text(url / "a.txt")) == (True, False, "ä")
    assert relative_name(url / "sub" / "b.txt", url) == "sub/b.txt"
    assert relative_name(Path(".hidden/x"), Path()) == ".hidden/x"
    assert missing_files(url, ["a.txt", "b.txt", "no/c.txt"]) == ["b.txt", "no/c.txt"]
    assert fingerprint(("x",), url, ["a.txt"]) == fingerprint(("x",), tmp_path / "set", ["a.txt"])
    with pytest.raises(DataError, match=r"memory://.*/set cannot be read: .*b\.txt"):
        fingerprint(("x",), url, ["b.txt"])
    with pytest.raises(DataError, match=r"b\.txt is missing"):
        read_text(url / "b.txt")
