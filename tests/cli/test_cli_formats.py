"""Every format from the command line: looked into, fitted on, and back again."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from rlds_schemas import DROID, random_episode
from tfds_writer import Writer

LENGTHS = (9, 14, 12, 8)


def rlds(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    return Writer(folder, name="droid", shards=2)(DROID, train=[random_episode(DROID, rng, n) for n in LENGTHS])


def droid_raw(folder: Path) -> Path:
    from hdf5_makers import droid_metadata, write_droid

    for i, frames in enumerate(LENGTHS):
        write_droid(folder / "raw/success/2023-07-07" / str(i), frames, seed=i, metadata=droid_metadata())
    return folder / "raw"


def libero(folder: Path) -> Path:
    from hdf5_makers import write_libero

    return write_libero(folder / "libero/task_demo.hdf5", LENGTHS)


def robomimic(folder: Path) -> Path:
    from hdf5_makers import write_robomimic

    return write_robomimic(folder / "low_dim.hdf5", LENGTHS)


def aloha(folder: Path) -> Path:
    from hdf5_makers import write_aloha

    for i, frames in enumerate(LENGTHS):
        write_aloha(folder / f"aloha/episode_{i}.hdf5", frames, seed=i, compress="padded" if i % 2 else "")
    return folder / "aloha"


def zarr_buffer(folder: Path) -> Path:
    import zarr

    rng, frames = np.random.default_rng(0), sum(LENGTHS)
    root = zarr.open_group(folder / "buffer.zarr", mode="w", zarr_format=2)
    data, meta = root.create_group("data"), root.create_group("meta")
    arrays = {
        "action": rng.normal(size=(frames, 2)).astype(np.float32),
        "state": rng.normal(size=(frames, 5)).astype(np.float32),
        "img": rng.integers(0, 256, size=(frames, 24, 24, 3)).astype(np.float32),
    }
    for name, values in arrays.items():
        data.create_array(name, data=values, chunks=(10, *values.shape[1:]))
    meta.create_array("episode_ends", data=np.cumsum(LENGTHS))
    return folder / "buffer.zarr"


def lerobot(folder: Path) -> Path:
    from lerobot_maker import Clips, LeRobotFactory

    rng = np.random.default_rng(0)
    episodes = [{"action": rng.normal(size=(n, 3)), "observation.state": rng.normal(size=(n, 3))} for n in LENGTHS]
    return LeRobotFactory(folder, Clips())(episodes, version="v3.0", videos=("top",), embedded=("wrist",))


def npz(folder: Path) -> Path:
    actions = np.random.default_rng(0).normal(size=(sum(LENGTHS), 3))
    np.savez(folder / "frames.npz", actions=actions, state=actions, episode_ends=np.cumsum(LENGTHS))
    return folder / "frames.npz"


# Name → how it is made, the library that it needs, how `inspect` calls it, preset, cameras.
FORMATS = {
    "rlds": (rlds, None, "RLDS", "droid", 3),
    "droid_raw": (droid_raw, "h5py", "HDF5", "droid", 0),
    "libero": (libero, "h5py", "HDF5", "libero", 2),
    "robomimic": (robomimic, "h5py", "HDF5", None, 0),
    "aloha": (aloha, "h5py", "HDF5", "aloha", 2),
    "zarr": (zarr_buffer, "zarr", "Zarr", None, 1),
    "lerobot": (lerobot, "av", "LeRobot v3.0", None, 2),
    "npz": (npz, None, "NumPy", None, 0),
}


@pytest.fixture(params=FORMATS)
def made(request, tmp_path):
    make, library, *expected = FORMATS[request.param]
    if library and importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    return str(make(tmp_path)), *expected


def test_inspect_fit_and_round_trip(cli, run_json, made):
    data, kind, preset, cameras = made
    code, found = run_json("inspect", data)
    assert (code, found["lengths"], found["preset"]) == (0, list(LENGTHS), preset)
    assert kind in found["format"]
    assert len(found["cameras"]) == cameras
    assert Path("fastki-out/inspect/contact.png").exists() == (cameras > 0)
    code, fitted = run_json("fit", data, "--horizon", "4", "--bins", "20", "--vocab", "512")
    assert (code, fitted["episodes"], fitted["action_dim"]) == (0, 3, found["action_dim"])
    code, measured = run_json("roundtrip", "--atol", "1")
    assert (code, measured["part"], measured["episodes"]) == (0, "heldout", 1)


def test_the_command_that_inspect_suggests_works(cli, made):
    data, *_ = made
    command = cli("inspect", data)[1].rpartition("next: fastki ")[2].split()
    assert cli(*command, "--bins", "20")[0] == 0


def test_half_a_file_is_one_line(cli, made):
    """The largest file of each format, cut in the middle: an error that names a file, or data that still read."""
    data, *_ = made
    files = [Path(data)] if Path(data).is_file() else [path for path in Path(data).rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    code, _, err = cli("fit", data, "--horizon", "4", "--bins", "20", "--quiet")
    assert code in (0, 2)
    if code == 2:
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert Path(data).name in err
    code, _, err = cli("fit", data, "--horizon", "4", "--bins", "20", "--skip-bad", "--quiet")
    assert code in (0, 2)
    assert err.count("\n") <= 1
