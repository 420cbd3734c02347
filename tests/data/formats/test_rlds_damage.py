"""Datasets that are damaged, incomplete or of two minds: one line that names the file and the mend."""

from __future__ import annotations

import json
import random
import struct
import zlib

import numpy as np
import pytest
from tfds_writer import Writer, encode_example, flatten, frame, image, label, steps, tensor, text

from fastki.data import open_dataset
from fastki.data.formats.tfds_features import read_features
from fastki.errors import DataError

SPEC = steps(
    {
        "action": tensor("float32", 2),
        "observation": {"state": tensor("float64", 3, encoding="zlib"), "image": image(4, 4, encoding="png")},
        "language_instruction": text(),
        "mode": label(),
    },
    episode_metadata={"has_image": tensor("bool")},
)
SHARDS = ("made-train.tfrecord-00000-of-00002", "made-train.tfrecord-00001-of-00002")


def episode(frames):
    rng = np.random.default_rng(frames)
    return {
        "steps": {
            "is_first": np.arange(frames) == 0,
            "is_last": np.arange(frames) == frames - 1,
            "is_terminal": np.zeros(frames, bool),
            "action": rng.normal(size=(frames, 2)),
            "observation": {
                "state": rng.normal(size=(frames, 3)),
                "image": rng.integers(0, 256, (frames, 4, 4, 3), dtype=np.uint8),
            },
            "language_instruction": ["go"] * frames,
            "mode": np.arange(frames),
        },
        "episode_metadata": {"has_image": True},
    }


@pytest.fixture
def root(tmp_path):
    """Two shards of two episodes of 3, 4, 5 and 6 frames."""
    return Writer(tmp_path, shards=2)(SPEC, train=[episode(frames) for frames in (3, 4, 5, 6)])


def read_all(dataset):
    for i in range(len(dataset)):
        one = dataset[i]
        for frames in one.images.values():
            if len(frames):
                frames[0]


def rewrite(root, change):
    """Apply ``change`` to the features of the first episode, by their names in the example."""
    features = flatten(SPEC, episode(3))
    change(features)
    rest = (root / SHARDS[0]).read_bytes()
    (length,) = struct.unpack("<Q", rest[:8])
    (root / SHARDS[0]).write_bytes(frame(encode_example(features)) + rest[length + 16 :])


def second_record(root):
    (length,) = struct.unpack("<Q", (root / SHARDS[0]).read_bytes()[:8])
    return length + 16


def test_data_that_do_not_fit_their_checksum(root):
    data = bytearray((root / SHARDS[0]).read_bytes())
    at = second_record(root)
    data[-20] ^= 1
    (root / SHARDS[0]).write_bytes(data)
    dataset = open_dataset(root)
    assert len(dataset[0]) == 3
    with pytest.raises(DataError, match=rf"00000-of-00002, record 1 \(byte {at}\) is damaged, its checksum .* fetch"):
        dataset[1]
    kept = open_dataset(root, skip_bad=True)
    assert kept.info.lengths.tolist() == [3, 5, 6]


def test_a_length_that_does_not_fit_its_checksum(root):
    data = bytearray((root / SHARDS[0]).read_bytes())
    at = second_record(root)
    data[at] ^= 1
    (root / SHARDS[0]).write_bytes(data)
    message = rf"00000-of-00002, record 1 \(byte {at}\) is damaged, the checksum of its length .*: fetch the file again"
    with pytest.raises(DataError, match=message):
        open_dataset(root)
    kept = open_dataset(root, skip_bad=True)
    assert kept.info.lengths.tolist() == [3, 5, 6]
    assert any("what follows in it is left out" in note for note in kept.info.notes)


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_truncated_shards(root, cut):
    path = root / SHARDS[1]
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(
        DataError, match=r"00001-of-00002, record 1 \(byte \d+\): the file ends within it.*fetch it again"
    ):
        open_dataset(root)
    assert open_dataset(root, skip_bad=True).info.lengths.tolist() == [3, 4, 5]


