"""Saving and restoring: whole or not at all, and bit for bit."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from etils import epath
from toy_model import toy_params
from toy_training import digest

from fastki.errors import CheckpointError, UsageError
from fastki.model.trees import flatten, merge
from fastki.training.checkpoint import Checkpoints, Keep
from fastki.training.checkpoint_items import MismatchError
from fastki.training.mesh import MeshOptions, abstract, make_mesh, tree_shardings
from fastki.training.recipe import Recipe
from fastki.training.selection import Selection
from fastki.training.state import TrainState, create_state, inference_params

EVERY = Recipe()
SOME = Recipe(select=Selection(train=("lora", "expert")), frozen_dtype="bfloat16")
RAW = Recipe(ema_decay=None)


def state_of(recipe: Recipe = EVERY, *, step: int = 3, seed: int = 0, lora: bool = True) -> TrainState:
    """A state in whose every leaf stand numbers of their own."""
    state = create_state(recipe, toy_params(seed, lora=lora), jax.random.key(5))
    rng = np.random.default_rng(seed)

    def noisy(leaf: jax.Array) -> jax.Array:
        return leaf + rng.normal(size=leaf.shape).astype(np.float32) if leaf.ndim else leaf + 7

    moved = {name: jax.tree.map(noisy, getattr(state, name)) for name in ("params", "opt_state", "ema_params")}
    return dataclasses.replace(state, step=jax.numpy.asarray(step, np.int32), **moved)


def target_of(state: TrainState) -> TrainState:
    options = MeshOptions()
    return abstract(state, tree_shardings(state, make_mesh(options, jax.devices()[:1]), options))


def save(folder: Path, *states: TrainState, keep: Keep | None = None, **more: Any) -> None:
    with Checkpoints(folder, keep) as checkpoints:
        for state in states:
            checkpoints.save(state, **more)


@pytest.mark.parametrize("recipe", [EVERY, SOME, RAW], ids=["all", "adapters", "no average"])
def test_a_state_comes_back_bit_for_bit_with_the_place_in_the_data(tmp_path, recipe):
    state = state_of(recipe)
    save(tmp_path, state, loader={"epoch": 2, "next": [1, 5]})
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(target_of(state))
    assert (restored.step, restored.loader) == (3, {"epoch": 2, "next": [1, 5]})
    assert jax.tree.structure(restored.state) == jax.tree.structure(state)
    assert digest(restored.state) == digest(state)
    assert jax.tree.all(jax.tree.map(lambda new, old: new.dtype == old.dtype, restored.state, state))


def test_a_run_without_checkpoints_begins_anew(tmp_path):
    with Checkpoints(tmp_path / "new") as checkpoints:
        assert checkpoints.restore(target_of(state_of())) is None


@pytest.mark.parametrize("recipe", [EVERY, RAW], ids=["average", "no average"])
def test_params_are_openpis_tree_for_inference(tmp_path, shared, recipe):
    state = state_of(recipe)
    save(tmp_path, state)
    place = tmp_path / "3/params"
    arrays = ocp.RestoreArgs(restore_type=np.ndarray)
    metadata = ocp.PyTreeCheckpointHandler().metadata(epath.Path(place)).tree
    tree = ocp.PyTreeCheckpointer().restore(
        place, ocp.args.PyTreeRestore(metadata, restore_args=jax.tree.map(lambda _: arrays, metadata))
    )
    assert list(tree) == ["params"]
    wanted = flatten(inference_params(state))
    assert flatten(tree["params"]).keys() == wanted.keys()
    for path, leaf in flatten(tree["params"]).items():
        np.testing.assert_array_equal(leaf, wanted[path], err_msg=path)
    stored = ocp.PyTreeCheckpointHandler().metadata(epath.Path(tmp_path / "3/train_state")).tree
    assert flatten(stored["params"]).keys() == (set() if recipe is RAW else flatten(state.params).keys())
    ours, theirs = (
        json.loads((folder / "params/_METADATA").read_text())
        for folder in (tmp_path / "3", shared / "golden/openpi/pi05_asym/ckpt_pure")
    )
    path = "('params', 'action_in_proj', 'kernel')"
    assert ours["tree_metadata"][path]["key_metadata"] == theirs["tree_metadata"][path]["key_metadata"]
    assert ours["use_zarr3"] == theirs["use_zarr3"]


def test_the_state_may_be_given_up_as_soon_as_save_returns(tmp_path):
    state = state_of()
    wanted = digest(state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state)
        for leaf in jax.tree.leaves(state):
            leaf.delete()
    with Checkpoints(tmp_path) as checkpoints:
        assert digest(checkpoints.restore(target_of(state_of())).state) == wanted


def test_the_newest_stay_and_those_of_the_period(tmp_path):
    save(tmp_path, *(state_of(step=step) for step in (2, 4, 5, 6, 8, 9)), keep=Keep(2, period=4))
    assert sorted(int(place.name) for place in tmp_path.iterdir()) == [4, 8, 9]


def test_assets_are_the_callers(tmp_path):
    def write(folder: Path) -> None:
        (folder / "robot").mkdir()
        (folder / "robot/norm_stats.json").write_text("{}")

    save(tmp_path, state_of(), assets=write)
    assert (tmp_path / "3/assets/robot/norm_stats.json").read_text() == "{}"


def test_every_mismatch_is_listed_at_once(tmp_path):
    state = state_of(RAW)
    save(tmp_path, state)
    params = flatten(state.params)
    params["time_mlp_in/bias"] = np.zeros(9, np.float32)
    params["action_in_proj/kernel"] = params["action_in_proj/kernel"].astype(np.float16)
    params["new/kernel"] = params.pop("action_out_proj/kernel")
    other = create_state(RAW, merge(params), jax.random.key(0))
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(MismatchError) as raised:
        checkpoints.restore(target_of(other))
    mismatches = raised.value.mismatches
    assert len(mismatches) == 3 * 4  # Parameters and the two moments.
    message = str(raised.value)
    assert "\n" not in message
    for phrase in (
        "params/params/new/kernel is missing from the checkpoint",
        "params/params/action_out_proj/kernel is in the checkpoint alone",
        "params/params/time_mlp_in/bias is float32[8] in the checkpoint and float32[9] here",
        "params/params/action_in_proj/kernel is float32[4, 8] in the checkpoint and float16[4, 8] here",
    ):
        assert phrase in mismatches
        assert phrase in message


def test_a_recipe_with_an_average_refuses_a_checkpoint_without_one(tmp_path):
    save(tmp_path, state_of(RAW))
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(MismatchError, match=r"train_state/params/.* is missing"):
        checkpoints.restore(target_of(state_of(EVERY)))
    assert (tmp_path / "3").is_dir()


DAMAGES = {
    "its record is lost": lambda place: (place / "_CHECKPOINT_METADATA").unlink(),
    "its record is half": lambda place: (place / "_CHECKPOINT_METADATA").write_text('{"item_h'),
    "a tree's record is lost": lambda place: (place / "train_state/_METADATA").unlink(),
    "a tree's record is half": lambda place: os.truncate(place / "params/_METADATA", 99),
    "a store is empty": lambda place: os.truncate(place / "params/manifest.ocdbt", 0),
    "an item is lost": lambda place: shutil.rmtree(place / "params"),
    "files of arrays are lost": lambda place: shutil.rmtree(place / "params/ocdbt.process_0/d"),
    "files of arrays are cut off": lambda place: [os.truncate(file, 50) for file in largest(place / "train_state")],
    "a bit of the parameters flipped": lambda place: flip(max(largest(place / "params"), key=_size)),
    "a bit of the optimiser's state flipped": lambda place: flip(max(largest(place / "train_state"), key=_size)),
    "the place in the data is half": lambda place: (place / "loader/process_0-of-1.json").write_text('{"ne'),
    "no sizes are known and a store is garbage": lambda place: garble(place, "params/manifest.ocdbt", "?" * 113),
    "no sizes are known and the place is half": lambda place: garble(place, "loader/process_0-of-1.json", '{"ne'),
}


def flip(file: Path) -> None:
    """One bit in the middle of a file."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def garble(place: Path, file: str, text: str) -> None:
    """What shows only when it is read."""
    for name in ("sizes.json", "checksums.json"):
        (place / name).unlink()
    (place / file).write_text(text)


