"""A trained run opened again: its split, its checkpoints, other data, and what is refused."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from dummy_run import DATA

from fastki.data import OpenOptions
from fastki.errors import CheckpointError, DataError, UsageError
from fastki.evaluation.heldout import HeldOut
from fastki.evaluation.policy import find_policy, load_policy
from fastki.evaluation.reopen import ReopenOptions, reopen
from fastki.training.run_folder import RunFolder, read_config

OTHER = "synthetic:droid?episodes=4&seed=5&size=28"


@pytest.fixture
def run(trained_once, tmp_path):
    """The trained run, a copy that a test may spoil."""
    return shutil.copytree(trained_once, tmp_path / "run")


def test_the_run_is_measured_on_the_episodes_that_it_held_out(trained_once, setup):
    found = reopen(trained_once, ReopenOptions())
    assert found.part == "heldout"
    np.testing.assert_array_equal(found.episodes, setup.heldout)
    assert (found.run, found.step, found.notes) == (trained_once, 3, ())
    assert found.setup.slots == setup.slots
    assert found.setup.assembler.spec == setup.assembler.spec
    assert found.setup.model == setup.model


def test_nothing_is_fitted_and_examples_are_those_of_training(trained_once, setup):
    found = reopen(trained_once, ReopenOptions())
    starts = np.array([0, 17])
    mine, own = (
        one.assembler.batch(one.assembler.examples(setup.dataset[2], starts))[0].observation
        for one in (found.setup, setup)
    )
    np.testing.assert_array_equal(mine.tokenized_prompt, own.tokenized_prompt)
    np.testing.assert_array_equal(mine.state, own.state)


def test_each_checkpoint_of_a_run_can_be_named(trained_once):
    assert find_policy(trained_once).name == "3"
    assert reopen(trained_once / "checkpoints" / "2", ReopenOptions()).step == 2
    first, last = (load_policy(trained_once / "checkpoints" / step) for step in ("2", "3"))
    leaf = ("action_in_proj", "kernel")
    assert (np.asarray(first.params[leaf[0]][leaf[1]]) != np.asarray(last.params[leaf[0]][leaf[1]])).any()


def test_a_checkpoint_apart_from_its_run_needs_data(trained_once, tmp_path):
    apart = shutil.copytree(trained_once / "checkpoints" / "3", tmp_path / "mine")
    with pytest.raises(CheckpointError, match="lies apart from its run: give the DATA"):
        reopen(apart, ReopenOptions())
    found = reopen(apart, ReopenOptions(data=DATA))
    assert (found.run, found.step, found.part) == (None, None, "heldout")  # It knows the data that it was trained on.


def test_other_data_are_measured_whole_unless_a_part_is_asked_for(trained_once):
    found = reopen(trained_once, ReopenOptions(data=OTHER))
    assert (found.part, found.episodes.tolist(), found.notes) == ("all", [0, 1, 2, 3], ())
    part = reopen(trained_once, ReopenOptions(data=OTHER, part="heldout"))
    assert part.part == "heldout"
    assert len(part.episodes) == 1


def test_episodes_trained_on_are_called_so(trained_once, setup):
    found = reopen(trained_once, ReopenOptions(part="train"))
    np.testing.assert_array_equal(found.episodes, setup.train)
    assert found.notes == ("these are episodes that it was trained on",)
    assert reopen(trained_once, ReopenOptions(part="all")).notes == ("among these are episodes that it was trained on",)


def read_from(run, uri):
    """Write another dataset into the run's configuration."""
    folder = RunFolder(run)
    config = read_config(folder)
    folder.write_config(dataclasses.replace(config, data=dataclasses.replace(config.data, uri=uri)))


def test_data_that_have_gone_are_named_with_the_mend(run):
    read_from(run, "nowhere/at-all")
    with pytest.raises(DataError, match=r"the data of this run can't be opened .*; or give DATA"):
        reopen(run, ReopenOptions())


def test_data_that_have_changed_are_told(run):
    read_from(run, OTHER)
    found = reopen(run, ReopenOptions())
    assert any("has changed since the run began" in note for note in found.notes)


def test_text_for_which_the_policy_has_no_room_is_cut_and_counted(trained_once):
    found = reopen(trained_once, ReopenOptions())
    shape = dataclasses.replace(found.setup.assembler.shape, max_token_len=20)
    short = dataclasses.replace(found.setup, assembler=dataclasses.replace(found.setup.assembler, shape=shape))
    held = HeldOut(short, found.policy.definition, examples=4, episodes=found.episodes)
    held(found.policy.params)
    assert held.lost == 4


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [
        ("nowhere", {}, "nowhere does not exist"),
        (".", {}, "has no checkpoint of a run of fastki"),
        ("run/config.toml", {}, "is a file|does not exist"),
        (
            "run",
            {"data": "synthetic:droid?episodes=1&size=28", "part": "heldout"},
            "is held out: give --episodes train",
        ),
    ],
)
def test_mistakes_are_named(run, tmp_path, path, options, said):
    (tmp_path / "empty").mkdir()
    with pytest.raises((CheckpointError, UsageError), match=said):
        reopen(tmp_path / ("empty" if path == "." else path), ReopenOptions(**options))


def test_how_data_are_opened_needs_data():
    with pytest.raises(UsageError, match="give it, as `fastki eval RUN DATA`"):
        ReopenOptions(opened=OpenOptions(robot="droid"))
