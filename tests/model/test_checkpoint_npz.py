"""PaliGemma's weights as a policy's first state."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from checkpoint_maker import config_of, definition_of, params_of, write_npz

from fastki.errors import DataError, UsageError
from fastki.model.checkpoint_npz import BACKBONE_ONLY, load_paligemma
from fastki.model.checkpoint_traits import part_of
from fastki.model.params import abstract_model, flatten, nest
from fastki.sequence.sizes import SIZES, ModelSize, VisionSize


def sevens(**changes) -> dict:
    """Initial values that no file has."""
    shapes = flatten(abstract_model(config_of(**changes))[1])
    return nest({name: np.full(leaf.shape, 7, np.float32) for name, leaf in shapes.items()})


@pytest.fixture
def npz(tmp_path) -> Path:
    return write_npz(tmp_path / "pt_28.npz", params_of())


@pytest.mark.parametrize("kind", ["pi05", "pi0"])
@pytest.mark.parametrize("prefix", ["params/", ""])
def test_tower_embeddings_and_backbone_come_from_the_file(tmp_path, kind, prefix):
    path = write_npz(tmp_path / "pt.npz", params_of(kind=kind), prefix=prefix)
    loaded = load_paligemma(path, sevens(kind=kind, state_token=True))
    flat, stored = flatten(loaded.params), flatten(params_of(kind=kind))
    report = loaded.report
    assert {part_of(name) for name in report.loaded} == {"tower", "embedder", "backbone"}
    assert {part_of(name) for name in report.initial} == {"expert", "actions", "state_token"}
    assert all(np.array_equal(flat[name], stored[name]) for name in report.loaded)
    assert all((flat[name] == 7).all() for name in report.initial)
    assert (report.unused, loaded.folder, loaded.assets) == ((), None, {})
    assert f"parameters from {path}; " in str(report)


def test_a_pi0_fast_model_takes_nothing_else(npz):
    loaded = load_paligemma(npz, definition_of(kind="pi0_fast"))
    assert (loaded.report.initial, loaded.report.unused) == ((), ())


def test_a_definition_draws_the_rest(npz):
    loaded = load_paligemma(npz, definition_of(kind="pi0_fast", state_token=True), seed=1)
    kernel = loaded.params["state_token_proj"]["kernel"]
    assert isinstance(kernel, np.ndarray)
    assert 0 < np.abs(kernel).max() < 7


@pytest.mark.parametrize("stored", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_floats_become_what_the_model_has(tmp_path, stored):
    narrow = jax.tree.map(lambda leaf: leaf.astype(stored), params_of())
    loaded = load_paligemma(write_npz(tmp_path / "pt.npz", narrow), sevens())
    flat = flatten(narrow)
    for name in loaded.report.loaded:
        array = flatten(loaded.params)[name]
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, flat[name].astype(np.float32))


def test_sharding_and_dtype_are_as_asked_for(npz):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    loaded = load_paligemma(npz, sevens(), dtype=jnp.bfloat16, sharding=sharding)
    assert {(leaf.dtype, leaf.sharding) for leaf in jax.tree.leaves(loaded.params)} == {
        (jnp.dtype(jnp.bfloat16), sharding)
    }


def test_pictures_of_another_size_are_refused_or_interpolated(tmp_path, npz):
    base = SIZES["dummy"]
    larger = ModelSize("own", VisionSize(56, 14, 32, 2, 128, 2), base.backbone, base.expert)
    with pytest.raises(UsageError, match=r"pictures of 28 × 28 pixels, the model at 56 × 56.*resize_positions = true"):
        load_paligemma(npz, sevens(size=larger))
    rules = dataclasses.replace(BACKBONE_ONLY, resize_positions=True)
    loaded = load_paligemma(npz, sevens(size=larger), rules=rules)
    old = params_of()["PaliGemma"]["img"]["pos_embedding"].reshape(2, 2, 32)
    new = loaded.params["PaliGemma"]["img"]["pos_embedding"].reshape(4, 4, 32)
    np.testing.assert_allclose(new[0, 0], old[0, 0], atol=1e-6)
    np.testing.assert_allclose(new[0, 1], 0.75 * old[0, 0] + 0.25 * old[0, 1], atol=1e-6)
    smaller = load_paligemma(write_npz(tmp_path / "l.npz", loaded.params), sevens(), rules=rules)
    assert smaller.report.resized == ("PaliGemma/img/pos_embedding",)


def test_a_larger_vocabulary_is_refused(npz):
    with pytest.raises(UsageError, match="vocabulary of 80 has more rows than the checkpoint's 64: set vocab = 64"):
        load_paligemma(npz, sevens(vocab=80))


def test_what_the_file_lacks_of_paligemma_is_an_error(tmp_path):
    params = params_of()
    del params["PaliGemma"]["llm"]["final_norm"]
    path = write_npz(tmp_path / "pt.npz", params, **{"params/llm/stray": np.ones(2, np.float32)})
    with pytest.raises(UsageError) as caught:
        load_paligemma(path, sevens())
    assert "1 missing from the checkpoint (PaliGemma/llm/final_norm/scale)" in str(caught.value)
    assert "1 that the model has not (PaliGemma/llm/stray)" in str(caught.value)


def test_sizes_are_compared_before_anything_is_unpacked(tmp_path, monkeypatch):
    params = params_of()
    params["PaliGemma"]["llm"]["embedder"]["input_embedding"] = np.zeros((50_000, 64), np.float32)
    path = write_npz(tmp_path / "pt.npz", params)
    monkeypatch.setattr("fastki.model.checkpoint_npz._read", lambda *_: pytest.fail("an array was read"))
    with pytest.raises(UsageError, match="set vocab = 50000"):
        load_paligemma(path, sevens())


def test_python_objects_are_never_loaded(tmp_path):
    path = write_npz(tmp_path / "pt.npz", params_of(), evil=np.array([{}], object))
    with pytest.raises(DataError, match="evil is object, not floating-point numbers"):
        load_paligemma(path, sevens())


def test_an_entry_that_claims_another_size_is_refused(npz):
    name = "params/llm/final_norm/scale.npy"
    with zipfile.ZipFile(npz) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    entries[name] = entries[name].replace(b"(64,)", b"(99,)")
    with zipfile.ZipFile(npz, "w") as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content)
    with pytest.raises(DataError, match=r"scale has 384 bytes, not 524; fetch it again"):
        load_paligemma(npz, sevens())


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped", "absent", "folder"])
def test_damage_is_one_line(npz, damage):
    content = npz.read_bytes()
    npz.unlink()
    middle = len(content) // 2
    flipped = content[: middle - 8] + bytes(16) + content[middle + 8 :]
    if damage == "folder":
        npz.mkdir()
    elif damage != "absent":
        npz.write_bytes({"cut": content[:middle], "empty": b"", "text": b"weights", "flipped": flipped}[damage])
    with pytest.raises(DataError) as caught:
        load_paligemma(npz, sevens())
    assert str(npz) in str(caught.value)
    assert "\n" not in str(caught.value)