def _size(file: Path) -> int:
    return file.stat().st_size


def largest(folder: Path) -> list[Path]:
    """The files of a store that hold arrays."""
    return [file for file in folder.rglob("d/*") if file.stat().st_size > 50]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Of Orbax's threads, on garbage.
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_with_its_reason_and_kept_aside(tmp_path, damage):
    old, new = state_of(step=3, seed=1), state_of(step=6, seed=2)
    save(tmp_path, old, new, loader={"next": 1})
    DAMAGES[damage](tmp_path / "6")
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(target_of(old))
        assert restored.step == 3
        assert digest(restored.state) == digest(old)
        assert checkpoints.ignored["6"].startswith("damaged: ")
        assert "\n" not in checkpoints.ignored["6"]
        checkpoints.save(new)  # The number is free again.
    assert sorted(place.name for place in tmp_path.iterdir()) == ["3", "6", "6.damaged"]


def test_a_flipped_bit_is_named_with_its_file_and_no_checkpoint_but_that_is_refused(tmp_path):
    save(tmp_path, state_of())
    file = max(largest(tmp_path / "3/params"), key=_size)
    flip(file)
    named = file.relative_to(tmp_path / "3").as_posix()
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError) as refused:
        checkpoints.restore(target_of(state_of()))
    assert f"3 (damaged: {named} is not what was saved: its checksum differs)" in str(refused.value)
    flip(file)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(target_of(state_of()))
    assert digest(restored.state) == digest(state_of())


