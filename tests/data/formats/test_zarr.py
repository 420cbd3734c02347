from __future__ import annotations

import bz2
import gzip
import importlib
import json
import lzma
import pickle
import shutil
import struct
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fastki.data.formats import zarr_buffer
from fastki.data.formats.zarr_codecs import unpack, why_not
from fastki.data.options import OpenOptions
from fastki.data.views import without_bad
from fastki.errors import DataError

zarr = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")

ENDS = np.array([40, 47, 100])
RNG = np.random.default_rng(0)
ACTION = RNG.normal(size=(100, 2)).astype(np.float32)
STATE = RNG.normal(size=(100, 5))
IMG = RNG.integers(0, 256, size=(100, 20, 24, 3)).astype(np.float32)
PUSHT = {"action": ACTION, "state": STATE, "img": IMG, "keypoint": RNG.normal(size=(100, 9, 2))}


def open_buffer(path, *, action_key=None, state_key=None, skip_bad=False):
    options = OpenOptions(action_key=action_key, state_key=state_key, skip_bad=skip_bad)
    dataset = zarr_buffer.open_path(path, uri=str(path), options=options)
    return without_bad(dataset) if skip_bad else dataset


def write(path, version=2, arrays=PUSHT, ends=ENDS, chunk=33, **kwargs):
    """A replay buffer by zarr itself, in a folder or, by its name, an archive; chunks of ``chunk`` rows."""
    store = zarr.storage.ZipStore(path, mode="w") if path.suffix == ".zip" else zarr.storage.LocalStore(path)
    root = zarr.open_group(store, mode="w", zarr_format=version)
    data, meta = root.create_group("data"), root.create_group("meta")
    for name, values in arrays.items():
        data.create_array(name, data=values, chunks=(chunk, *values.shape[1:]), **kwargs)
    meta.create_array("episode_ends", data=ends, chunks=(max(len(ends), 1),), compressors=None)
    store.close()
    return path


def metadata(path, name, version=2):
    return path / name / {2: ".zarray", 3: "zarr.json"}[version]


def edit(path, name="data/action", version=2, **fields):
    """Change an array's metadata."""
    file = metadata(path, name, version)
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def by_hand(path, name, shape, dtype, **fields):
    """A version 2 array's metadata, written without asking zarr."""
    (path / name).mkdir(parents=True)
    document = {"zarr_format": 2, "shape": shape, "chunks": [33, *shape[1:]], "dtype": dtype, "order": "C"}
    document |= {"compressor": None, "filters": None, "fill_value": 0, **fields}
    metadata(path, name).write_text(json.dumps(document))


@pytest.fixture
def buffer(tmp_path):
    """Zarr v2, as diffusion-policy's push-T: three episodes of 40, 7 and 53 frames in chunks of 33."""
    return write(tmp_path / "pusht.zarr")


@pytest.mark.parametrize("name", ["pusht.zarr", "pusht.zarr.zip", "folder"])
@pytest.mark.parametrize("version", [2, 3])
def test_what_diffusion_policy_writes(tmp_path, version, name):
    path = write(tmp_path / name, version)
    assert zarr_buffer.claims(path)
    dataset = open_buffer(path)
    info = dataset.info
    assert info.format == f"Zarr v{version} replay buffer"
    assert (info.action_key, info.state_key, info.fps, info.notes) == ("action", "state", None, ())
    assert (info.cameras, info.missing_cameras, info.lengths.tolist()) == (("img",), (), [40, 7, 53])
    assert {key.name: (key.kind, key.shape, key.dtype) for key in info.keys} == {
        "action": ("numbers", (2,), "float32"),
        "state": ("numbers", (5,), "float64"),
        "img": ("image", (20, 24, 3), "float32"),
        "keypoint": ("numbers", (9, 2), "float64"),
    }
    for episode, rows in zip(dataset, (slice(0, 40), slice(40, 47), slice(47, 100)), strict=True):
        assert (episode.actions.dtype, episode.fps, episode.prompt) == (np.float32, None, "")
        np.testing.assert_array_equal(episode.actions, ACTION[rows])
        np.testing.assert_array_equal(episode.state, STATE[rows])
        assert len(episode.images["img"]) == len(episode)
        for frame in (0, 5, -1):
            np.testing.assert_array_equal(episode.images["img"][frame], IMG[rows][frame].astype(np.uint8))
    assert dataset.read(1, state=False).state is None


