"""Weights in openpi's checkpoints: out, and in again."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_maker import definition_of, params_of, same
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from fastki.data.norm_stats import load_norm_stats
from fastki.errors import DataError, UsageError
from fastki.model.checkpoint import load_openpi
from fastki.model.checkpoint_match import LoadRules
from fastki.model.checkpoint_save import save_openpi
from fastki.model.params import abstract_model, flatten, initial_values, nest

HEAD = "PaliGemma/img/head/kernel"


@pytest.fixture(scope="module")
def params() -> dict:
    return params_of()


@pytest.fixture(scope="module")
def saved(params, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "checkpoint"
    save_openpi(folder, params)
    return folder


def shapes_of(params: dict) -> dict:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)


@pytest.mark.parametrize("name", ["ckpt_pure", "ckpt_pure/params", "ckpt_train/3", "ckpt_train/3/params"])
def test_openpis_checkpoints_hold_openpis_parameters(shared, name):
    golden = shared / "golden/openpi/pi05_asym"
    with np.load(golden / "params.npz") as archive:
        expected = nest({key: archive[key] for key in archive.files})
    loaded = load_openpi(
        golden / name, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), expected)
    )
    assert same(loaded.params, expected)
    assert len(loaded.report.loaded) == 51
    assert (loaded.report.initial, loaded.report.unused, loaded.report.resized) == ((), (), ())


def test_a_training_step_tells_its_number_and_its_statistics(shared):
    golden = shared / "golden/openpi/pi05_asym"
    with np.load(golden / "params.npz") as archive:
        shapes = nest({key: jax.ShapeDtypeStruct(archive[key].shape, np.float32) for key in archive.files})
    loaded = load_openpi(golden / "ckpt_train/3/params", shapes)
    assert (loaded.folder.step, loaded.folder.trainable, list(loaded.assets)) == (3, True, ["droid"])
    assert set(load_norm_stats(loaded.assets["droid"])) == {"actions", "state"}
    assert load_openpi(golden / "ckpt_pure", shapes).folder.step is None


@pytest.mark.parametrize("trailing_value", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_round_trip_changes_no_bit(params, tmp_path, trailing_value, dtype):
    given = jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(dtype)), params)
    folder = save_openpi(tmp_path / "out", given, trailing_value=trailing_value)
    assert folder == tmp_path / "out/params"
    assert ("'value')" in (folder / "_METADATA").read_text()) == trailing_value
    assert same(load_openpi(tmp_path / "out", given).params, given)


def test_arrays_on_devices_are_saved_too(params, tmp_path):
    save_openpi(tmp_path, jax.tree.map(jnp.asarray, params))
    assert same(load_openpi(tmp_path, params).params, params)


def test_a_definition_takes_float32_unless_told_otherwise(params, saved, tmp_path):
    definition = definition_of()
    assert same(load_openpi(saved, definition).params, params)
    narrow = load_openpi(saved, definition, dtype=jnp.bfloat16).params
    assert same(narrow, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params))
    save_openpi(tmp_path, narrow)
    wide = load_openpi(tmp_path, definition).params
    assert same(wide, jax.tree.map(lambda leaf: leaf.astype(np.float32), narrow))


def test_one_sharding_places_all(params, saved):
    sharding = SingleDeviceSharding(jax.devices()[0])
    loaded = load_openpi(saved, definition_of(), sharding=sharding)
    assert all(leaf.sharding == sharding for leaf in jax.tree.leaves(loaded.params))
    assert same(loaded.params, params)


def test_each_name_can_have_its_sharding(params, saved):
    mesh = Mesh(np.asarray(jax.devices()[:1]), ("x",))
    names = flatten(params)
    shardings = {name: NamedSharding(mesh, PartitionSpec()) for name in names}
    shardings[HEAD] = NamedSharding(mesh, PartitionSpec(None, "x"))
    loaded = load_openpi(saved, definition_of(), sharding=shardings)
    assert flatten(loaded.params)[HEAD].sharding == shardings[HEAD]
    assert same(loaded.params, params)
    del shardings[HEAD]
    with pytest.raises(UsageError, match=f"no sharding for {HEAD}"):
        load_openpi(saved, definition_of(), sharding=shardings)


WRITER = """
import sys, jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from fastki.model.checkpoint import load_openpi
from fastki.model.checkpoint_save import save_openpi
mesh = Mesh(np.asarray(jax.devices()).reshape(2, 2), ("x", "y"))
placed = {"a": NamedSharding(mesh, P("x", "y")), "b": NamedSharding(mesh, P(None, "y")), "c": NamedSharding(mesh, P())}
values = {"a": np.arange(24.0, dtype="f").reshape(4, 6), "b": np.ones((3, 8), "f"), "c": np.full((5,), 2, "f")}
save_openpi(sys.argv[1], {name: jax.device_put(value, placed[name]) for name, value in values.items()})
loaded = load_openpi(sys.argv[1], values, sharding=placed).params
assert all(loaded[name].sharding == placed[name] for name in placed)
assert all(len(loaded[name].addressable_shards) == 4 for name in placed)
assert all(np.array_equal(loaded[name], values[name]) for name in placed)
"""


def test_the_devices_of_the_writer_are_not_needed(tmp_path):
    settings = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path)], check=True, env=settings)
    a = np.arange(24, dtype=np.float32).reshape(4, 6)
    shapes = {"a": a, "b": np.zeros((3, 8), np.float32), "c": np.zeros(5, np.float32)}
    for sharding in (None, SingleDeviceSharding(jax.devices()[0])):
        loaded = load_openpi(tmp_path, shapes, sharding=sharding).params
        assert same(loaded, {"a": a, "b": np.ones((3, 8), np.float32), "c": np.full(5, 2, np.float32)})


def test_checking_the_largest_model_allocates_nothing(saved):
    from fastki.model.config import ModelConfig
    from fastki.sequence.sizes import SIZES

    definition, shapes = abstract_model(ModelConfig(SIZES["pi05"], vocab=257_152))
    for expected in (definition, shapes):
        before = {id(array) for array in jax.live_arrays()}
        with pytest.raises(UsageError, match="has the sizes of dummy: choose --model dummy"):
            load_openpi(saved, expected)
        assert not [array for array in jax.live_arrays() if id(array) not in before and array.nbytes > 64]


def test_a_released_folder_has_statistics_of_several_robots(params, tmp_path):
    save_openpi(tmp_path / "pi05_base", params)
    for name in ("droid", "physical-intelligence/libero"):
        folder = tmp_path / "pi05_base/assets" / name
        folder.mkdir(parents=True)
        (folder / "norm_stats.json").write_text("{}")
    assets = load_openpi(tmp_path / "pi05_base", definition_of()).assets
    assert assets == {name: tmp_path / "pi05_base/assets" / name for name in ("droid", "physical-intelligence/libero")}


def test_initial_values_are_those_of_a_new_model(saved):
    definition = definition_of(state_token=True)
    rules = LoadRules(missing=("state_token",), fresh=("action_in_proj",))
    loaded = load_openpi(saved, definition, rules=rules, seed=3)
    expected = initial_values(definition, loaded.report.initial, seed=3)
    assert {name.partition("/")[0] for name in expected} == {"action_in_proj", "state_token_proj"}
    flat = flatten(loaded.params)
    for name, value in expected.items():
        assert isinstance(flat[name], np.ndarray)
        np.testing.assert_array_equal(flat[name], value)
    again = load_openpi(saved, definition, rules=rules, seed=4)
    assert not np.array_equal(flatten(again.params)["action_in_proj/kernel"], flat["action_in_proj/kernel"])


def test_given_arrays_are_initial_values_and_shapes_are_not(params, saved):
    extra = {**params, "state_token_proj": {"kernel": np.full((6, 64), 2.0, np.float32)}}
    rules = LoadRules(missing=("state_token",))
    loaded = load_openpi(saved, extra, rules=rules)
    assert same(loaded.params, extra)
    assert loaded.report.initial == ("state_token_proj/kernel",)
    with pytest.raises(UsageError, match="no initial values for state_token_proj/kernel"):
        load_openpi(saved, shapes_of(extra), rules=rules)


def test_weights_are_replaced_only_when_that_is_wanted(params, tmp_path):
    save_openpi(tmp_path, params)
    other = jax.tree.map(lambda leaf: leaf + 1, params)
    with pytest.raises(UsageError, match="params exists: choose another folder, or overwrite it"):
        save_openpi(tmp_path, other)
    assert same(load_openpi(tmp_path, params).params, params)
    save_openpi(tmp_path / "params", other, overwrite=True)
    assert same(load_openpi(tmp_path, params).params, other)
    assert [path.name for path in tmp_path.iterdir()] == ["params"]


def test_saving_says_where_it_cannot_write(params, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file is a file"):
        save_openpi(tmp_path / "file", params)
    with pytest.raises(UsageError, match="not on this machine"):
        save_openpi("memory://bucket/out", params)
    with pytest.raises(UsageError, match=r"has a \[ in its path"):
        save_openpi(tmp_path / "run[1]", params)


def test_names_of_folders_may_be_odd(params, tmp_path):
    for name in ("a b%20c#d", "ü*?", "~x"):
        save_openpi(tmp_path / name, params)
        assert same(load_openpi(tmp_path / name, params).params, params)


def test_saving_without_permission_is_one_line(params, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(UsageError, match="no permission to write"):
        save_openpi(tmp_path, params)
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_fails_leaves_what_was_there(params, tmp_path, monkeypatch):
    save_openpi(tmp_path, params)

    def fail(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: disk full [tensorstore_spec='{}']")

    import orbax.checkpoint

    monkeypatch.setattr(orbax.checkpoint.Checkpointer, "save", fail)
    with pytest.raises(UsageError, match=r"can't be written \(RESOURCE_EXHAUSTED: disk full\): choose another folder"):
        save_openpi(tmp_path, jax.tree.map(lambda leaf: leaf + 1, params), overwrite=True)
    assert same(load_openpi(tmp_path, params).params, params)
    assert [path.name for path in tmp_path.iterdir()] == ["params"]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "no parameters to save"),
        ({"a": {"b": 3.0}}, "a/b is no array but float"),
        ({"a": jax.ShapeDtypeStruct((2,), np.float32)}, "a is no array but ShapeDtypeStruct"),
    ],
)
def test_only_arrays_are_saved(tree, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        save_openpi(tmp_path, tree)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_logged_and_the_log_stays_as_it_was(params, tmp_path, caplog, capfd):
    level = logging.getLogger("absl").level
    save_openpi(tmp_path, params)
    load_openpi(tmp_path, params)
    assert (caplog.records, logging.getLogger("absl").level) == ([], level)
    assert capfd.readouterr() == ("", "")


def test_a_checkpoint_of_another_kind_of_tree_is_refused(tmp_path):
    save_openpi(tmp_path / "a", {"x": np.ones(3, np.float32), "n": np.arange(3)})
    shapes = {"x": jax.ShapeDtypeStruct((3,), np.float32), "n": jax.ShapeDtypeStruct((3,), np.int64)}
    with pytest.raises(UsageError, match="n int64 instead of floating-point numbers"):
        load_openpi(tmp_path / "a", shapes)
    metadata = tmp_path / "a/params/_METADATA"
    metadata.write_text(metadata.read_text().replace('"params"', '"model"'))
    with pytest.raises(DataError, match="its tree has no 'params' at the top"):
        load_openpi(tmp_path / "a", shapes)
