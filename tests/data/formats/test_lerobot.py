from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastki.data import ChunkSpec, gather_chunks, open_dataset
from fastki.errors import DataError, UsageError

BOTH = pytest.mark.parametrize("version", ["v2.0", "v2.1", "v3.0"])


@BOTH
@pytest.mark.parametrize("fixed", [True, False])
def test_reads_what_was_written(make_lerobot, some_episodes, version, fixed):
    dataset = open_dataset(make_lerobot(some_episodes, version=version, fixed=fixed))
    info = dataset.info
    assert (info.format, info.robot, info.fps) == (f"LeRobot {version}", "maker", 20.0)
    assert (info.action_key, info.state_key) == ("action", "observation.state")
    assert (info.action_dim, info.state_dim) == (3, 4)
    assert info.action_names == ("action[0]", "action[1]", "action[2]")
    assert info.action_units == (None, None, None)
    assert info.lengths.tolist() == [9, 4, 12, 7, 20]
    assert (info.num_episodes, info.num_frames, info.chunked_horizon) == (5, 52, None)
    for i in (3, 0, 4, 1, 2):
        assert dataset[i].actions.dtype == np.float32
        np.testing.assert_array_equal(dataset[i].actions, some_episodes[i]["action"])
        np.testing.assert_array_equal(dataset[i].state, some_episodes[i]["observation.state"])
        assert dataset[i].prompt == ("pick it", "place it")[i % 2]
        assert dataset[i].index == i
    assert [len(episode) for episode in dataset[1:3]] == [4, 12]
    assert len(dataset[-1]) == 20
    with pytest.raises(IndexError):
        dataset[5]


def test_episode_arrays_are_read_only(make_lerobot, some_episodes):
    actions = open_dataset(make_lerobot(some_episodes))[0].actions
    with pytest.raises(ValueError, match="read-only"):
        actions[0] = 0


@pytest.mark.parametrize("column", ["actions", "my.action", "joint_targets"])
def test_other_action_keys_are_found(make_lerobot, column):
    episode = {column: np.ones((5, 2)), "observation.state": np.ones((5, 2))}
    if column == "joint_targets":
        episode.pop("observation.state")
    assert open_dataset(make_lerobot([episode])).info.action_key == column


def test_ambiguous_or_absent_action_key_lists_the_candidates(make_lerobot):
    columns = {
        "action.joint": np.ones((5, 2)),
        "action.gripper": np.ones(5),
        "observation.state": np.ones((5, 2)),
    }
    root = make_lerobot([columns])
    with pytest.raises(DataError, match=r"several.*action\.joint, action\.gripper, .*--action-key KEY"):
        open_dataset(root)
    with pytest.raises(DataError, match=r"no numeric key 'acton'.*action\.joint.*--action-key KEY"):
        open_dataset(root, action_key="acton")
    with pytest.raises(DataError, match=r"no numeric key 'qpos'.*--state-key KEY"):
        open_dataset(root, action_key="action.joint", state_key="qpos")
    both = open_dataset(root, action_key="action.joint,action.gripper", state_key="observation.state")
    assert both.info.action_key == "action.joint,action.gripper"
    assert both.info.action_names == ("action.joint[0]", "action.joint[1]", "action.gripper[0]")
    assert both[0].actions.shape == (5, 3)


def test_no_state_is_fine_and_several_are_a_note(make_lerobot):
    root = make_lerobot([{"action": np.ones((5, 2)), "left.state": np.ones((5, 1)), "right.state": np.ones((5, 1))}])
    dataset = open_dataset(root)
    assert dataset.info.state_key is None
    assert dataset[0].state is None
    assert any("--state-key" in note for note in dataset.info.notes)


@BOTH
def test_scalar_action_column_and_float64(make_lerobot, version):
    values = np.linspace(0, 1, 6)
    dataset = open_dataset(make_lerobot([{"action": values}], version=version))
    assert dataset[0].actions.dtype == np.float64
    np.testing.assert_array_equal(dataset[0].actions, values[:, None])


