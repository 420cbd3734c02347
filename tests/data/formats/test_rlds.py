from __future__ import annotations

import contextlib
import re
import shutil
import tracemalloc

import numpy as np
import pytest
from rlds_schemas import DROID, flags, random_value
from tfds_writer import Writer, image, label, sequence, steps, tensor, text

from fastki.data import open_dataset
from fastki.data.episode import held_bytes
from fastki.data.select import Key
from fastki.errors import DataError, UsageError

PLAIN = steps(
    {
        "action": tensor("float32", 3),
        "observation": {
            "state": tensor("float32", 4),
            "image": image(6, 8, encoding="png"),
            "mode": label(),
            "depth": image(6, 8, encoding="png", dtype="uint16"),
        },
        "language_instruction": text(),
        "reward": tensor("float32"),
    },
    episode_metadata={"file_path": text()},
)
LENGTHS = (5, 3, 8, 1, 6)


def plain_episode(rng, frames):
    pixels = rng.integers(0, 256, (frames, 6, 8, 3), dtype=np.uint8)
    return {
        "steps": {
            **flags(frames),
            "action": rng.normal(size=(frames, 3)).astype(np.float32),
            "observation": {
                "state": rng.normal(size=(frames, 4)).astype(np.float32),
                "image": pixels,
                "mode": rng.integers(0, 9, frames),
                "depth": [b"no picture"] * frames,
            },
            "language_instruction": [f"pick {frames}"] * frames,
            "reward": np.zeros(frames, dtype=np.float32),
        },
        "episode_metadata": {"file_path": "somewhere"},
    }


@pytest.fixture
def plain():
    """Episodes of ``PLAIN``."""
    rng = np.random.default_rng(0)
    return [plain_episode(rng, frames) for frames in LENGTHS]


@pytest.fixture
def make(tmp_path, plain):
    """Writes ``plain`` to a folder, such as ``make(shards=2)``."""

    def write(**options):
        return Writer(tmp_path, **options)(PLAIN, train=plain)

    return write


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("old_json", [True, False])
@pytest.mark.parametrize("shards", [1, 3])
def test_reads_what_was_written(make, plain, packed, old_json, shards):
    dataset = open_dataset(make(packed=packed, old_json=old_json, shards=shards))
    info = dataset.info
    assert (info.format, info.fps, info.robot) == ("RLDS (TFDS 1.0.0)", None, None)
    assert (info.action_key, info.state_key) == ("action", "observation/state")
    assert (info.action_dim, info.state_dim) == (3, 4)
    assert info.cameras == ("observation/image",)
    assert info.lengths.tolist() == list(LENGTHS)
    for i in (2, 0, 4, 3, 1):
        written = plain[i]["steps"]
        episode = dataset[i]
        assert (episode.index, episode.prompt, episode.actions.dtype) == (i, f"pick {LENGTHS[i]}", np.float32)
        np.testing.assert_array_equal(episode.actions, written["action"])
        np.testing.assert_array_equal(episode.state, written["observation"]["state"])
        frames = episode.images["observation/image"]
        assert len(frames) == LENGTHS[i]
        np.testing.assert_array_equal(np.stack(list(frames)), written["observation"]["image"])
    assert dataset.read(1, state=False).state is None


def test_keys_tell_kind_shape_and_dtype(make):
    assert open_dataset(make()).info.keys == (
        Key("action", "numbers", (3,), "float32"),
        Key("observation/state", "numbers", (4,), "float32"),
        Key("observation/image", "image", (6, 8, 3), "uint8"),
        Key("observation/mode", "numbers", (), "int64"),
        Key("observation/depth", "other", (6, 8, 3), "uint16"),
        Key("language_instruction", "text", (), "string"),
        Key("reward", "numbers", (), "float32"),
    )