CODECS = {
    "none": None,
    "blosc lz4": numcodecs.Blosc("lz4", 5, numcodecs.Blosc.NOSHUFFLE),
    "blosc zstd bits": numcodecs.Blosc("zstd", 5, numcodecs.Blosc.BITSHUFFLE),
    "blosc zlib": numcodecs.Blosc("zlib", 1, numcodecs.Blosc.SHUFFLE),
    "zstd": numcodecs.Zstd(3),
    "zstd with check sum": numcodecs.Zstd(3, checksum=True),
    "gzip": numcodecs.GZip(5),
    "zlib": numcodecs.Zlib(5),
    "bz2": numcodecs.BZ2(5),
    "lzma": numcodecs.LZMA(),
    "lz4": numcodecs.LZ4(),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_codecs_of_version_2(tmp_path, codec, order):
    path = write(tmp_path / "a.zarr", arrays={"action": ACTION}, compressors=CODECS[codec], order=order)
    np.testing.assert_array_equal(open_buffer(path)[2].actions, ACTION[47:])


def test_a_filter_that_shuffles_bytes(tmp_path):
    numbers = {"action": ACTION.astype(np.float64)}
    path = write(tmp_path / "a.zarr", arrays=numbers, filters=[numcodecs.Shuffle(8)], compressors=numcodecs.Zlib(5))
    np.testing.assert_array_equal(open_buffer(path)[2].actions, numbers["action"][47:])


V3 = zarr.codecs
CODECS_3 = {
    "none": {"compressors": None},
    "blosc": {"compressors": V3.BloscCodec(cname="lz4", shuffle="bitshuffle")},
    "zstd and check sum": {"compressors": [V3.ZstdCodec(level=3), V3.Crc32cCodec()]},
    "gzip": {"compressors": V3.GzipCodec(level=5)},
    "big endian": {"serializer": V3.BytesCodec(endian="big")},
    "transposed": {"filters": [V3.TransposeCodec(order=(1, 0))]},
}


@pytest.mark.parametrize("codec", CODECS_3)
def test_codecs_of_version_3(tmp_path, codec):
    path = write(tmp_path / "a.zarr", 3, arrays={"action": ACTION}, **CODECS_3[codec])
    np.testing.assert_array_equal(open_buffer(path)[2].actions, ACTION[47:])


@pytest.mark.parametrize("name", ["numcodecs.lz4", "numcodecs.zlib"])
def test_codecs_of_version_3_by_the_names_of_version_2(tmp_path, name):
    path = write(tmp_path / "a.zarr", 3, arrays={"action": ACTION}, chunk=100, compressors=None)
    file = path / "data/action/c/0/0"
    file.write_bytes(numcodecs.get_codec({"id": name.removeprefix("numcodecs.")}).encode(file.read_bytes()))
    edit(path, version=3, codecs=["bytes", {"name": name, "configuration": {"level": 1}}])
    np.testing.assert_array_equal(open_buffer(path)[2].actions, ACTION[47:])


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f4", "f8", "i1", ">i2", "i8", "u1", "u4", "?"])
def test_types(tmp_path, version, dtype):
    values = (ACTION * 50).astype(dtype)
    if version == 3:
        values = values.astype(values.dtype.newbyteorder("="))
    actions = open_buffer(write(tmp_path / "a.zarr", version, arrays={"action": values}))[0].actions
    assert actions.dtype in (np.float32, np.float64)
    np.testing.assert_array_equal(actions, values[:40].astype(actions.dtype))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("separator", [".", "/"])
def test_chunks_along_all_dimensions_under_any_name(tmp_path, version, separator):
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    keys = {"name": "v2" if version == 2 else "default", "separator": separator}
    options = {"chunks": (7, 2), "chunk_key_encoding": keys}
    root.create_group("data").create_array("action", data=STATE, **options)
    root.create_group("meta").create_array("episode_ends", data=ENDS)
    dataset = open_buffer(tmp_path / "a.zarr")
    assert not dataset.info.notes
    np.testing.assert_array_equal(np.concatenate([episode.actions for episode in dataset]), STATE)


@pytest.mark.parametrize("version", [2, 3])
def test_keys_in_groups_and_single_numbers(tmp_path, version):
    root = zarr.open_group(write(tmp_path / "a.zarr", version), mode="a")
    arms = root["data"].create_group("arms")
    arms.create_array("left", data=ACTION[:, 0], chunks=(10,))
    arms.create_array("right", data=ACTION, chunks=(10, 2))
    dataset = open_buffer(tmp_path / "a.zarr", action_key="arms/right,arms/left", state_key="action")
    assert dataset.info.action_names[-1] == "arms/left[0]"
    np.testing.assert_array_equal(dataset[2].actions, np.c_[ACTION, ACTION[:, 0]][47:])
    np.testing.assert_array_equal(dataset[2].state, ACTION[47:])


@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [
        ((96, 96, 3), "u1", "image"),
        ((3, 96, 128), "u1", "image"),
        ((64, 64, 1), "f4", "image"),
        ((96, 96, 3), "f2", "image"),
        ((96, 96, 4), "u1", "numbers"),
        ((96, 96), "u2", "numbers"),
        ((3, 4, 4), "f4", "numbers"),
        ((1024, 3), "f4", "numbers"),
    ],
)
def test_what_counts_as_a_camera(tmp_path, shape, dtype, kind):
    values = np.ones((2, *shape), dtype)
    path = write(tmp_path / "a.zarr", arrays={"action": ACTION[:2], "x": values}, ends=np.array([2]), chunk=1)
    dataset = open_buffer(path)
    assert {key.name: key.kind for key in dataset.info.keys} == {"action": "numbers", "x": kind}
    if kind == "image":
        assert dataset[0].images["x"][1].shape[2] == 3


