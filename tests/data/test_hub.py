"""Datasets on the hub, whose ``snapshot_download`` copies from folders here, and only what it is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import constants, errors
from huggingface_hub.utils import filter_repo_objects

from fastki.data import open_dataset
from fastki.data.hub import (
    HubError,
    HubName,
    NotOnHubError,
    UnreachableHubError,
    fetch_dataset,
    fetch_more,
    in_cache,
    parse_hub_name,
)
from fastki.errors import DataError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Repositories that are folders, and a cache with the layout of the real one."""

    def __init__(self, folder: Path) -> None:
        self.repositories, self.cache = folder / "repositories", folder / "cache"
        self.calls: list[tuple[str | None, list[str]]] = []

    def repository(self, name: str = "user/name") -> Path:
        """The folder of a repository, made if it is not there."""
        folder = self.repositories / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitattributes").write_text("")
        (folder / "README.md").write_text("words")
        return folder

    def download(
        self, repo, *, repo_type, revision=None, cache_dir=None, allow_patterns=None, ignore_patterns=None
    ) -> str:
        assert repo_type == "dataset"
        source = self.repositories / repo
        if not source.is_dir():
            raise errors.RepositoryNotFoundError("404 Client Error.", response=answer(404))
        target = (cache_dir or self.cache) / f"datasets--{repo.replace('/', '--')}" / "snapshots" / COMMIT
        names = [file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()]
        wanted = sorted(filter_repo_objects(names, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns))
        assert wanted, "the library warns where nothing matches"
        for name in wanted:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
        self.calls.append((revision, [name for name in wanted if name != ".gitattributes"]))
        return str(target)

    @property
    def fetched(self) -> set[str]:
        """All files that were asked for, but for the one that every repository has."""
        return {name for _, names in self.calls for name in names}


def answer(status: int) -> SimpleNamespace:
    """As much of an HTTP library's answer as the hub's errors look at."""
    return SimpleNamespace(status_code=status, headers={}, request=None)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    fake = Hub(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake.download)
    return fake


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.fixture
def lerobot_on_hub(hub, make_lerobot, some_episodes):
    """A LeRobot repository with videos and pictures beside the numbers; returns the local original."""

    def call(version: str = "v2.1") -> Path:
        video = {"dtype": "video", "shape": [8, 8, 3], "names": None}
        path = "videos/{video_key}/{episode_index:06d}.mp4"
        if version == "v3.0":
            path = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
        root = make_lerobot(some_episodes, version=version, features={"cam": video}, video_path=path)
        repository = hub.repository()
        shutil.copytree(root, repository, dirs_exist_ok=True)
        touch(repository, *(f"videos/cam/{i:06d}.mp4" for i in range(5)), "images/cam/0.png")
        touch(repository, "meta/episodes_stats.jsonl", "data/chunk-000/stray.mp4", "train.py", "model.safetensors")
        return root

    return call


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize("name", ["user/name", "hf://user/name", "hf://datasets/user/name", "user/name@main"])
def test_lerobot_without_its_videos(hub, lerobot_on_hub, version, name):
    root = lerobot_on_hub(version)
    there, here = open_dataset(name), open_dataset(root)
    assert there.info.uri == "hf://user/name" + ("@main" if "@" in name else "")
    assert (in_cache(fetch_dataset(name)), in_cache(root)) == (True, False)
    # Of v2.1 it is known where each frame is; the tables of this v3.0 do not say where episodes begin.
    cameras = ((), ("cam",)) if version == "v3.0" else (("cam",), ())
    assert (there.info.cameras, there.info.missing_cameras) == cameras
    assert there.info.fingerprint == here.info.fingerprint
    for mine, theirs in zip(there, here, strict=True):
        np.testing.assert_array_equal(mine.actions, theirs.actions)
    assert hub.fetched == {file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()}
    assert [revision for revision, _ in hub.calls][:2] == ["main" if "@" in name else None, COMMIT]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_video_is_downloaded_when_one_of_its_frames_is_asked_for(hub, make_lerobot, some_episodes, clips, version):
    pytest.importorskip("av")
    root = make_lerobot(some_episodes, version=version, videos=("top", "wrist"))
    shutil.copytree(root, hub.repository(), dirs_exist_ok=True)
    dataset = open_dataset("user/name")
    assert dataset.info.cameras == ("top", "wrist")
    assert any("top, wrist are not downloaded: each is" in note for note in dataset.info.notes)
    episodes = list(dataset)
    assert not [name for name in hub.fetched if name.endswith(".mp4")]
    assert clips.number(episodes[4].images["wrist"][7]) == 4007
    (fetched,) = [name for name in hub.fetched if name.endswith(".mp4")]
    assert "wrist" in fetched
    calls = len(hub.calls)
    assert clips.number(episodes[4].images["wrist"][8]) == 4008
    assert len(hub.calls) == calls