def test_droid_to_the_letter(tmp_path):
    rng = np.random.default_rng(1)
    inner = DROID["steps"].inner
    episodes = []
    for frames in (4, 3):
        made = random_value(inner, rng, frames) | flags(frames)
        made["language_instruction"] = ["", " "] + [""] * (frames - 2)
        made["language_instruction_2"] = ["Put the marker in the möbius bowl"] * frames
        episodes.append({"steps": made, "episode_metadata": {"file_path": "a", "recording_folderpath": "b"}})
    root = Writer(tmp_path, name="r2d2_faceblur")(DROID, train=episodes)
    dataset = open_dataset(root)
    info = dataset.info
    assert (info.preset, info.fps, info.grippers) == ("droid", 15.0, (7,))
    assert info.action_key == "action_dict/joint_velocity,action_dict/gripper_position"
    assert info.state_key == "observation/joint_position,observation/gripper_position"
    assert (info.action_dim, info.state_dim, info.lengths.tolist()) == (8, 8, [4, 3])
    assert any("15 Hz" in note and "--robot droid" in note for note in info.notes)
    assert info.slots == {
        "base_0_rgb": "observation/exterior_image_1_left",
        "left_wrist_0_rgb": "observation/wrist_image_left",
        "right_wrist_0_rgb": None,
    }
    for i, made in enumerate(episode["steps"] for episode in episodes):
        episode = dataset[i]
        assert episode.actions.dtype == np.float64
        commanded = made["action_dict"]
        joined = np.concatenate([commanded["joint_velocity"], commanded["gripper_position"]], axis=1)
        np.testing.assert_array_equal(episode.actions, joined)
        seen = made["observation"]
        joined = np.concatenate([seen["joint_position"], seen["gripper_position"]], axis=1)
        np.testing.assert_array_equal(episode.state, joined)
        assert episode.prompt == "Put the marker in the möbius bowl"
        picture = episode.images["observation/wrist_image_left"][2]
        assert (picture.shape, picture.dtype) == ((180, 320, 3), np.uint8)
        assert np.abs(picture.astype(int) - seen["wrist_image_left"][2]).mean() < 4  # JPEG is not exact.
    assert len(info.cameras) == 3
    assert set(dataset[0].images) == set(info.cameras)


def test_action_keys_of_any_depth_are_joined_in_order(tmp_path):
    rng = np.random.default_rng(2)
    made = random_value(DROID["steps"].inner, rng, 5) | flags(5)
    episode = {"steps": made, "episode_metadata": {"file_path": "a", "recording_folderpath": "b"}}
    root = Writer(tmp_path)(DROID, train=[episode])
    keys = "action_dict/gripper_position,action_dict/cartesian_position"
    dataset = open_dataset(root, action_key=keys, state_key="observation/cartesian_position")
    assert dataset.info.action_names[:2] == ("action_dict/gripper_position[0]", "action_dict/cartesian_position[0]")
    parts = [made["action_dict"][name] for name in ("gripper_position", "cartesian_position")]
    np.testing.assert_array_equal(dataset[0].actions, np.concatenate(parts, axis=1))
    np.testing.assert_array_equal(dataset[0].state, made["observation"]["cartesian_position"])
    with pytest.raises(DataError, match=r"no numeric key 'language_instruction'; there are action, .*--action-key KEY"):
        open_dataset(root, action_key="language_instruction")


# Robotics Transformer 1's kitchen data of Open X-Embodiment, as the TFDS catalogue describes fractal20220817_data.
FRACTAL = {
    "aspects": {
        name: tensor("bool") for name in ("already_success", "feasible", "has_aspects", "success", "undesirable")
    },
    "attributes": {
        f"{name}{suffix}": tensor("string" if suffix else "int64")
        for name in ("collection_mode", "data_type", "env", "location", "objects_family", "task_family")
        for suffix in ("", "_name")
    },
    **steps(
        {
            "action": {
                "base_displacement_vector": tensor("float32", 2),
                "base_displacement_vertical_rotation": tensor("float32", 1),
                "gripper_closedness_action": tensor("float32", 1),
                "rotation_delta": tensor("float32", 3),
                "terminate_episode": tensor("int32", 3),
                "world_vector": tensor("float32", 3),
            },
            "observation": {
                "base_pose_tool_reached": tensor("float32", 7),
                "gripper_closed": tensor("float32", 1),
                "gripper_closedness_commanded": tensor("float32", 1),
                "height_to_bottom": tensor("float32", 1),
                "image": image(256, 320),
                "natural_language_embedding": tensor("float32", 512),
                "natural_language_instruction": tensor("string"),
                "orientation_box": tensor("float32", 2, 3),
                "orientation_start": tensor("float32", 4),
                "robot_orientation_positions_box": tensor("float32", 3, 3),
                "rotation_delta_to_go": tensor("float32", 3),
                "src_rotation": tensor("float32", 4),
                "vector_to_go": tensor("float32", 3),
                "workspace_bounds": tensor("float32", 3, 3),
            },
            "reward": tensor("float32"),
        }
    ),
}