def test_several_candidates_are_listed(tmp_path):
    names = ("robot0_eef_pos", "robot0_eef_rot_axis_angle", "robot0_gripper_width")
    path = write(tmp_path / "umi.zarr.zip", arrays=dict.fromkeys(names, ACTION))
    with pytest.raises(DataError, match=r"several keys could be the actions \(robot0_eef_pos, .*--action-key"):
        open_buffer(path)
    assert open_buffer(path, action_key=",".join(names)).info.action_dim == 6


def test_cameras_in_a_codec_that_is_not_read(buffer):
    by_hand(buffer, "data/camera0_rgb", [100, 224, 224, 3], "|u1", compressor={"id": "imagecodecs_jpegxl", "level": 99})
    info = open_buffer(buffer).info
    assert (info.cameras, info.missing_cameras) == (("img",), ("camera0_rgb",))
    assert info.notes == ("camera0_rgb is not read: codec 'imagecodecs_jpegxl' is not read",)
    assert {key.name: key.kind for key in info.keys}["camera0_rgb"] == "other"


def test_actions_in_a_codec_that_is_not_read(buffer):
    edit(buffer, filters=[{"id": "fixedscaleoffset", "scale": 10, "offset": 0, "dtype": "<f4"}])
    edit(buffer, "data/state", compressor={"id": "zfpy"})
    with pytest.raises(DataError, match=r"no numbers.*\(action is not read: codec 'fixedscaleoffset'.*; state is"):
        open_buffer(buffer)
    sharded = write(buffer.with_name("b.zarr"), 3, arrays={"action": ACTION}, shards=(66, 2))
    with pytest.raises(DataError, match="action is not read: codec 'sharding_indexed' is not read"):
        open_buffer(sharded)


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("consolidated", [False, True])
def test_no_pickle_is_ever_loaded(buffer, tmp_path, consolidated):
    trap = {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}], "chunks": [100], "shape": [100]}
    if consolidated:
        document = {"zarr_format": 2, "fill_value": None, "order": "C", "compressor": None, **trap}
        names = ("data/action", "meta/episode_ends")
        everything = {f"{name}/.zarray": document for name in names} | {".zgroup": {"zarr_format": 2}}
        (buffer / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": everything}))
        open_buffer(buffer)[0]
    else:
        by_hand(buffer, "data/prompt", [100], "|O", filters=trap["filters"])
        bomb = np.array([Trap(tmp_path / "sprung")] * 100, dtype=object)
        for name in ("prompt", "action"):
            (buffer / "data" / name / "0").write_bytes(pickle.dumps(bomb))
        info = open_buffer(buffer).info
        assert info.notes == ("prompt is not read: its values are of type '|O', not numbers",)
        edit(buffer, "data/action", **trap)
        with pytest.raises(DataError, match="action is not read: its values are of type"):
            open_buffer(buffer, action_key="action")
        edit(buffer, "meta/episode_ends", **trap)
        with pytest.raises(DataError, match="must be whole numbers"):
            open_buffer(buffer)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("version", [2, 3])
def test_only_the_chunks_of_the_episode_are_read(tmp_path, version):
    path = write(tmp_path / "a.zarr", version)
    separator, prefix = ("/", "c/") if version == 3 else (".", "")
    (path / f"data/action/{prefix}3{separator}0").write_bytes(b"damaged")
    (path / f"data/state/{prefix}0{separator}0").write_bytes(b"damaged")
    dataset = open_buffer(path)
    assert len(dataset.read(0, state=False)) == 40
    assert len(dataset[1]) == 7
    for index in (0, 2):
        with pytest.raises(DataError, match=r"data/(action|state)/.* is damaged .*fetch it again"):
            dataset[index]
    assert [len(episode) for episode in open_buffer(path, skip_bad=True)] == [7]


def test_a_frame_needs_its_chunk_alone(buffer):
    frames = open_buffer(buffer)[2].images["img"]
    (buffer / "data/img/1.0.0.0").write_bytes(b"damaged")
    assert frames[30].shape == (20, 24, 3)
    with pytest.raises(DataError, match=r"img/1\.0\.0\.0 is damaged"):
        frames[0]


def test_absent_chunks(buffer):
    (buffer / "data/action/1.0").unlink()
    dataset = open_buffer(buffer)
    assert dataset.info.notes[0].startswith("1 of the 4 chunks of data/action are absent and count as 0.0: fetch")
    np.testing.assert_array_equal(dataset[0].actions, np.r_[ACTION[:33], np.zeros((7, 2))])
    edit(buffer, fill_value=None)
    with pytest.raises(DataError, match=r"action/1\.0 is missing: the dataset is incomplete"):
        open_buffer(buffer)[0]
    for file in (buffer / "data/action").glob("*.0"):
        file.unlink()
    with pytest.raises(DataError, match="4 of its 4 chunks are absent: fetch the dataset again"):
        open_buffer(buffer)


@pytest.mark.parametrize("fill", [1.5, "Infinity", "0x7f800000", 3])
def test_fill_values(tmp_path, fill):
    path = write(tmp_path / "a.zarr", 3, arrays={"action": ACTION, "state": ACTION})
    (path / "data/state/c/0/0").unlink()
    edit(path, "data/state", 3, fill_value=fill)
    dataset = open_buffer(path)
    if isinstance(fill, str):
        with pytest.raises(DataError, match="inf at frame 0"):
            dataset[0]
    else:
        assert dataset[0].state[:33].tolist() == [[fill, fill]] * 33


def test_cameras_that_were_not_fetched(buffer):
    for file in (buffer / "data/img").glob("*.0"):
        file.unlink()
    info = open_buffer(buffer).info
    assert (info.cameras, info.missing_cameras) == ((), ("img",))
    assert info.notes == ("the images of img are absent: actions only",)


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ([40, 40, 100], "must rise from above 0"),
        ([50, 40, 100], "must rise from above 0"),
        ([0, 40, 100], "must rise from above 0"),
        ([-1, 40, 100], "must rise from above 0"),
        ([2**62, -(2**63) + 1, 100], "must rise from above 0"),
        ([40, 101], r"data/action has 100 rows, but an episode ends at 101: fetch"),
        ([2**63 - 1], r"data/action has 100 rows"),
        ([], "is empty: the dataset holds no episodes"),
        ([40.0, 100.0], "must be whole numbers"),
        ([[40, 100]], "must be whole numbers"),
    ],
)
def test_ends_that_do_not_fit(tmp_path, ends, message):
    values = np.array(ends, dtype=None if ends else np.int64)
    path = write(tmp_path / "a.zarr")
    shutil.rmtree(path / "meta/episode_ends")
    zarr.open_group(path, mode="a")["meta"].create_array("episode_ends", data=values)
    with pytest.raises(DataError, match=message):
        open_buffer(path)