def test_a_run_of_which_nothing_can_be_read_does_not_begin_anew_in_silence(tmp_path):
    save(tmp_path, state_of())
    shutil.rmtree(tmp_path / "3/params/d")
    for _ in range(2):
        with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="Remove it to begin anew"):
            checkpoints.restore(target_of(state_of()))


def check_for_ten_seconds(checkpoints: Checkpoints) -> None:
    for _ in range(200):
        checkpoints.check()
        time.sleep(0.05)


def test_a_checkpoint_that_may_not_be_read_is_not_taken_for_damaged(tmp_path, monkeypatch):
    save(tmp_path, state_of())

    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("fastki.training.checkpoint.read_checkpoint", refuse)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match=r"3 can't be read: .*denied"):
        checkpoints.restore(target_of(state_of()))
    assert (tmp_path / "3").is_dir()


def test_an_error_in_the_background_surfaces_once_at_the_next_check(tmp_path):
    def fail(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_of(step=1))
        checkpoints.save(state_of(step=2), assets=fail)
        with pytest.raises(CheckpointError, match=r"step 2 could not be saved in .*No space left on device"):
            check_for_ten_seconds(checkpoints)
        checkpoints.check()
        assert checkpoints.steps().usable == (1,)
        checkpoints.save(state_of(step=3))
    assert Checkpoints(tmp_path).steps().usable == (1, 3)


def test_an_error_in_the_background_surfaces_at_the_end_at_the_latest(tmp_path):
    def fail(folder: Path) -> None:
        raise UsageError("no such robot")

    with (
        pytest.raises(CheckpointError, match=r"step 2 could not be saved .*no such robot"),
        Checkpoints(tmp_path) as all_,
    ):
        all_.save(state_of(step=2), assets=fail)


def test_a_step_is_saved_once(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_of())
        with pytest.raises(CheckpointError, match="is saved already: train into another folder"):
            checkpoints.save(state_of())


def test_what_is_left_of_a_killed_save_is_removed(tmp_path):
    save(tmp_path, state_of())
    (tmp_path / "5.orbax-checkpoint-tmp").mkdir()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.ignored == {"5.orbax-checkpoint-tmp": "unfinished: its saving was cut off"}
        checkpoints.save(state_of(step=5))
    assert sorted(place.name for place in tmp_path.iterdir()) == ["3", "5"]


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(CheckpointError, match="is a file"):
        Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(UsageError, match="is a file"):
        Checkpoints(tmp_path / "checkpoints" / "inner")


@pytest.mark.parametrize("fields", [{"newest": 0}, {"period": 0}])
def test_keeping_none_is_refused(fields):
    with pytest.raises(UsageError, match="must be at least 1"):
        Keep(**fields)