def test_open_x_embodiment_to_the_letter(tmp_path):
    made = random_value(FRACTAL["steps"].inner, np.random.default_rng(3), 4) | flags(4)
    made["action"]["terminate_episode"] = np.array([[0, 1, 0], [-1, -(2**31), 2**31 - 1], [300, -300, 7], [1, 0, 0]])
    episode = {
        "steps": made,
        "aspects": dict.fromkeys(FRACTAL["aspects"], True),
        "attributes": {name: "x" if name.endswith("_name") else 3 for name in FRACTAL["attributes"]},
    }
    root = Writer(tmp_path, name="fractal20220817_data", version="0.1.0")(FRACTAL, train=[episode])
    with pytest.raises(DataError, match=r"several keys could be the actions \(action/base_displacement_vector, .*"):
        open_dataset(root)
    keys = ("world_vector", "rotation_delta", "gripper_closedness_action", "terminate_episode")
    dataset = open_dataset(root, action_key=",".join(f"action/{key}" for key in keys))
    episode = dataset[0]
    assert (dataset.info.action_dim, episode.actions.dtype) == (10, np.float64)
    np.testing.assert_array_equal(episode.actions, np.concatenate([made["action"][key] for key in keys], axis=1))
    assert episode.prompt == "do it"
    assert episode.images["observation/image"][-1].shape == (256, 320, 3)


@pytest.mark.parametrize("encoding", ["none", "bytes", "zlib"])
@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float64", [1 / 3, -2.5e10]),
        ("float32", [0.1, -7.0]),
        ("float16", [0.5, -3.25]),
        ("int64", [2**62, -(2**63)]),
        ("int32", [-1, 2**31 - 1]),
        ("int8", [-128, 127]),
        ("uint8", [0, 255]),
        ("uint64", [2**64 - 1, 1]),
        ("bool", [True, False]),
    ],
)
def test_every_type_in_every_encoding(tmp_path, dtype, values, encoding):
    array = np.array([values, values[::-1], values], dtype=dtype)
    expected = array.astype(np.float32) if encoding == "none" and array.dtype.kind == "f" else array
    spec = steps({"action": tensor(dtype, 2, encoding=encoding)})
    root = Writer(tmp_path)(spec, train=[{"steps": {"action": array, **flags(3)}}])
    actions = open_dataset(root)[0].actions
    np.testing.assert_array_equal(actions, expected.astype(np.float64))
    assert actions.dtype == (np.float64 if array.dtype.itemsize > 4 or dtype == "int32" else np.float32)


def test_pictures_that_are_packed_tensors(tmp_path):
    pixels = np.random.default_rng(4).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    spec = steps({"action": tensor("float32", 1), "rgb": tensor("uint8", 5, 4, 3, encoding="zlib")})
    episode = {"steps": {"action": np.ones((3, 1), np.float32), "rgb": pixels, **flags(3)}}
    dataset = open_dataset(Writer(tmp_path)(spec, train=[episode]))
    assert dataset.info.cameras == ("rgb",)
    np.testing.assert_array_equal(np.stack(list(dataset[0].images["rgb"])), pixels)


def test_a_width_left_open_is_that_of_the_data(tmp_path):
    spec = steps({"action": tensor("float32", None), "packed": tensor("float32", None, encoding="zlib")})

    def episode(frames, width):
        array = np.ones((frames, width), np.float32)
        return {"steps": {"action": array, "packed": array * 2, **flags(frames)}}

    root = Writer(tmp_path)(spec, train=[episode(0, 5), episode(4, 5), episode(3, 5), episode(2, 6)])
    dataset = open_dataset(root, state_key="packed")
    assert (dataset.info.action_dim, dataset.info.state_dim) == (5, 5)
    assert [dataset[i].actions.shape for i in range(3)] == [(0, 5), (4, 5), (3, 5)]
    assert dataset[2].state.tolist() == [[2.0] * 5] * 3
    with pytest.raises(DataError, match="episode 3 has 6 action dimensions, but the dataset has 5"):
        dataset[3]