def test_rows_that_belong_to_no_episode_or_are_not_there(tmp_path):
    path = write(tmp_path / "a.zarr", ends=np.array([40, 90]))
    assert open_buffer(path).info.notes[0] == "the last 10 of the 100 rows of data/action belong to no episode"
    short = write(tmp_path / "b.zarr", ends=np.array([40, 120]))
    assert [len(episode) for episode in open_buffer(short, skip_bad=True)] == [40]


def test_hierarchies_that_are_no_replay_buffer(buffer, tmp_path):
    for inside in ("data", "meta"):
        with pytest.raises(DataError, match=r"no replay buffer, .* has no meta/episode_ends: give its parent folder"):
            open_buffer(buffer / inside)
    shutil.rmtree(buffer / "meta")
    with pytest.raises(DataError, match=r"pusht\.zarr is Zarr, but no replay buffer"):
        open_buffer(buffer)
    (tmp_path / "empty.zarr").mkdir()
    assert zarr_buffer.claims(tmp_path / "empty.zarr")
    with pytest.raises(DataError, match="no replay buffer"):
        open_buffer(tmp_path / "empty.zarr")
    shutil.rmtree(write(tmp_path / "c.zarr") / "data")
    with pytest.raises(DataError, match="no numbers that could be actions"):
        open_buffer(tmp_path / "c.zarr")
    for nothing in (tmp_path, tmp_path / "nothing", tmp_path / "a.zarr.zip"):
        assert not zarr_buffer.claims(nothing)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": [100, -2]}, "is no shape"),
        ({"shape": "many"}, "is no shape"),
        ({"shape": [100.0, 2]}, "is no shape"),
        ({"shape": [2**40, 2]}, "is no shape"),
        ({"shape": [1] * 9}, "is no shape"),
        ({"chunks": [33]}, "chunks of"),
        ({"chunks": [0, 2]}, "chunks of"),
        ({"chunks": [2**30, 2]}, "refused as larger than 1 GiB"),
        ({"dtype": "<f9"}, "unknown type '<f9'"),
        ({"order": "X"}, "order 'X'"),
        ({"dimension_separator": "/../"}, "dimension_separator"),
        ({"compressor": "blosc"}, "is no codec"),
        ({"fill_value": "much"}, "fill_value 'much'"),
        ({"fill_value": [1]}, "fill_value"),
        ({"fill_value": 10**400}, "fill_value"),
        ({"chunks": [1, 1], "shape": [2**30, 2]}, "too many: store it in larger ones"),
    ],
)
def test_metadata_that_promise_nonsense(buffer, fields, message):
    edit(buffer, **fields)
    with pytest.raises(DataError, match=message):
        open_buffer(buffer)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"codecs": []}, "no codec 'bytes'"),
        ({"codecs": "bytes"}, "codecs 'bytes'"),
        ({"codecs": [{"name": "transpose", "configuration": {"order": [0, 0]}}, "bytes"]}, "no order of 2 dimensions"),
        ({"codecs": [{"name": "bytes", "configuration": {"endian": "middle"}}]}, "of no known order"),
        ({"codecs": [3]}, "has no name"),
        ({"chunk_grid": {"name": "rectilinear"}}, "laid out in a way that is not read"),
        ({"storage_transformers": [{"name": "x"}]}, "laid out in a way that is not read"),
        ({"data_type": "string"}, "type 'string', not numbers"),
        ({"data_type": {"name": "numpy.datetime64"}}, "not numbers"),
    ],
)
def test_metadata_of_version_3_that_promise_nonsense(tmp_path, fields, message):
    path = write(tmp_path / "a.zarr", 3, arrays={"action": ACTION})
    edit(path, version=3, **fields)
    with pytest.raises(DataError, match=message):
        open_buffer(path)