@pytest.mark.parametrize(("dtype", "expected"), [("int64", "float64"), ("int16", "float32"), ("bool", "float32")])
def test_whole_numbers_become_floats(make_lerobot, dtype, expected):
    dataset = open_dataset(make_lerobot([{"action": np.ones((4, 2), dtype=dtype)}]))
    assert dataset[0].actions.dtype == expected


@pytest.mark.parametrize(
    "names", [["a", "b"], [["a", "b"]], {"motors": ["a", "b"]}, {"b": 1, "a": 0}, {"x": ["a"], "y": ["b"]}]
)
def test_names_in_every_form(make_lerobot, names):
    root = make_lerobot([{"action": np.ones((4, 2))}], names={"action": names})
    assert open_dataset(root).info.action_names == ("a", "b")


def test_names_of_the_wrong_number_are_ignored_with_a_note(make_lerobot):
    info = open_dataset(make_lerobot([{"action": np.ones((4, 2))}], names={"action": ["a", "b", "c"]})).info
    assert info.action_names == ("action[0]", "action[1]")
    assert any("3 names" in note for note in info.notes)


@BOTH
def test_nan_names_episode_frame_and_dimension(make_lerobot, some_episodes, version):
    some_episodes[2]["action"][[5, 7], 1] = np.nan
    root = make_lerobot(some_episodes, version=version, names={"action": ["x", "y", "z"]})
    dataset = open_dataset(root)
    assert len(dataset[1]) == 4
    with pytest.raises(DataError, match=r"episode 2, action: nan at frame 5, dimension 1 \(y\); 2 of 12 frames"):
        dataset[2]


def test_empty_values_count_as_nan_and_empty_rows_are_an_error(make_lerobot, some_episodes):
    root = make_lerobot(some_episodes)
    file = root / "data/chunk-000/episode_000000.parquet"
    rows = [[1.0, None, 2.0]] * 9
    pq.write_table(pa.table({"action": rows, "task_index": [0] * 9}), file)
    with pytest.raises(DataError, match="nan at frame 0"):
        open_dataset(root).read(0, state=False)
    pq.write_table(pa.table({"action": [[1.0, 1.0, 2.0]] * 8 + [None], "task_index": [0] * 9}), file)
    with pytest.raises(DataError, match="1 of 9 rows are empty"):
        open_dataset(root).read(0, state=False)


def test_ragged_action_lists(make_lerobot, some_episodes):
    root = make_lerobot(some_episodes)
    pq.write_table(
        pa.table({"action": [[1.0, 2.0, 3.0]] * 8 + [[1.0]]}), root / "data/chunk-000/episode_000000.parquet"
    )
    with pytest.raises(DataError, match=r"episode_000000\.parquet.*unequal lengths \(3 values, 1 in row 8\)"):
        open_dataset(root).read(0, state=False)


def test_action_dimension_that_changes(make_lerobot, some_episodes):
    some_episodes[3]["action"] = np.ones((7, 5), dtype=np.float32)
    dataset = open_dataset(make_lerobot(some_episodes))
    with pytest.raises(DataError, match="episode 3 has 5 action dimensions, but the dataset has 3"):
        dataset[3]


def test_length_that_disagrees(make_lerobot, some_episodes):
    root = make_lerobot(some_episodes)
    lines = (root / "meta/episodes.jsonl").read_text().replace('"length": 12', '"length": 13')
    (root / "meta/episodes.jsonl").write_text(lines)
    with pytest.raises(DataError, match="episode 2 has 12 frames, but the metadata say 13"):
        open_dataset(root)[2]


def test_action_that_is_not_numbers(make_lerobot):
    root = make_lerobot([{"action": np.array(["left", "right"])}])
    with pytest.raises(DataError, match="no numbers that could be actions"):
        open_dataset(root)


@BOTH
def test_truncated_parquet_names_the_file(make_lerobot, some_episodes, version):
    root = make_lerobot(some_episodes, version=version)
    file = sorted((root / "data").rglob("*.parquet"))[-1]
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(DataError, match=rf"{file.name} is damaged"):
        open_dataset(root)[4]