def test_a_video_that_the_hub_does_not_have(hub, make_lerobot, some_episodes):
    pytest.importorskip("av")
    root = make_lerobot(some_episodes, videos=("top",))
    shutil.copytree(root, hub.repository(), dirs_exist_ok=True)
    next(hub.repository().rglob("*_000002.mp4")).unlink()
    dataset = open_dataset("user/name")
    with pytest.raises(DataError, match=r"episode_000002\.mp4"):
        dataset[2].images["top"][0]


def test_files_that_are_fetched_later(hub, lerobot_on_hub):
    lerobot_on_hub()
    root = fetch_dataset("user/name")
    wanted = ["videos/cam/000000.mp4", "videos/cam/000003.mp4"]
    assert fetch_more(root, wanted) == root
    assert hub.calls[-1] == (COMMIT, wanted)
    assert all((root / name).is_file() for name in wanted)
    assert not (root / "videos/cam/000001.mp4").exists()
    assert fetch_more("user/name@v2.0", ["images/cam/0.png"]) == root
    assert hub.calls[-1] == ("v2.0", ["images/cam/0.png"])
    with pytest.raises(DataError, match="leads out of the dataset's folder"):
        fetch_more(root, ["../../secret"])
    with pytest.raises(DataError, match="is no folder of the hub's cache"):
        fetch_more(hub.repositories, wanted)
    with pytest.raises(DataError, match="is no name on the hub"):
        fetch_more("name", wanted)


def test_names_with_characters_of_patterns(hub):
    touch(
        hub.repository(), "a [1]/meta/info.json", "a [1]/data/x.parquet", "a [1]/videos/[0].mp4", "a 1/data/y.parquet"
    )
    touch(hub.repository(), "b/meta/info.json")
    root = fetch_dataset("hf://user/name/a [1]")
    assert hub.fetched == {"a [1]/meta/info.json", "a [1]/data/x.parquet"}
    fetch_more(root, ["videos/[0].mp4"])
    assert (root / "videos/[0].mp4").is_file()


@pytest.mark.parametrize("folder", ["", "bridge/", "bridge/1.0.0/"])
def test_tfds(hub, folder):
    numbers = [
        "features.json",
        "dataset_info.json",
        "a-train.tfrecord-00000-of-00002",
        "a-train.tfrecord-00001-of-00002",
    ]
    touch(hub.repository(), *(folder + name for name in numbers), "videos/a.mp4", folder + "preview.png")
    assert fetch_dataset("user/name") == hub.cache / "datasets--user--name/snapshots" / COMMIT / folder
    assert hub.fetched == {folder + name for name in numbers}


def make_zarr(path: Path, version: int) -> Path:
    zarr = pytest.importorskip("zarr")
    store = zarr.storage.ZipStore(path, mode="w") if path.suffix == ".zip" else zarr.storage.LocalStore(path)
    root = zarr.open_group(store, mode="w", zarr_format=version)
    data, meta = root.create_group("data"), root.create_group("meta")
    values = np.random.default_rng(0).normal(size=(50, 2))
    for key, array in {
        "action": values,
        "keypoint": np.ones((50, 9, 2)),
        "img": np.ones((50, 96, 96, 3), "u1"),
    }.items():
        data.create_array(key, data=array, chunks=(25, *array.shape[1:]))
    meta.create_array("episode_ends", data=np.array([20, 50]))
    store.close()
    return path


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("folder", ["", "pusht/replay.zarr"])
def test_zarr_without_its_pictures(hub, version, folder):
    path = make_zarr(hub.repository() / folder, version)
    dataset = open_dataset("user/name")
    np.testing.assert_array_equal(dataset[1].actions, open_dataset(path)[1].actions)
    assert dataset.info.missing_cameras == ("img",)
    assert "the images of img were not downloaded: actions only" in dataset.info.notes
    prefix = folder + "/" if folder else ""
    pictures = {name for name in hub.fetched if name.startswith(f"{prefix}data/img/")}
    assert {name.rpartition("/")[2] for name in pictures} <= {".zarray", ".zattrs", "zarr.json"}
    assert [name for name in hub.fetched if name.startswith(f"{prefix}data/keypoint/") and name[-1].isdigit()]


