"""Checkpoints by URL: ``memory://`` stands for the object stores, and ``file://`` is local."""

from __future__ import annotations

import shutil
import sys
import uuid
from pathlib import Path

import fsspec
import pytest
from checkpoint_maker import definition_of, params_of, same, write_npz

from fastki.errors import DataError
from fastki.model.checkpoint import load_openpi
from fastki.model.checkpoint_npz import load_paligemma
from fastki.model.checkpoint_remote import cache_folder, local_checkpoint, local_file
from fastki.model.checkpoint_save import save_openpi

MEMORY = fsspec.filesystem("memory")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "3000"
    save_openpi(folder, params_of())
    for name in ("assets/droid/norm_stats.json", "train_state/d/moments"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("{}")
    return folder


@pytest.fixture
def url(saved):
    home = uuid.uuid4().hex
    for file in saved.rglob("*"):
        if file.is_file():
            MEMORY.pipe_file(f"/{home}/3000/{file.relative_to(saved).as_posix()}", file.read_bytes())
    yield f"memory://{home}/3000"
    for name in [name for name in MEMORY.store if name.startswith(f"/{home}")]:
        del MEMORY.store[name]


def path_of(url: str, name: str = "") -> str:
    return url.removeprefix("memory:/") + (f"/{name}" if name else "")


@pytest.mark.parametrize("inside", ["", "/", "/params"])
def test_a_checkpoint_by_url_is_fetched_and_loaded(url, cache, inside):
    loaded = load_openpi(url + inside, definition_of())
    assert same(loaded.params, params_of())
    assert (loaded.folder.step, list(loaded.assets)) == (3000, ["droid"])
    assert loaded.folder.root.is_relative_to(cache)
    assert not (loaded.folder.root / "train_state").exists()
    assert f"parameters from {url + inside}" in str(loaded.report)


def test_a_folder_of_weights_alone_is_fetched_too(saved, url):
    for file in (saved / "params").rglob("*"):
        if file.is_file():
            name = file.relative_to(saved / "params").as_posix()
            MEMORY.pipe_file(path_of(url, f"weights/{name}"), file.read_bytes())
    assert same(load_openpi(f"{url}/weights", definition_of()).params, params_of())


def test_what_is_in_the_cache_is_not_fetched_again(url, monkeypatch):
    seen: list[tuple[int, int]] = []
    folder = local_checkpoint(url, progress=lambda done, total: seen.append((done, total)))
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.name != "fetched.json")
    assert seen[0] == (0, total)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    monkeypatch.setattr(type(MEMORY), "_open", lambda *_, **__: pytest.fail("a file was fetched"))
    again: list[tuple[int, int]] = []
    assert local_checkpoint(url, progress=lambda *pair: again.append(pair)) == folder
    assert again == []


def test_what_changed_or_went_away_is_followed(url):
    folder = local_checkpoint(url)
    MEMORY.pipe_file(path_of(url, "assets/droid/norm_stats.json"), b"[]")
    MEMORY.pipe_file(path_of(url, "assets/other/norm_stats.json"), b"{}")
    local_checkpoint(url)
    assert (folder / "assets/droid/norm_stats.json").read_text() == "[]"
    MEMORY.rm(path_of(url, "assets/droid"), recursive=True)
    assert list(load_openpi(url, definition_of()).assets) == ["other"]


def test_a_fetch_that_broke_off_goes_on(url, monkeypatch):
    whole = type(MEMORY)._open
    opened: list[str] = []

    def fail_later(self, path, *args, **kwargs):
        opened.append(path)
        if len(opened) == 4:
            raise OSError("the network is gone")
        return whole(self, path, *args, **kwargs)

    monkeypatch.setattr(type(MEMORY), "_open", fail_later)
    with pytest.raises(DataError, match=r"the network is gone.*check the network"):
        local_checkpoint(url)
    first = opened[:3]
    assert same(load_openpi(url, definition_of()).params, params_of())
    assert not set(first) & set(opened[4:])


def test_without_a_network_a_whole_copy_will_do(url, monkeypatch):
    folder = local_checkpoint(url)

    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(type(MEMORY), "find", fail)
    assert local_checkpoint(url) == folder
    (folder / "fetched.json").write_text("{")
    with pytest.raises(DataError, match="no route to host"):
        local_checkpoint(url)


def test_too_little_room_is_told_before_the_fetch(url, cache, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 10))
    with pytest.raises(DataError, match=r"needs 0.0 GB, but .* has 0.0 GB free: set XDG_CACHE_HOME"):
        local_checkpoint(url)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_one_line(url, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"can't be fetched: .* can't be written; set XDG_CACHE_HOME"):
        local_checkpoint(url)


def test_a_file_url_is_local(saved, cache):
    assert same(load_openpi(f"file://{saved}", definition_of()).params, params_of())
    assert not cache.exists()


def test_an_url_without_a_checkpoint_says_so(url):
    with pytest.raises(DataError, match="is no checkpoint: it holds neither params/_METADATA nor _METADATA"):
        load_openpi(f"{url}/assets", definition_of())
    with pytest.raises(DataError, match="nope:// cannot be opened here"):
        load_openpi("nope://bucket/3000", definition_of())


@pytest.mark.parametrize(("scheme", "extra", "module"), [("s3", "s3", "s3fs"), ("gs", "gcs", "gcsfs")])
def test_an_absent_library_is_named(scheme, extra, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=rf"pip install 'fastki\[{extra}\]'"):
        load_openpi(f"{scheme}://bucket/pi05_base", definition_of())


def test_names_that_lead_out_of_the_cache_are_refused(url, monkeypatch):
    escaping = {path_of(url, "params/_METADATA"): {"size": 2}, path_of(url, "params/../../x"): {"size": 2}}
    monkeypatch.setattr(type(MEMORY), "find", lambda *_, **__: escaping)
    with pytest.raises(DataError, match="leads out of"):
        local_checkpoint(url)


def test_paligemmas_file_by_url(tmp_path, url, cache):
    file = write_npz(tmp_path / "pt.npz", params_of())
    MEMORY.pipe_file(path_of(url, "pt_224.npz"), file.read_bytes())
    loaded = load_paligemma(f"{url}/pt_224.npz", definition_of(kind="pi0_fast"))
    assert len(loaded.report.loaded) > 20
    assert local_file(f"{url}/pt_224.npz").is_relative_to(cache)
    assert local_file(f"{url}/pt_224.npz").read_bytes() == file.read_bytes()
    with pytest.raises(DataError, match=r"absent\.npz"):
        load_paligemma(f"{url}/absent.npz", definition_of(kind="pi0_fast"))