def test_ragged_and_unknown_features_are_listed_and_let_be(tmp_path):
    spec = steps(
        {"action": tensor("float32", 2), "points": sequence(tensor("float32", 2)), "grid": tensor("int8", None, None)},
    )
    spec["steps"].inner["sound"] = tensor("complex64", 7)
    made = {"action": np.ones((2, 2), np.float32), "points": [np.ones((3, 2)), np.ones((1, 2))], **flags(2)}
    root = Writer(tmp_path)(spec, train=[{"steps": {**made, "grid": [1, 2], "sound": np.ones(2)}}])
    info = open_dataset(root).info
    assert {key.name: key.kind for key in info.keys if key.name != "action"} == {
        "points": "other",
        "grid": "other",
        "sound": "other",
    }


def test_sequences_that_are_not_called_steps(tmp_path):
    spec = {"action": sequence(tensor("float32", 2)), "id": tensor("int64"), "view": sequence(image(4, 4))}
    episode = {"action": np.ones((3, 2), np.float32), "id": 4, "view": np.zeros((3, 4, 4, 3), np.uint8)}
    dataset = open_dataset(Writer(tmp_path)(spec, train=[episode]))
    assert [key.name for key in dataset.info.keys] == ["action", "view"]
    assert dataset[0].actions.shape == (3, 2)
    assert dataset[0].images["view"][0].shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("language_instruction", ["", "  stack the cups "]),
        ("natural_language_instruction", ["stack the cups"] * 2),
        ("observation/natural_language_instruction", ["stack the cups"] * 2),
        ("language", ["stack the cups"] * 2),
        ("episode_metadata/language_instruction", "stack the cups"),
        ("observation/instruction", None),  # As in Language-Table.
        ("nowhere", None),
    ],
)
def test_where_the_prompt_may_be(tmp_path, where, value):
    inner = {"action": tensor("float32", 1), "observation": {"x": tensor("float32", 1)}}
    made = {"action": np.ones((2, 1), np.float32), "observation": {"x": np.ones((2, 1), np.float32)}, **flags(2)}
    metadata, meta_spec = {"file": "f"}, {"file": text()}
    group, _, leaf = where.rpartition("/")
    spec, target = {"": (inner, made), "observation": (inner["observation"], made["observation"])}.get(
        group, (meta_spec, metadata)
    )
    if leaf == "instruction":
        codes = np.zeros((2, 32), np.int64)
        codes[:, :14] = list(b"stack the cups")
        spec[leaf], target[leaf] = tensor("int32", 32), codes
    elif value is not None:
        spec[leaf], target[leaf] = text(), value
    spec = steps(inner, episode_metadata=meta_spec)
    root = Writer(tmp_path)(spec, train=[{"steps": made, "episode_metadata": metadata}])
    assert open_dataset(root)[0].prompt == ("" if where == "nowhere" else "stack the cups")


def test_a_number_of_a_task_is_no_prompt(tmp_path):
    spec = steps({"action": tensor("float32", 1), "instruction": label()})
    made = {"action": np.ones((2, 1), np.float32), "instruction": np.array([65, 65]), **flags(2)}
    assert open_dataset(Writer(tmp_path)(spec, train=[{"steps": made}]))[0].prompt == ""


def test_cameras_that_an_episode_denies(tmp_path):
    names = ("image_0", "image_1", "image_2")
    spec = steps(
        {"action": tensor("float32", 1), "observation": {name: image(4, 4, encoding="png") for name in names}},
        episode_metadata={f"has_{name}": tensor("bool") for name in names},
    )
    rng = np.random.default_rng(5)
    live, dark = rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8), np.zeros((3, 4, 4, 3), np.uint8)

    def episode(pixels, has):
        made = {"action": np.ones((3, 1), np.float32), "observation": dict(zip(names, pixels, strict=True)), **flags(3)}
        return {"steps": made, "episode_metadata": {f"has_{n}": h for n, h in zip(names, has, strict=True)}}

    pixels = (live, live, dark)
    cases = ((True, True, True), (True, False, False), (False, True, False), (False, False, False))
    root = Writer(tmp_path)(spec, train=[episode(pixels, has) for has in cases])
    dataset = open_dataset(root)
    assert dataset.info.cameras == tuple(f"observation/{name}" for name in names)
    assert any("episode_metadata/has_image_0" in note for note in dataset.info.notes)
    shown = [[camera[-1] for camera in dataset[i].images] for i in range(4)]
    assert shown == [["0", "1", "2"], ["0"], ["1"], ["0", "1"]]  # The last denies all: only what never changes goes.


