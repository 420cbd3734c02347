"""Runs as the cells of a comparison: which folder is whose, and what a run that goes on still knows."""

from __future__ import annotations

import doctest

import pytest

pytest.importorskip("flax")

from dummy_run import SETTINGS, quick_compiler

from fastki.config import to_plain
from fastki.errors import UsageError
from fastki.study import training_cells
from fastki.study.cells import Cell, Shard
from fastki.study.training import plan_training
from fastki.study.training_cells import Variant, train_rows, variants_of
from fastki.training.presets import configured, preset
from fastki.training.run_folder import RunFolder, read_config

SMALL = configured(preset("tiny"), {}, [*SETTINGS, "data.images=false"])


def rows_of(folder, *settings: str, seed: int = 0) -> dict:
    cell = Cell({"variant": "one", "settings": list(settings), "seed": seed}, "runs", "v0")
    shard = Shard({}, {"base": to_plain(SMALL), "folder": str(folder)})
    with quick_compiler():
        [(place, row)] = train_rows(shard, [cell])
    assert place == 0
    return row


def test_the_examples():
    outcome = doctest.testmod(training_cells)
    assert (outcome.attempted > 2, outcome.failed) == (True, 0)


def test_a_cell_is_a_run_with_its_folder_and_another_one_in_its_place_begins_anew(tmp_path):
    row = rows_of(tmp_path, "mode=flow")
    folder = RunFolder(tmp_path / "one-seed0")
    assert (row["steps"], row["curve"][-1]["step"]) == (3, 3)
    assert row["flow_error"] > 0
    assert "fast_error" not in row
    config = read_config(folder)
    assert (config.mode, config.steps, config.seed) == ("flow", 3, 0)
    assert (folder.checkpoints / "3").is_dir()
    assert [point["step"] for point in row["curve"]] == [1, 2, 3]
    again = rows_of(tmp_path, "mode=flow")  # Nothing is left to train, and the curve is there still.
    assert {**again, "curve": again["curve"][:-1]} == {**row, "curve": row["curve"][:-1]}
    other = rows_of(tmp_path, "mode=fast")
    assert read_config(folder).mode == "fast"
    assert "fast_error" in other
    assert "flow_loss" not in other["curve"][0]


def test_a_mistake_is_the_row_s_error(tmp_path):
    row = rows_of(tmp_path, "sequence.max_token_len=3")
    assert list(row) == ["error"]
    assert "max_token_len" in row["error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [("ki", "two or more"), ("ki,ki", "two or more"), ("ki,what", "what is no mode"), ("steps=1", "two or more")],
)
def test_what_compares_nothing_is_refused(words, said):
    with pytest.raises(UsageError, match=said):
        variants_of(words)


def test_a_value_that_is_none_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(UsageError, match="Recipe has no field 'ema'"):
        plan_training(SMALL, [Variant("a", ("recipe.ema=1",))], seeds=1, folder=tmp_path, fingerprint="")
    with pytest.raises(UsageError, match="--seeds 0"):
        plan_training(SMALL, variants_of("ki,flow"), seeds=0, folder=tmp_path, fingerprint="")