def test_shards_cut_between_records(root):
    path = root / SHARDS[0]
    path.write_bytes(path.read_bytes()[: second_record(root)])
    with pytest.raises(
        DataError, match=r"00000-of-00002 holds 1 episodes, but dataset_info\.json counts 2: .*fetch it"
    ):
        open_dataset(root)
    assert open_dataset(root, split="train[:1]+train[2:]").info.lengths.tolist() == [3, 5, 6]
    assert open_dataset(root, skip_bad=True).info.lengths.tolist() == [3, 5, 6]


def test_more_episodes_than_are_counted_is_a_note(root):
    path = root / SHARDS[1]
    path.write_bytes(path.read_bytes() + frame(encode_example(flatten(SPEC, episode(9)))))
    info = open_dataset(root).info
    assert info.lengths.tolist() == [3, 4, 5, 6]
    assert any("00001-of-00002 holds more episodes than the 2" in note for note in info.notes)


def test_missing_shards(root):
    (root / SHARDS[0]).unlink()
    with pytest.raises(DataError, match=r"00000-of-00002 is missing \(1 of 2 shards are\): fetch it.*--skip-bad"):
        open_dataset(root)
    assert open_dataset(root, split="train[50%:]").info.lengths.tolist() == [5, 6]
    kept = open_dataset(root, skip_bad=True)
    assert kept.info.lengths.tolist() == [5, 6]
    assert any("00000-of-00002 is missing" in note for note in kept.info.notes)


def test_a_shard_that_goes_missing_while_open(root):
    dataset = open_dataset(root)
    (root / SHARDS[1]).unlink()
    with pytest.raises(DataError, match=r"00001-of-00002 is missing: the dataset is incomplete; fetch it again"):
        dataset[3]


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
def test_missing_metadata(root, name):
    (root / name).unlink()
    with pytest.raises(DataError, match=rf"{name} is missing: the dataset is incomplete; fetch it again"):
        open_dataset(root)


def test_nothing_but_metadata(root):
    for name in SHARDS:
        (root / name).unlink()
    with pytest.raises(DataError, match="the files of split 'train' are not there"):
        open_dataset(root, skip_bad=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fileFormat": "array_record"}, "its shards are array_record files, of which only tfrecord is read: convert"),
        ({"splits": "train"}, "its 'splits' are no list of objects"),
        ({"splits": ["train"]}, "its 'splits' are no list of objects"),
        ({"splits": [{"shardLengths": ["1"]}]}, "its 'splits' are no list of objects with names"),
        ({"splits": [{"name": "train", "shardLengths": 4}]}, "'shardLengths' is no list of numbers"),
        ({"splits": [{"name": "train", "shardLengths": ["-1"]}]}, "'-1' is no number of shards or examples"),
        ({"splits": [{"name": "train", "numShards": 10**30}]}, "is no number of shards"),
        ({"splits": [{"name": "train", "numShards": 10**9}]}, "is no number of shards"),
        ({"splits": [{"name": "a/../../up", "shardLengths": ["1"]}]}, "leads out of the dataset's folder"),
        ({"name": "/etc/passwd"}, "leads out of the dataset's folder"),
        (
            {"splits": [{"name": "train", "shardLengths": ["1"], "filepathTemplate": "{HOME}"}]},
            r"unknown field \{HOME\}",
        ),
    ],
)
def test_damaged_dataset_info(root, change, message):
    info = json.loads((root / "dataset_info.json").read_text())
    (root / "dataset_info.json").write_text(json.dumps(info | change))
    with pytest.raises(DataError, match=rf"dataset_info\.json.*{message}"):
        open_dataset(root)