@BOTH
def test_missing_data_file_names_it(make_lerobot, some_episodes, version):
    root = make_lerobot(some_episodes, version=version)
    file = sorted((root / "data").rglob("*.parquet"))[1]
    file.unlink()
    with pytest.raises(DataError, match=rf"{file.name} is missing \(1 of"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("info.json", "{", r"info\.json is damaged, not valid JSON"),
        ("info.json", "[]", r"info\.json is damaged: a JSON object is expected"),
        ("info.json", "{}", "no 'features'"),
        ("info.json", b"\xff\xfe", r"info\.json cannot be read"),
        ("info.json", "[" * 100_000, r"info\.json is damaged"),
        ("episodes.jsonl", "{}\n{", r"episodes\.jsonl, line 2 is damaged"),
        ("episodes.jsonl", '{"episode_index": 0, "length": -4}', "length is -4"),
        ("episodes.jsonl", '{"episode_index": true, "length": 4}', "episode_index is True"),
        ("episodes.jsonl", '{"episode_index": 0, "length": 4}\n' * 2, "episode 0 is listed twice"),
        ("episodes.jsonl", "\n", "holds no episodes"),
        ("episodes.jsonl", None, r"episodes\.jsonl is missing"),
    ],
)
def test_damaged_metadata(make_lerobot, some_episodes, name, content, message):
    file = make_lerobot(some_episodes) / "meta" / name
    if content is None:
        file.unlink()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content)
    with pytest.raises(DataError, match=message):
        open_dataset(file.parent.parent)


def test_missing_or_empty_v3_metadata(make_lerobot, some_episodes):
    root = make_lerobot(some_episodes, version="v3.0")
    shutil.rmtree(root / "meta/episodes")
    with pytest.raises(DataError, match="holds no parquet files"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("../{episode_index}.parquet", "leads out of the dataset's folder"),
        ("/etc/{episode_index}", "leads out of the dataset's folder"),
        ("a\\..\\..\\{episode_index}", "leads out of the dataset's folder"),
        ("C:/{episode_index}", "leads out of the dataset's folder"),
        ("{episode_chunk.__class__}", "cannot be understood"),
        ("{nothing}", "unknown field {nothing}"),
        ("{episode_index:0999999999d}", "cannot be understood"),
    ],
)
def test_data_paths_stay_inside(make_lerobot, some_episodes, template, message):
    root = make_lerobot(some_episodes, data_path=template)
    with pytest.raises(DataError, match=message):
        open_dataset(root)


def test_other_versions(make_lerobot, some_episodes):
    with pytest.raises(DataError, match=r"v1\.6 cannot be read, only v2\.0, v2\.1, v3\.0: convert"):
        open_dataset(make_lerobot(some_episodes, version="v1.6"))


def test_gaps_in_the_numbering(make_lerobot, some_episodes):
    root = make_lerobot(some_episodes)
    lines = (root / "meta/episodes.jsonl").read_text().splitlines()
    (root / "meta/episodes.jsonl").write_text("\n".join([lines[4], lines[1]]))
    dataset = open_dataset(root)
    assert dataset.info.lengths.tolist() == [4, 20]
    np.testing.assert_array_equal(dataset[1].actions, some_episodes[4]["action"])


