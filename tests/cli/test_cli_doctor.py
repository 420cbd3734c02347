"""``fastki doctor``: what it says of this machine, and of broken ones."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastki.report import doctor, doctor_machine
from fastki.report.doctor import extras_of, hub_cache, libraries_of

ASKED = [
    "numpy>=1.20",
    "rich>=13",
    'tomli>=1; python_version < "3"',
    'colorama; sys_platform != "no-such-system"',
    'h5py>=3; extra == "hdf5"',
    "no-such-library>=2; extra == 'dreams'",
    'numpy<1; extra == "old"',
    'fastki[dreams,old]; extra == "all"',
    'rich>=13; extra == "all"',
]


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Put a module before all others, for the processes in which things are tried out."""

    def put(name: str, code: str) -> None:
        folder = tmp_path / "before" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(folder.parent))

    return put


@pytest.fixture
def no_jax(monkeypatch):
    """Without JAX, which takes its time to start."""
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("jax", "jaxlib") else version(name))


def test_what_is_required_and_what_each_extra_adds():
    assert [(one.name, one.wanted) for one in libraries_of(ASKED)] == [
        ("colorama", ""),
        ("numpy", ">=1.20"),
        ("rich", ">=13"),
    ]
    assert [one.name for one in libraries_of(ASKED, "all")] == ["no-such-library", "numpy", "rich"]


def test_a_new_extra_appears_by_itself():
    extras = {one.name: one for one in extras_of(ASKED)}
    assert sorted(extras) == ["all", "dreams", "hdf5", "old"]
    assert extras["hdf5"].installed
    assert not extras["all"].installed
    assert extras["dreams"].libraries[0].fault == "missing"
    assert extras["dreams"].command == "pip install 'fastki[dreams]'"
    assert extras["old"].libraries[0].fault == f"{metadata.version('numpy')} is installed, <1 is needed"


def test_it_says_what_is_here(run_json):
    code, said = run_json("doctor")
    assert code == 0
    assert said["healthy"]
    assert said["machine"]["python"].endswith(
        f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    )
    assert 1 <= said["machine"]["cores"] <= said["machine"]["machine_cores"]
    assert 0 < said["machine"]["memory_free"] <= said["machine"]["memory"]
    assert said["jax"]["backend"] == "cpu" or said["jax"]["devices"]
    assert {one["name"]: one["version"] for one in said["libraries"]}["numpy"] == metadata.version("numpy")
    assert [one["what"] for one in said["folders"]] == ["results", "Hugging Face hub", "compiled kernels"]
    assert said["kernels_compiled"] is True
    assert said["variables"]["HF_HUB_OFFLINE"] == "1"


def test_people_see_the_command_that_installs_what_is_missing(cli, monkeypatch, no_jax):
    monkeypatch.setattr(metadata, "requires", lambda _: ASKED[:2] + ASKED[5:6])
    code, out, _ = cli("doctor")
    assert code == 0
    assert "pip install 'fastki[dreams]'" in out
    assert "JAX         not installed" in out
    assert "all that is required is here" in out


@pytest.mark.parametrize(("asked", "fault"), [("no-such-library>=1", "missing"), ("numpy<1", "<1 is needed")])
def test_a_required_library_that_is_missing_or_too_old_is_broken(cli, monkeypatch, no_jax, asked, fault):
    monkeypatch.setattr(metadata, "requires", lambda _: [asked])
    code, out, _ = cli("doctor")
    assert code == 1
    assert fault in out
    assert "1 problem to mend" in out
    assert cli("doctor", "--quiet") == (1, "", "")


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("raise ValueError('not built for this')", "can't be imported: ValueError: not built for this"),
        ("import os; os._exit(3)", "can't be imported: the process ended with 3"),
    ],
)
def test_a_required_library_that_cannot_be_imported_is_broken_and_the_others_are_not(
    run_json, monkeypatch, no_jax, on_path, code, fault
):
    on_path("rich", code)
    monkeypatch.setattr(metadata, "requires", lambda _: ["packaging", "rich", "typer"])
    status, said = run_json("doctor")
    assert status == 1
    assert {one["name"]: one["fault"] for one in said["libraries"]} == {"packaging": None, "rich": fault, "typer": None}
    assert said["kernels_compiled"] is None


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise RuntimeError('no plugin')", "RuntimeError: no plugin"),
        ("import os; os.abort()", "the process ended with -6"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
        (
            "def devices(): raise RuntimeError('Unable to initialize backend')",
            "RuntimeError: Unable to initialize backend",
        ),
    ],
)
def test_a_jax_that_is_broken_is_said_and_breaks_nothing(run_json, monkeypatch, on_path, code, error):
    on_path("jax", code)
    monkeypatch.setattr(doctor_machine, "PATIENCE", 1 if "sleep" in code else 30)
    monkeypatch.setattr(metadata, "requires", lambda _: ["packaging"])
    status, said = run_json("doctor")
    assert status == 0
    assert said["jax"]["error"] == error
    assert said["jax"]["version"] == metadata.version("jax")
    assert [one["what"] for one in said["problems"]] == [f"JAX does not work: {error}"]


def test_nothing_in_the_working_folder_is_imported(run_json, tmp_path, monkeypatch):
    (tmp_path / "jax.py").write_text("raise RuntimeError('run by mistake')")
    (tmp_path / "rich.py").write_text("raise RuntimeError('run by mistake')")
    monkeypatch.setattr(metadata, "requires", lambda _: ["rich"])
    status, said = run_json("doctor")
    assert (status, said["jax"]["error"]) == (0, None)


def test_without_being_installed_it_still_answers(cli, monkeypatch, no_jax):
    def none(_):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", none)
    code, out, _ = cli("doctor")
    assert code == 0
    assert "fastki is not installed" in out


def test_folders_that_cannot_be_written_and_a_full_disk_are_said(run_json, monkeypatch, no_jax):
    monkeypatch.setattr(metadata, "requires", lambda _: ["packaging"])
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5))
    code, said = run_json("doctor")
    assert code == 0
    words = " | ".join(one["what"] for one in said["problems"])
    for part in ("can't be written to", "little room is left", "(Hugging Face hub)", "(compiled kernels)"):
        assert part in words
    assert not any(folder["writable"] for folder in said["folders"])


def test_a_gpu_that_jax_leaves_alone_is_said(run_json, monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _: ["packaging"])
    monkeypatch.setattr(doctor_machine, "_gpus", lambda: ("Some GPU, 80 GiB, 1.0",))
    _, said = run_json("doctor")
    if said["jax"]["backend"] == "cpu":
        assert "there is a GPU, and JAX does not use it" in [one["what"] for one in said["problems"]]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({}, str(Path("~/.cache/huggingface/hub").expanduser())),
    ],
)
def test_the_hubs_cache_is_where_its_library_has_it(environment, expected):
    assert hub_cache(environment) == Path(expected)


def test_sizes_count_files_once_and_follow_no_link(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x" * 1000)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "b")
    looked = doctor_machine.look_at("things", tmp_path / "a")
    assert (looked.size, looked.whole, looked.writable) == (1000, True, True)
    assert doctor_machine.look_at("things", tmp_path / "none" / "yet").size is None


def test_a_folder_too_large_to_count_is_more_than_that(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_machine, "_WALK", -1)
    assert not doctor_machine.look_at("things", tmp_path).whole
