from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import fastki.data
from fastki.data import open_dataset
from fastki.errors import DataError


def test_every_public_name_loads():
    assert dir(fastki.data) == sorted(fastki.data.__all__)
    for name in fastki.data.__all__:
        assert getattr(fastki.data, name) is not None
    with pytest.raises(AttributeError):
        fastki.data.nothing  # noqa: B018


def test_import_and_synthetic_data_need_no_pyarrow():
    code = (
        "import sys, fastki.data; assert 'numpy' not in sys.modules; "
        "fastki.data.open_dataset('synthetic:droid?episodes=1')[0]; fastki.data.gather_chunks; "
        "assert 'pyarrow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_paths_that_are_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pick_bottle").mkdir()
    with pytest.raises(DataError, match=r"pick_botle: no such file or folder: did you mean pick_bottle\?"):
        open_dataset("pick_botle")
    with pytest.raises(DataError, match=r"did you mean .*pick_bottle/sub\?"):
        open_dataset(tmp_path / "pick_botle" / "sub")
    with pytest.raises(DataError, match="no such file or folder: give a folder, a file or synthetic:droid"):
        open_dataset("zzz")
    for text in ("", "a\0b"):
        with pytest.raises(DataError, match="is no path"):
            open_dataset(text)


def test_folders_that_are_no_dataset(tmp_path, make_lerobot, some_episodes):
    (tmp_path / "empty").mkdir()
    looked_for = r"LeRobot v2\.0.*\(meta/info\.json\).*Zarr.*\.npz.*synthetic"
    with pytest.raises(DataError, match=rf"no dataset: it holds nothing that marks one\. Supported: {looked_for}"):
        open_dataset(tmp_path / "empty")
    root = make_lerobot(some_episodes)
    with pytest.raises(DataError, match="is the metadata of a LeRobot dataset: give its parent folder"):
        open_dataset(root / "meta")
    with pytest.raises(DataError, match=r"holds some \(made_v2\.1\): give one of them"):
        open_dataset(root.parent)
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"this type of file is not read\. Supported: "):
        open_dataset(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("synthetic:drood", r"did you mean synthetic:droid\?"),
        ("synthetic:droid?episode=3", "unknown parameter 'episode': use episodes, seed, size"),
        ("synthetic:droid?episodes=0", "episodes=0 must be a whole number from 1 to"),
        ("synthetic:droid?episodes=-1", "episodes=-1 must be"),
        ("synthetic:droid?seed=x", "seed=x must be"),
        ("synthetic:droid?seed=", "seed= must be"),
    ],
)
def test_bad_synthetic_names(uri, message):
    with pytest.raises(DataError, match=message):
        open_dataset(uri)


def test_synthetic_keys_are_checked():
    with pytest.raises(DataError, match="no numeric key 'actions'; there are action"):
        open_dataset("synthetic:droid", action_key="actions")
    open_dataset("synthetic:droid?episodes=2", action_key="action", state_key="observation.state")


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    assert len(open_dataset("~/a.npy")) == 1