TENSOR = {"shape": {"dimensions": ["2"]}, "dtype": "float32"}


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("x", "'x' describes no feature"),
        ({"featuresDict": {"features": {"a": 3}}}, "'3' describes no feature"),
        ({"featuresDict": {"features": [1]}}, r"'\[1\]' stands where features are expected"),
        ({"sequence": {}}, "'None' describes no feature"),
        ({"type": "x.FeaturesDict", "content": "{"}, r"the content of a x\.FeaturesDict is no JSON"),
        ({"sequence": {"feature": {"tensor": {**TENSOR, "shape": 3}}}}, "'3' is no shape"),
        ({"sequence": {"feature": {"tensor": {**TENSOR, "shape": {"dimensions": ["x"]}}}}}, "'x' is no size"),
        ({"sequence": {"feature": {"tensor": {**TENSOR, "shape": [10**20]}}}}, "'10+' is no size of a shape"),
    ],
)
def test_damaged_features(root, node, message):
    (root / "features.json").write_text(json.dumps({"featuresDict": {"features": {"steps": node}}}))
    with pytest.raises(DataError, match=rf"features\.json is damaged: {message}.*fetch it again"):
        open_dataset(root)


def test_features_without_end(tmp_path):
    node = {"tensor": TENSOR}
    for _ in range(200):
        node = {"sequence": {"feature": node}}
    (tmp_path / "features.json").write_text(json.dumps(node))
    with pytest.raises(DataError, match="nests more than 32 features"):
        read_features(tmp_path / "features.json")


def test_datasets_that_are_no_episodes(tmp_path):
    root = Writer(tmp_path)({"image": image(4, 4), "label": label()}, train=[])
    with pytest.raises(DataError, match=r"features\.json describes no steps, only image, label: an RLDS dataset"):
        open_dataset(root)


def replaced(name, value):
    return lambda features: features.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("steps/action", np.arange(6)), "steps/action holds whole numbers, but features.json says float32"),
        (replaced("steps/action", [b"a"] * 6), "steps/action holds bytes, but features.json says float32"),
        (replaced("steps/action", np.ones(7, np.float32)), "steps/action has 7 values, but 3 steps of 2 need 6"),
        (replaced("steps/action", np.ones(9, np.float32)), "steps/action has 9 values, but 3 steps of 2 need 6"),
        (replaced("steps/action", []), "steps/action has 0 values, but 3 steps"),
        (lambda features: features.pop("steps/action"), "has no feature 'steps/action'"),
        (replaced("steps/observation/state", np.ones(9, np.float32)), "state holds numbers, but .* says bytes"),
        (replaced("steps/observation/state", [b"no zlib data"] * 3), r"state is damaged \(.*header.*\): fetch"),
        (replaced("steps/observation/state", [zlib.compress(bytes(24))[:-3]] * 3), "its zlib data are cut or hold"),
        (replaced("steps/observation/state", [zlib.compress(bytes(24))] * 2), "state has 2 elements for 3 steps"),
        (replaced("steps/observation/state", [zlib.compress(bytes(16))] * 3), r"elements of \[16\] bytes, not 24"),
        (
            replaced("steps/observation/state", [zlib.compress(bytes(2**20))] * 3),
            "are cut or hold more than 24 bytes",
        ),
        (replaced("steps/observation/image", [b""] * 2), "image has 2 elements for 3 steps"),
        (replaced("steps/observation/image", np.arange(3)), "image holds numbers, but features.json says bytes"),
    ],
)
def test_values_that_are_not_as_described(root, change, message):
    rewrite(root, change)
    dataset = open_dataset(root)
    with pytest.raises(DataError, match=rf"00000-of-00002, record 0 \(byte 0\).*{message}"):
        dataset[0]
    assert len(dataset[1]) == 4
    assert open_dataset(root, skip_bad=True).info.lengths.tolist() == [4, 5, 6]


def test_whole_numbers_beyond_their_type(tmp_path):
    spec = steps({"action": tensor("int8", 1)})
    made = {"is_first": np.ones(2), "is_last": np.ones(2), "is_terminal": np.ones(2), "action": np.array([[1], [200]])}
    dataset = open_dataset(Writer(tmp_path)(spec, train=[{"steps": made | {"is_first": np.array([1, 0])}}]))
    with pytest.raises(DataError, match="steps/action holds 1 to 200, too much for int8"):
        dataset[0]