@pytest.mark.parametrize("folder", ["", "deep/down/"])
def test_single_files(hub, folder):
    (hub.repository() / folder).mkdir(parents=True, exist_ok=True)
    np.savez(hub.repository() / f"{folder}set.npz", actions=np.ones((9, 2)))
    touch(hub.repository(), "videos/a.mp4", "other.bin")
    assert len(open_dataset("user/name")[0]) == 9
    assert hub.fetched == {f"{folder}set.npz"}
    hub.calls.clear()
    touch(hub.repository(), "b.h5")
    dataset = open_dataset(f"hf://user/name/{folder}set.npz")
    assert (len(dataset), dataset.info.uri) == (1, f"hf://user/name/{folder}set.npz")
    assert hub.fetched == {f"{folder}set.npz"}


def test_archives_and_files_side_by_side(hub):
    make_zarr(hub.repository() / "dataset.zarr.zip", 2)
    assert open_dataset("user/name").info.cameras == ("img",)
    touch(hub.repository("user/aloha"), "sim/episode_0.hdf5", "sim/episode_1.hdf5", "sim/images/a.h5", "x.bin")
    assert fetch_dataset("user/aloha").name == "sim"
    assert hub.fetched == {"dataset.zarr.zip", "sim/episode_0.hdf5", "sim/episode_1.hdf5"}


def test_a_mixture(hub, lerobot_on_hub):
    lerobot_on_hub()
    (hub.repository("user/mixed") / "mix.toml").write_text('[[dataset]]\ndata = "user/name"\n')
    assert len(open_dataset("user/mixed")) == 5


def test_several_datasets_in_a_repository_are_listed_and_none_is_fetched(hub, lerobot_on_hub):
    root = lerobot_on_hub()
    for name in ("left", "right"):
        shutil.copytree(root, hub.repository("user/two") / name)
    with pytest.raises(DataError, match=r"holds some \(left, right\): give one .* such as hf://user/two/left$"):
        open_dataset("user/two")
    assert not [name for name in hub.fetched if name.endswith(".parquet")]
    assert len(open_dataset("hf://user/two/right")) == 5
    assert not [name for name in hub.fetched if name.startswith("left/data")]


def test_the_caller_says_which_files(hub):
    touch(hub.repository(), "a/x.json", "a/y.bin", "b/z.json")
    root = fetch_dataset("user/name", patterns=["*.json"])
    assert hub.calls == [(None, ["a/x.json", "b/z.json"])]
    assert sorted(path.name for path in root.rglob("*.json")) == ["x.json", "z.json"]
    assert fetch_dataset("hf://user/name/a", patterns=["a/*"]) == root / "a"


def test_nothing_in_it_is_a_dataset(hub):
    touch(hub.repository(), "model.safetensors", "config.json", "videos/set.h5")
    for name in ("user/name", "hf://user/name/videos"):
        with pytest.raises(HubError, match=r"^hf://user/name.*: nothing in it is a dataset of a format that is read"):
            fetch_dataset(name)


def test_what_is_here_comes_first(hub, tmp_path):
    (tmp_path / "user/sets").mkdir(parents=True)
    with pytest.raises(DataError, match=r"user/set: no such file or folder: did you mean user/sets\?$"):
        open_dataset("user/set")
    with pytest.raises(DataError, match=r"give a folder, .*, or hf://user/other@main for the one on the hub$"):
        open_dataset("user/other@main")
    assert hub.calls == []