def test_the_usual_folders_open(make):
    root = make()
    wanted = open_dataset(root).info
    for folder in (root.parent, root.parent.parent):
        info = open_dataset(folder).info
        assert (info.fingerprint, info.action_key) == (wanted.fingerprint, wanted.action_key)
    with pytest.raises(DataError, match=r"is one file of a TFDS dataset: give its folder .*1\.0\.0"):
        open_dataset(root / "made-train.tfrecord-00000-of-00001")


def test_the_newest_of_several_versions_is_read(tmp_path, plain):
    for version in ("1.9.0", "1.10.0"):
        root = Writer(tmp_path, version=version)(PLAIN, train=plain)
    assert open_dataset(root.parent).info.format == "RLDS (TFDS 1.10.0)"


def test_several_datasets_in_a_folder_are_listed(tmp_path, plain):
    for name in ("one", "two"):
        Writer(tmp_path, name=name)(PLAIN, train=plain)
    with pytest.raises(DataError, match=r"is no dataset itself but holds some \(one, two\): give one of them"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    "template",
    [None, "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}", "{SPLIT}/part.{FILEFORMAT}-{SHARD_X_OF_Y}"],
)
def test_shards_of_any_name(make, template):
    assert open_dataset(make(template=template, shards=2)).info.lengths.tolist() == list(LENGTHS)


@pytest.mark.parametrize("change", [{"name": "renamed"}, {"splits": []}, {"splits": [{"name": "train"}]}])
def test_shards_are_found_without_their_listing(make, change):
    info = open_dataset(make(shards=2, info=change)).info
    assert info.lengths.tolist() == list(LENGTHS)


def test_counts_of_old_listings(make):
    """Before shardLengths there was only the number of shards."""
    root = make(shards=2, info={"splits": [{"name": "train", "numShards": "2"}]})
    assert open_dataset(root).info.lengths.tolist() == list(LENGTHS)
    assert open_dataset(root, split="train[1:3]").info.lengths.tolist() == list(LENGTHS[1:3])


def test_splits(tmp_path, plain):
    root = Writer(tmp_path, shards=2)(PLAIN, train=plain, val=plain[:2])
    default = open_dataset(root)
    assert default.info.lengths.tolist() == list(LENGTHS)
    listed = "split 'train' is read of train (5 episodes), val (2 episodes): choose with --split NAME"
    assert listed in default.info.notes

    def lengths(split):
        return tuple(open_dataset(root, split=split).info.lengths)

    assert lengths("val") == LENGTHS[:2]
    assert lengths("train + val") == lengths("all") == LENGTHS + LENGTHS[:2]
    assert lengths("train[1:4]") == LENGTHS[1:4]
    assert lengths("train[-2:]") == LENGTHS[-2:]
    assert lengths("train[:40%]") == LENGTHS[:2]
    assert lengths("train[60%:]+val[:1]") == LENGTHS[3:] + LENGTHS[:1]
    assert lengths("train[-50%:]") == LENGTHS[-2:]  # TFDS rounds to the nearest, halves to the even.
    assert lengths("train[1shard:]") == LENGTHS[2:]
    assert lengths("train[:]") == LENGTHS
    sliced = open_dataset(root, split="train[2:]")
    np.testing.assert_array_equal(sliced[0].actions, plain[2]["steps"]["action"])


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("tran", "there is no split 'tran', but train (5 episodes): choose with --split NAME"),
        ("train[2:", "'train[2:' cannot be understood: write such as"),
        ("train[3]", "cannot be understood"),
        ("train[1:2:3]", "cannot be understood"),
        ("train[1%:2shard]", "cannot be understood"),
        ("train[:6]", "6 is beyond the end, 5: choose less"),
        ("train[:101%]", "101% is beyond the end, 100%"),
        ("train[3:3]", "selects none of 5 episodes"),
        ("", "cannot be understood"),
    ],
)
def test_splits_that_are_not_there(make, split, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        open_dataset(make(), split=split)


def test_a_split_without_files(tmp_path, plain):
    root = Writer(tmp_path)(PLAIN, train=plain, val=plain)
    (root / "made-val.tfrecord-00000-of-00001").unlink()
    assert open_dataset(root).info.num_episodes == 5
    assert open_dataset(root, split="all").info.num_episodes == 5
    with pytest.raises(
        DataError, match=r"'val' are not there \(made-val.*train \(5 episodes\), val \(5 episodes, its "
    ):
        open_dataset(root, split="val")
    (root / "made-train.tfrecord-00000-of-00001").unlink()
    with pytest.raises(DataError, match="'train' are not there"):
        open_dataset(root)


def test_the_first_split_with_files_where_there_is_no_train(tmp_path, plain):
    root = Writer(tmp_path)(PLAIN, test=plain, val=plain[:1])
    (root / "made-test.tfrecord-00000-of-00001").unlink()
    assert open_dataset(root).info.num_episodes == 1


def test_remote_paths(tmp_path, plain):
    upath = pytest.importorskip("upath")
    root = Writer(tmp_path, shards=2)(PLAIN, train=plain)
    remote = upath.UPath("memory:///buckets/rlds_remote")
    for file in root.iterdir():
        target = remote / "made" / "1.0.0" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    here, there = open_dataset(root), open_dataset(str(remote))
    assert there.info.fingerprint == here.info.fingerprint
    assert there.info.lengths.tolist() == list(LENGTHS)
    np.testing.assert_array_equal(there[4].actions, here[4].actions)
    np.testing.assert_array_equal(there[4].images["observation/image"][1], here[4].images["observation/image"][1])


class CountingFile:
    """Adds the bytes that are read to ``counts``."""

    def __init__(self, file, counts):
        self._file, self._counts, self.seek = file, counts, file.seek

    def read(self, size):
        data = self._file.read(size)
        self._counts.append(len(data))
        return data


def heavy_dataset(folder, *, episodes, frames):
    """Episodes with about 3 kB of incompressible picture a frame, which come first in their records."""
    rng = np.random.default_rng(6)
    spec = {"steps": sequence({"image": image(32, 32, encoding="png"), "action": tensor("float32", 2)}, kind="dataset")}
    pixels = rng.integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8)
    made = [{"steps": {"image": pixels, "action": np.full((frames, 2), i, np.float32)}} for i in range(episodes)]
    return Writer(folder)(spec, train=made)