def test_claims_beyond_what_is_stored_are_refused_at_once(buffer):
    started = time.monotonic()
    edit(buffer, shape=[2**39, 2], chunks=[2**24, 2])
    with pytest.raises(DataError, match="of its 32768 chunks are absent"):
        open_buffer(buffer)
    edit(buffer, "meta/episode_ends", shape=[2**38], chunks=[2**20])
    with pytest.raises(DataError, match="refused as too large"):
        open_buffer(buffer)
    assert time.monotonic() - started < 2


ZEROS = bytes(2**26)
BOMBS = {
    "zlib": zlib.compress(ZEROS),
    "gzip": gzip.compress(ZEROS),
    "bz2": bz2.compress(ZEROS),
    "lzma": lzma.compress(ZEROS),
    "zstd": pa.compress(ZEROS, codec="zstd", asbytes=True),
    "lz4": struct.pack("<I", len(ZEROS)) + pa.compress(ZEROS, codec="lz4_raw", asbytes=True),
    "blosc": numcodecs.Blosc("zstd").encode(ZEROS),
}


@pytest.mark.parametrize("codec", BOMBS)
def test_a_little_that_unpacks_to_much_is_refused(codec):
    assert unpack(BOMBS[codec], ((codec, {}),), len(ZEROS), where="x") == ZEROS
    with pytest.raises(DataError, match="x is damaged"):
        unpack(BOMBS[codec], ((codec, {}),), 1000, where="x")
    with pytest.raises(DataError, match="x is damaged"):
        unpack(BOMBS[codec][:-9], ((codec, {}),), len(ZEROS), where="x")