def test_fingerprint_is_of_the_data_not_of_the_place(make_lerobot, some_episodes, tmp_path, monkeypatch):
    root = make_lerobot(some_episodes)
    first = open_dataset(root).info.fingerprint
    shutil.copytree(root, tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    assert open_dataset("copy").info.fingerprint == first
    assert open_dataset("copy", action_key="observation.state").info.fingerprint != first
    file = tmp_path / "copy/data/chunk-001/episode_000003.parquet"
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.write_bytes(content)
    assert open_dataset("copy").info.fingerprint != first


def test_total_episodes_that_disagree_are_a_note(make_lerobot, some_episodes):
    info = open_dataset(make_lerobot(some_episodes, total_episodes=7)).info
    assert any("counts 7 episodes, 5 are listed" in note for note in info.notes)


def test_episodes_without_task_table_take_their_own_tasks(make_lerobot, some_episodes):
    root = make_lerobot(some_episodes)
    (root / "meta/tasks.jsonl").unlink()
    assert open_dataset(root)[1].prompt == "place it"


@BOTH
def test_damaged_and_absent_files_are_left_out_where_asked_for(make_lerobot, some_episodes, version):
    root = make_lerobot(some_episodes, version=version, per_file=1)
    first, _, third, *_ = sorted((root / "data").rglob("*.parquet"))
    first.write_bytes(b"PAR1")
    third.unlink()
    with pytest.raises(DataError, match=rf"{third.name} is missing \(1 of 5"):
        open_dataset(root)
    dataset = open_dataset(root, skip_bad=True)
    assert dataset.info.lengths.tolist() == [4, 7, 20]
    np.testing.assert_array_equal(dataset[1].actions, some_episodes[3]["action"])


@BOTH
@pytest.mark.parametrize(("fps", "expected"), [(20, 20.0), (29.97, 29.97), (None, None), ("fast", None), (0, None)])
def test_the_rate_is_a_number_or_unknown(make_lerobot, some_episodes, version, fps, expected):
    assert open_dataset(make_lerobot(some_episodes, version=version, fps=fps)).info.fps == expected


@BOTH
def test_a_task_that_no_table_has_is_the_episodes_own(make_lerobot, some_episodes, version):
    root = make_lerobot(some_episodes, version=version)
    for file in (root / "data").rglob("*.parquet"):
        table = pq.read_table(file)
        column = table.schema.get_field_index("task_index")
        pq.write_table(table.set_column(column, "task_index", pa.array([99] * len(table))), file)
    assert [episode.prompt for episode in open_dataset(root)][:2] == ["pick it", "place it"]


def test_real_g1(shared):
    dataset = open_dataset(shared / "data/g1_pick_bottle")
    info = dataset.info
    assert (info.format, info.action_dim, info.state_dim, info.fps) == ("LeRobot v2.1", 26, 26, 30.0)
    assert (len(dataset), info.num_frames) == (60, 22042)
    assert info.action_names[0] == "kLeftShoulderPitch"
    assert (info.cameras, info.missing_cameras) == ((), ("observation.images.cam_high",))
    assert dataset[59].prompt == "Pick up the yellow bottle on the table."
    assert sum(len(episode) for episode in dataset) == 22042
    assert len(gather_chunks(dataset, ChunkSpec(stride=16), max_chunks=200).chunks) == 200


def test_real_so101(shared):
    root = shared / "data/so101_record_test"
    dataset = open_dataset(root)
    assert (dataset.info.format, dataset.info.action_dim, len(dataset)) == ("LeRobot v3.0", 6, 4)
    assert dataset.info.action_names[-1] == "gripper.pos"
    table = pq.read_table(root / "data/chunk-000/file-000.parquet")
    expected = np.stack(table.column("action").to_numpy())
    np.testing.assert_array_equal(np.concatenate([episode.actions for episode in dataset]), expected)
    assert dataset[0].prompt == "Pick the orange cube and place it in the box"
    info = json.loads((root / "meta/info.json").read_text())
    assert dataset.info.num_frames == info["total_frames"]


@BOTH
def test_splits_that_info_json_names(make_lerobot, some_episodes, version):
    root = make_lerobot(
        some_episodes, version=version, splits={"train": "0:3", "val": "3:5", "odd": "x", "none": "2:2"}
    )
    dataset = open_dataset(root, split="val")
    assert dataset.info.lengths.tolist() == [7, 20]
    np.testing.assert_array_equal(dataset[0].actions, some_episodes[3]["action"])
    assert dataset.info.fingerprint != open_dataset(root).info.fingerprint
    for split, message in (("test", "there are train, val"), ("odd", "no split 'odd'"), ("none", "is empty")):
        with pytest.raises(UsageError, match=message):
            open_dataset(root, split=split)


def test_a_split_where_none_is_named(make_lerobot, some_episodes):
    with pytest.raises(UsageError, match=r"info\.json names none"):
        open_dataset(make_lerobot(some_episodes), split="train")
