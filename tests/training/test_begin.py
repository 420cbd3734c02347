"""Whether a command begins a run or goes on with its folder's: by what they are, without training any."""

from __future__ import annotations

import pytest

from fastki.errors import UsageError
from fastki.training.begin import Beginning, begin
from fastki.training.presets import configured, preset
from fastki.training.run_folder import RunFolder

TINY = preset("tiny")


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """Of a run of 100 steps, which has saved none yet, and of something else that someone keeps there."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write_config(configured(TINY, {}, ["steps=100"]))
    folder.metrics.write_text("{}\n")
    (folder.path / "notes.txt").write_text("mine")
    return folder


def asked(folder: RunFolder, *settings: str, **how: bool) -> Beginning:
    return begin(folder, configured(TINY, {}, ["steps=100", *settings]), **{"resume": False, "overwrite": False, **how})


def test_where_there_is_no_run_one_begins(tmp_path):
    beginning = asked(RunFolder(tmp_path / "new"))
    assert (beginning.resumed, beginning.step, beginning.config.steps) == (False, None, 100)


def test_the_same_command_goes_on(folder):
    assert asked(folder) == Beginning(configured(TINY, {}, ["steps=100"]), resumed=True, step=None)


def test_a_longer_one_goes_on_and_a_schedule_that_spans_the_run_with_it(folder):
    beginning = asked(folder, "steps=300", "save.every=7", "loader.num_workers=3")
    assert beginning.resumed
    assert (beginning.config.steps, beginning.config.save.every, beginning.config.loader.num_workers) == (300, 7, 3)
    schedule = beginning.config.recipe.schedule
    assert (schedule.decay_steps, schedule.warmup_steps) == (300, 30)
    assert beginning.config.recipe.schedule != asked(folder).config.recipe.schedule


def test_one_whose_schedule_alone_differs_is_another(folder):
    with pytest.raises(UsageError, match=r"holds another run \(recipe\.schedule\.decay_steps 100, not 90\): --resume"):
        asked(folder, "recipe.schedule.decay_steps=90")


def test_another_run_is_named_by_what_differs(folder):
    settings = ("mode=flow", "seed=4", "loader.batch_size=2", "data.uri=mine", "recipe.ema_decay=none")
    with pytest.raises(UsageError, match=r"run holds another run \(.*mode ki, not flow.* and 2 more\)"):
        asked(folder, *settings)
    went_on = asked(folder, *settings, "steps=200", resume=True)  # Of what is asked, only the steps count.
    assert (went_on.config.mode, went_on.config.seed, went_on.config.steps) == ("ki", TINY.seed, 200)


def test_overwriting_deletes_the_run_and_nothing_else(folder):
    beginning = asked(folder, "mode=flow", overwrite=True)
    assert (beginning.resumed, beginning.config.mode) == (False, "flow")
    assert [path.name for path in folder.path.iterdir()] == ["notes.txt"]


def test_to_go_on_and_to_delete_is_one_wish_too_many(folder, tmp_path):
    with pytest.raises(UsageError, match="give one of them"):
        asked(folder, resume=True, overwrite=True)
    with pytest.raises(UsageError, match=r"there is no run in .*new to resume"):
        asked(RunFolder(tmp_path / "new"), resume=True)