@pytest.mark.parametrize(
    "text", ["a/b.npz", "a/b.zarr", "./a/b", "/a/b", "a", "a/b/c", "a b/c", "~/b", "s3://a/b", "../a"]
)
def test_words_that_are_no_names(text):
    assert parse_hub_name(text) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a/b", HubName("a/b")),
        ("a-1/b_2.x@v2.0", HubName("a-1/b_2.x", "v2.0")),
        ("hf://a/b/", HubName("a/b")),
        ("hf://datasets/a/b@main/c/d.h5", HubName("a/b", "main", "c/d.h5")),
        ("hf://a/b@refs%2Fpr%2F3/c", HubName("a/b", "refs/pr/3", "c")),
    ],
)
def test_names(text, name):
    assert parse_hub_name(text) == name
    assert parse_hub_name(str(name)) == name


@pytest.mark.parametrize("text", ["hf://", "hf://a", "hf://datasets/a", "hf://a/b@", "hf://a/b@x@y", "hf://?/b"])
def test_names_that_are_half_written(text):
    with pytest.raises(DataError, match=r"is no name on the hub: give hf://USER/NAME"):
        parse_hub_name(text)


def test_names_that_lead_out_of_the_repository():
    with pytest.raises(DataError, match="leads out of the dataset's folder"):
        open_dataset("hf://a/b/../../../etc")


FAILURES = {
    "offline": (errors.LocalEntryNotFoundError("no"), UnreachableHubError, "cannot be reached.*with a network, or run"),
    "gated": (errors.GatedRepoError("no", response=answer(403)), NotOnHubError, "is gated: accept .*`hf auth login`"),
    "no repository": (
        errors.RepositoryNotFoundError("no", response=answer(401)),
        NotOnHubError,
        "no such dataset, or a private one: check the name, or run `hf auth login`",
    ),
    "no revision": (
        errors.RevisionNotFoundError("no", response=answer(404)),
        NotOnHubError,
        "the dataset has no revision 'v9': leave it out",
    ),
    "no name": (errors.HFValidationError("Cannot have --"), HubError, r"no name on the hub \(Cannot have --\)"),
    "wrong token": (
        errors.HfHubHTTPError("401 Client Error.\nInvalid", response=answer(401)),
        HubError,
        r"\(401 Client Error\): run `hf auth login`",
    ),
    "down": (
        errors.HfHubHTTPError("503 Server Error", response=answer(503)),
        HubError,
        "the download failed .* try again",
    ),
    "proxy": (errors.HfHubHTTPError.__bases__[0]("proxy refused"), HubError, r"\(proxy refused\): try again"),
    "disk full": (OSError(28, "No space left on device"), HubError, "No space left on device"),
    "broken transfer": (RuntimeError("Data processing error\nsecond line"), HubError, r"\(Data processing error\)"),
    "nothing said": (RuntimeError(), HubError, r"\(RuntimeError\)"),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", ["hf://a/b@v9", "a/b@v9"])
def test_failures_are_one_line_with_a_mend(monkeypatch, tmp_path, failure, name):
    error, kind, message = FAILURES[failure]

    def fail(*_, **__):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(kind, match=message) as raised:
        open_dataset(name)
    text = str(raised.value)
    assert "\n" not in text
    assert "hf://a/b@v9" in text
    assert text.startswith("there is no folder a/b@v9 here, and ") == (name == "a/b@v9")


@pytest.mark.parametrize("missing", [False, True])
def test_the_real_library_without_a_network(monkeypatch, tmp_path, make_lerobot, some_episodes, missing):
    """What its cache holds is enough, and what it does not is a clear message."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    if missing:
        with pytest.raises(UnreachableHubError, match="`hf download --repo-type dataset user/name`"):
            open_dataset("user/name")
        return
    folder = tmp_path / "cache/datasets--user--name"
    shutil.copytree(make_lerobot(some_episodes), folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(COMMIT)
    dataset = open_dataset("user/name")
    assert (len(dataset), dataset.info.uri) == (5, "hf://user/name")
    assert json.loads((fetch_dataset("user/name") / "meta/info.json").read_text())["fps"] == 20