def test_listing_reads_next_to_nothing(tmp_path, monkeypatch):
    import fastki.data.formats.rlds_index as module

    counts, original = [], module.open_shard

    @contextlib.contextmanager
    def counted(path, *, skim):
        with original(path, skim=skim) as file:
            yield CountingFile(file, counts)

    monkeypatch.setattr(module, "open_shard", counted)
    root = heavy_dataset(tmp_path, episodes=5, frames=20)
    assert open_dataset(root).info.lengths.tolist() == [20] * 5
    assert 0 < sum(counts) < 0.01 * (root / "made-train.tfrecord-00000-of-00001").stat().st_size


def test_memory_holds_one_episode(tmp_path):
    root = heavy_dataset(tmp_path, episodes=12, frames=60)
    record = (root / "made-train.tfrecord-00000-of-00001").stat().st_size / 12
    dataset = open_dataset(root)
    dataset.read(0)
    tracemalloc.start()
    actions = [dataset.read(i).actions for i in range(12)]
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(actions) == 12
    assert held < 0.5 * record  # Actions are copies, so no record is kept for them.
    assert peak < 3 * record
    told = sum(map(held_bytes, dataset.read(0).images.values()))
    assert 0.9 * record < told <= record  # Its pictures are what a record is made of, and keep it.


def test_progress_counts_episodes_or_shards(make):
    calls = []
    root = make(shards=2)
    open_dataset(root, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(2, 5), (5, 5)]
    calls.clear()
    (root / "dataset_info.json").write_text('{"name": "made"}')
    open_dataset(root, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]


def test_the_fingerprint_is_that_of_data_keys_and_split(make, tmp_path):
    root = make(shards=2)
    first = open_dataset(root).info.fingerprint
    shutil.copytree(root, tmp_path / "elsewhere")
    assert open_dataset(tmp_path / "elsewhere").info.fingerprint == first
    others = [
        open_dataset(root, split="train[:2]").info.fingerprint,
        open_dataset(root, action_key="observation/state").info.fingerprint,
        open_dataset(root, state_key="reward").info.fingerprint,
    ]
    (root / "features.json").write_text((root / "features.json").read_text() + " ")
    others.append(open_dataset(root).info.fingerprint)
    assert len({first, *others}) == 5
