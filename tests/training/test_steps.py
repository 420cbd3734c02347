"""Which checkpoints of a folder can be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fastki.errors import CheckpointError
from fastki.training.steps import Steps, find_steps, record_sizes, set_aside


def make_step(place: Path, items: tuple[str, ...] = ("params", "train_state")) -> Path:
    """The records of a checkpoint, without arrays."""
    for item in items:
        (place / item).mkdir(parents=True)
        (place / item / "_METADATA").write_text("{}")
        (place / item / "manifest.ocdbt").write_text("x")
    (place / "_CHECKPOINT_METADATA").write_text(json.dumps({"commit_timestamp_nsecs": 1}))
    return place


def test_steps_are_in_the_order_of_their_numbers(tmp_path):
    for step in (100, 9, 25):
        make_step(tmp_path / str(step))
    assert find_steps(tmp_path) == Steps((9, 25, 100), {})
    assert find_steps(tmp_path).latest == 100


def test_a_folder_that_is_not_there_has_none(tmp_path):
    assert find_steps(tmp_path / "none") == Steps()
    assert Steps().latest is None


def test_files_among_the_steps_do_not_matter(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    assert find_steps(tmp_path) == Steps()


def test_a_file_is_no_folder_of_checkpoints(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="is a file, not a folder"):
        find_steps(tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("7.orbax-checkpoint-tmp", "unfinished: its saving was cut off"),
        ("7.orbax-checkpoint-tmp-1234", "unfinished: its saving was cut off"),
        ("7.damaged", "set aside as damaged"),
        ("final", "its name is no step"),
        ("²", "its name is no step"),
        ("007", "a step's name has no leading zeros: rename it to 7"),
    ],
)
def test_other_folders_are_named_with_a_reason(tmp_path, name, reason):
    make_step(tmp_path / name)
    assert find_steps(tmp_path) == Steps((), {name: reason})


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("_CHECKPOINT_METADATA", '{"commit_timestamp_nsecs": null}', "_CHECKPOINT_METADATA is missing or broken"),
        ("_CHECKPOINT_METADATA", "[]", "_CHECKPOINT_METADATA is missing or broken"),
        ("_CHECKPOINT_METADATA", "[" * 10**5, "_CHECKPOINT_METADATA is missing or broken"),
        ("params/_METADATA", "{", "params/_METADATA is missing or broken"),
        ("train_state/_METADATA", "", "train_state/_METADATA is missing or broken"),
        ("params/manifest.ocdbt", "", "params/manifest.ocdbt is missing or empty"),
    ],
)
def test_broken_records_are_named(tmp_path, file, text, reason):
    (make_step(tmp_path / "4") / file).write_text(text)
    assert find_steps(tmp_path).ignored == {"4": f"damaged: {reason}"}


def test_inference_needs_no_training_state(tmp_path):
    make_step(tmp_path / "4", ("params",))
    assert find_steps(tmp_path).usable == ()
    assert find_steps(tmp_path, training=False).usable == (4,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda place: (place / "params/manifest.ocdbt").write_text("longer"), "manifest.ocdbt has 6 of 1 bytes"),
        (lambda place: (place / "params/d/array").unlink(), "params/d/array is missing"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_files_of_another_size_than_was_noted_are_named(tmp_path, change, reason, training):
    place = make_step(tmp_path / "4")
    (place / "params/d").mkdir()
    (place / "params/d/array").write_text("0123456789")
    record_sizes(place)
    assert find_steps(tmp_path, training=training).usable == (4,)
    change(place)
    assert reason in find_steps(tmp_path, training=training).ignored["4"]


def test_assets_may_change_and_a_training_state_be_thrown_away(tmp_path):
    place = make_step(tmp_path / "4", ("params", "train_state", "assets"))
    record_sizes(place)
    (place / "assets/_METADATA").write_text("other")
    assert find_steps(tmp_path).usable == (4,)
    shutil.rmtree(place / "train_state")
    assert find_steps(tmp_path).ignored == {"4": "damaged: train_state/_METADATA is missing or broken"}
    assert find_steps(tmp_path, training=False).usable == (4,)


def test_openpis_own_checkpoint_is_one(shared):
    assert find_steps(shared / "golden/openpi/pi05_asym/ckpt_train").usable == (3,)


def test_setting_aside_overwrites_nothing(tmp_path):
    names = [set_aside(make_step(tmp_path / "4")).name for _ in range(3)]
    assert names == ["4.damaged", "4.damaged1", "4.damaged2"]
    assert find_steps(tmp_path).usable == ()
