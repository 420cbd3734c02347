"""Files and folders that are whole or absent."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path

import pytest

from fastki.errors import UsageError
from fastki.files import atomic_folder, atomic_path, require_writable, write_csv, write_json, write_text


@pytest.fixture
def umask():
    old = os.umask(0o027)
    yield
    os.umask(old)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_utf_8_and_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "γ = 10\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "γ = 10\n".encode()
    assert listing(tmp_path / "a") == ["b.txt"]


def test_a_file_is_not_there_before_the_block_ends(tmp_path):
    with atomic_path(tmp_path / "figure.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert not (tmp_path / "figure.png").exists()
    assert (tmp_path / "figure.png").read_text() == "new"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with contextlib.suppress(ZeroDivisionError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert listing(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path):
    with atomic_folder(tmp_path / "tok") as temporary:
        (temporary / "one").write_text("old")
    with contextlib.suppress(KeyboardInterrupt), atomic_folder(tmp_path / "tok") as temporary:
        (temporary / "one").write_text("half")
        raise KeyboardInterrupt
    assert listing(tmp_path) == ["tok"]
    assert (tmp_path / "tok" / "one").read_text() == "old"


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for names in (("one", "two"), ("three",)):
        with atomic_folder(tmp_path / "new" / "tok") as temporary:
            for name in names:
                (temporary / name).write_text(name)
    assert listing(tmp_path / "new") == ["tok"]
    assert listing(tmp_path / "new" / "tok") == ["three"]


def test_a_link_to_a_folder_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_folder(tmp_path / "link") as temporary:
        (temporary / "one").write_text("1")
    assert (tmp_path / "link").is_symlink()
    assert listing(tmp_path / "real") == ["one"]
    assert listing(tmp_path) == ["link", "real"]


@pytest.mark.usefixtures("umask")
def test_permissions_are_those_of_any_new_file(tmp_path):
    write_text(tmp_path / "a.txt", "a")
    with atomic_folder(tmp_path / "tok") as temporary:
        write_text(temporary / "one", "1")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "tok", "tok/one")]
    assert modes == [0o640, 0o750, 0o640]


@pytest.mark.parametrize("write", [atomic_path, atomic_folder])
def test_a_file_in_the_way_is_named_and_kept(tmp_path, write):
    (tmp_path / "file").write_text("mine")
    message = r"file is a file, so .*below can't be written: choose another --out"
    with pytest.raises(UsageError, match=message), write(tmp_path / "file" / "below"):
        pytest.fail("the block began")
    with pytest.raises(UsageError, match="is a file"):
        require_writable(tmp_path / "file" / "deep" / "below")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("write", [atomic_path, atomic_folder])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied"), "no permission to write .*out: choose another --out"),
        (OSError(28, "No space left on device"), r"out can't be written \(No space left on device\)"),
    ],
)
def test_what_the_system_refuses_is_a_clear_error(tmp_path, write, error, message):
    with pytest.raises(UsageError, match=message), write(tmp_path / "out"):
        raise error
    assert listing(tmp_path) == []


def test_the_folder_that_one_is_in_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "tok" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "tok" / "inner")
    for path in (Path(), Path("..")):
        with pytest.raises(UsageError, match="the folder you are in"), atomic_folder(path):
            pytest.fail("the block began")


def test_what_can_be_written_passes_and_nothing_is_created(tmp_path, monkeypatch):
    require_writable(tmp_path / "not" / "yet" / "there")
    assert listing(tmp_path) == []
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UsageError, match="no permission"):
        require_writable(tmp_path / "not" / "yet" / "there")


def test_half_characters_are_escaped_in_json_and_csv_and_none_is_an_empty_cell(tmp_path):
    plain = {"name": "\udcff ü", "value": None}
    write_json(tmp_path / "a.json", plain)
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{"name": "\\udcff ü", "value": null}\n'
    assert json.loads((tmp_path / "a.json").read_bytes()) == plain
    write_csv(tmp_path / "a.csv", ("name", "value"), [plain])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines() == ["name,value", "\\udcff ü,"]


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", [float("nan")])
    assert list(tmp_path.iterdir()) == []