def test_a_length_that_is_no_multiple(root):
    def change(features):
        for name in ("steps/is_first", "steps/is_last", "steps/is_terminal", "steps/mode"):
            del features[name]
        features["steps/action"] = np.ones(5, np.float32)

    rewrite(root, change)
    with pytest.raises(
        DataError, match=r"record 0 .*steps/action has 5 values, no multiple of 2 as features\.json says"
    ):
        open_dataset(root)
    assert open_dataset(root, skip_bad=True).info.lengths.tolist() == [4, 5, 6]


def test_another_datasets_features(root):
    rewrite(root, lambda features: features.clear())
    with pytest.raises(
        DataError, match=r"record 0 .*has no feature that features\.json names, such as 'steps/is_first'"
    ):
        open_dataset(root)


def test_pictures_that_are_damaged_are_found_when_asked_for(root):
    rewrite(root, replaced("steps/observation/image", [b"no picture"] * 3))
    frames = open_dataset(root)[0].images["observation/image"]
    with pytest.raises(DataError, match=r"record 0 \(byte 0\), steps/observation/image, frame 2 is no picture"):
        frames[2]


def test_a_camera_that_an_episode_lacks_is_left_out(root):
    rewrite(root, lambda features: features.pop("steps/observation/image"))
    assert dict(open_dataset(root)[0].images) == {}


def test_nan_names_the_step(root):
    values = np.ones(6, np.float32)
    values[3] = np.nan
    rewrite(root, replaced("steps/action", values))
    with pytest.raises(DataError, match=r"episode 0, action: nan at frame 1, dimension 1"):
        open_dataset(root)[0]


def mutated(data, rng):
    """``data`` with a few bytes flipped, a span deleted, doubled or zeroed, or the end cut off."""
    kind, at = rng.randrange(5), rng.randrange(len(data))
    size = rng.choice((1, 4, 40))
    if kind == 0:
        changed = bytearray(data)
        for _ in range(size):
            changed[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(changed)
    middle = {1: b"", 2: data[at : at + size] * 2, 3: bytes(size)}.get(kind)
    return data[:at] if middle is None else data[:at] + middle + data[at + size :]


def restructured(data, rng):
    """JSON ``data`` with one value, at whatever depth, replaced by another."""
    tree = json.loads(data)
    places = []

    def visit(node):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                visit(node[key])

    visit(tree)
    node, key = rng.choice(places)
    strange = (
        None,
        True,
        -1,
        3,
        1e400,
        10**15,
        "",
        "x",
        "../x",
        [],
        ["1", "-1"],
        {},
        {"features": 1},
        "zlib",
        "uint64",
    )
    node[key] = rng.choice(strange)
    return json.dumps(tree).encode()


def resealed(data, rng):
    """A shard whose first record is mutated inside, with checksums that fit, so that it is taken at its word."""
    (length,) = struct.unpack("<Q", data[:8])
    return frame(mutated(data[12 : length + 12], rng)) + data[length + 16 :]


@pytest.mark.parametrize(
    ("name", "mutate"),
    [
        (SHARDS[0], mutated),
        (SHARDS[1], mutated),
        (SHARDS[0], resealed),
        ("features.json", mutated),
        ("features.json", restructured),
        ("dataset_info.json", mutated),
        ("dataset_info.json", restructured),
    ],
)
def test_mutated_files_raise_nothing_but_data_errors(root, name, mutate):
    rng, path, messages = random.Random(7), root / name, []
    original = path.read_bytes()
    for _ in range(60):
        path.write_bytes(mutate(original, rng))
        try:
            read_all(open_dataset(root, skip_bad=rng.random() < 0.3))
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 5
    assert all("\n" not in message for message in messages)
    path.write_bytes(original)
    read_all(open_dataset(root))