def test_codecs_with_settings_that_are_not_read():
    assert "headers" in why_not("lzma", {"format": 3})
    assert "elements of 0 bytes" in why_not("shuffle", {"elementsize": 0})
    assert why_not("delta", {}) == "codec 'delta' is not read"
    assert why_not("blosc", {}) == ""


def test_blosc_without_its_library(buffer, monkeypatch):
    def fail(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(DataError, match=r"packed by Blosc needs numcodecs: `pip install 'fastki\[zarr\]'`"):
        open_buffer(buffer)[0]


def test_fingerprints(tmp_path):
    first = write(tmp_path / "a.zarr")
    prints = [open_buffer(first).info.fingerprint, open_buffer(shutil.copytree(first, tmp_path / "b")).info.fingerprint]
    assert prints[0] == prints[1]
    other = {**PUSHT, "action": ACTION + np.float32(1)}
    archive = write(tmp_path / "d.zarr.zip")
    prints += [open_buffer(write(tmp_path / "c.zarr", arrays=other)).info.fingerprint]
    prints += [open_buffer(path).info.fingerprint for path in (archive, write(tmp_path / "e.zarr.zip", arrays=other))]
    prints += [open_buffer(first, action_key="state").info.fingerprint]
    assert len(set(prints)) == 5
    assert open_buffer(Path(shutil.copy(archive, tmp_path / "f.zarr.zip"))).info.fingerprint == prints[3]


def test_archives_that_are_packed_encrypted_or_damaged(tmp_path):
    plain = write(tmp_path / "a.zarr.zip")
    for method, message in ((zipfile.ZIP_DEFLATED, None), (zipfile.ZIP_BZIP2, "pack it anew")):
        again = tmp_path / f"{method}.zarr.zip"
        with zipfile.ZipFile(plain) as source, zipfile.ZipFile(again, "w", method) as target:
            for name in source.namelist():
                target.writestr(name, source.read(name))
        if message is None:
            np.testing.assert_array_equal(open_buffer(again)[2].actions, ACTION[47:])
        else:
            with pytest.raises(DataError, match=message):
                open_buffer(again)
    plain.write_bytes(plain.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"a\.zarr\.zip is damaged or no zip archive"):
        open_buffer(plain)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """``data`` with some bytes flipped, cut off, left out, or put in."""
    at = int(rng.integers(len(data) + 1))
    span = int(rng.integers(1, 9))
    match rng.integers(4):
        case 0:
            values = bytearray(data)
            for position in rng.integers(len(data), size=span) if data else ():
                values[position] ^= 1 << int(rng.integers(8))
            return bytes(values)
        case 1:
            return data[:at]
        case 2:
            return data[:at] + data[at + span :]
        case _:
            return data[:at] + rng.bytes(span) + data[at:]


def read_everything(path: Path) -> int:
    """How many episodes could be read; a DataError is the one error that may come."""
    read = 0
    try:
        dataset = open_buffer(path)
    except DataError:
        return 0
    for index in range(len(dataset)):
        try:
            episode = dataset[index]
            for frames in episode.images.values():
                frames[len(frames) // 2]
            read += 1
        except DataError:
            continue
    return read


@pytest.mark.parametrize("kind", ["v2", "v3", "zip", "codecs"])
def test_damage_of_any_kind_is_a_data_error(tmp_path, kind):
    rng = np.random.default_rng(5)
    path = tmp_path / ("a.zarr.zip" if kind == "zip" else "a.zarr")
    arrays = {"action": ACTION, "img": IMG[:, :16, :16].astype(np.uint8)}
    if kind == "codecs":
        arrays = {"action": ACTION}
        write(path, 2, arrays=arrays)
        for name, codec in CODECS.items():
            if codec is not None:
                by_hand(path, f"data/{name}", [100, 2], "<f4", compressor=codec.get_config(), chunks=[100, 2])
                (path / f"data/{name}/0.0").write_bytes(codec.encode(ACTION))
    else:
        write(path, 3 if kind == "v3" else 2, arrays=arrays)
    files = [path] if kind == "zip" else sorted(file for file in path.rglob("*") if file.is_file())
    whole = {file: file.read_bytes() for file in files}
    outcomes = set()
    for _ in range(100):
        file = files[rng.integers(len(files))]
        file.write_bytes(mutated(whole[file], rng))
        if kind == "codecs" and file.name == "0.0" and file.parent.name in CODECS:
            try:
                open_buffer(path, action_key=file.parent.name)[0]
            except DataError:
                outcomes.add(-1)
        else:
            outcomes.add(read_everything(path))
        file.write_bytes(whole[file])
    assert read_everything(path) == 3
    assert len(outcomes) > 1
