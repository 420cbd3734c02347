"""Exports of a tokenizer and of a run: what lies in them, that it is read back, and that damage is found."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

pytest.importorskip("flax")
pytest.importorskip("safetensors")

import orbax.checkpoint as ocp
import safetensors.numpy
from dummy_run import dummy_setup, random_policy
from etils import epath

from fastki import FastTokenizer
from fastki.data.norm_stats import NormStats, load_norm_stats, save_norm_stats
from fastki.data.normalize import Normalizer
from fastki.errors import DataError, UsageError
from fastki.export import reference
from fastki.export.check import check_export
from fastki.export.lerobot_files import policy_config, postprocessor, preprocessor
from fastki.export.name_map import EXPERT_HEAD, LM_HEAD
from fastki.export.notes import fits_pi05, lerobot_notes, openpi_notes
from fastki.export.readme_openpi import openpi_readme
from fastki.export.run import SYSTEMS, ExportOptions, export
from fastki.export.source import Source, checked_asset, policy_source, tokenizer_source
from fastki.export.weights import read_weights
from fastki.export.write import write_lerobot
from fastki.model.checkpoint_save import save_openpi
from fastki.model.config import LoraConfig
from fastki.model.params import flatten
from fastki.sequence.layout import PRESETS
from fastki.training.run_folder import RunFolder, read_config


@pytest.fixture(autouse=True)
def no_second_python(monkeypatch):
    """Ids are read by fastki here; tests/cli/test_export_cli.py has AutoProcessor read them."""
    monkeypatch.setattr(reference.importlib.util, "find_spec", lambda _: None)


def read_as_openpi(folder):
    """The tree that openpi's ``restore_params`` gets: everything under ``params``, as NumPy arrays."""
    arrays = ocp.RestoreArgs(restore_type=np.ndarray)
    metadata = ocp.PyTreeCheckpointHandler().metadata(epath.Path(folder / "params")).tree
    item = {"params": metadata["params"]}
    with ocp.PyTreeCheckpointer() as reader:
        restored = reader.restore(
            folder / "params",
            ocp.args.PyTreeRestore(item=item, restore_args=jax.tree.map(lambda _: arrays, item)),
        )
    return flatten(restored["params"])


def weights_of(source):
    return read_weights(source.checkpoint, source.card.model, source.card.layout, lambda *_: None)


def test_openpi_reads_the_weights_the_statistics_and_nothing_else(dummy_source, tmp_path):
    done = export(dummy_source, ExportOptions("openpi", tmp_path / "out", check=True))
    assert done.same
    assert [row.what for row in done.compared] == ["weights", "statistics of droid", "token ids"]
    found, wanted = read_as_openpi(tmp_path / "out"), weights_of(dummy_source)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    stats = load_norm_stats(tmp_path / "out/assets/droid")
    assert list(stats) == ["state", "actions"]
    np.testing.assert_array_equal(stats["actions"].q99, dummy_source.tokenizer.normalizer.stats.q99)


def test_the_weights_are_the_average_and_not_those_that_training_goes_on_from(dummy_source, trained_once, tmp_path):
    assert read_config(RunFolder(trained_once)).recipe.ema_decay == 0.99
    export(dummy_source, ExportOptions("openpi", tmp_path / "out"))
    found, place = read_as_openpi(tmp_path / "out"), epath.Path(trained_once / "checkpoints/3/train_state")
    metadata = ocp.PyTreeCheckpointHandler().metadata(place).tree
    arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata)
    own = ocp.PyTreeCheckpointer().restore(place, ocp.args.PyTreeRestore(metadata, restore_args=arrays))
    name = "action_in_proj/kernel"
    assert (found[name] != flatten(own["params"])[name]).any()


def test_lerobot_gets_every_weight_once_and_the_way_back(dummy_source, tmp_path):
    done = export(dummy_source, ExportOptions("lerobot", tmp_path / "out", check=True))
    assert done.same
    tensors = safetensors.numpy.load_file(tmp_path / "out/model.safetensors")
    document = json.loads((tmp_path / "out/name_map.json").read_text())
    assert tensors.keys() == document["arrays"].keys() | document["zeros"].keys()
    assert {value.dtype for value in tensors.values()} == {np.dtype(np.float32)}
    weights = weights_of(dummy_source)
    np.testing.assert_array_equal(tensors[LM_HEAD], weights["PaliGemma/llm/embedder/input_embedding"])
    assert tensors[EXPERT_HEAD].shape == (len(tensors[LM_HEAD]), weights["action_in_proj/kernel"].shape[1])
    assert not tensors[EXPERT_HEAD].any()
    np.testing.assert_array_equal(tensors["action_in_proj.weight"], weights["action_in_proj/kernel"].T)
    stats = json.loads((tmp_path / "out/stats.json").read_text())
    assert {name: len(one["q01"]) for name, one in stats.items()} == {"observation.state": 8, "action": 8}
    state = safetensors.numpy.load_file(tmp_path / "out/policy_preprocessor_step_2_normalizer_processor.safetensors")
    np.testing.assert_allclose(state["action.q01"], stats["action"]["q01"], rtol=1e-6)
    assert not (tmp_path / "out/config.json").exists()  # LeRobot has no such size.
    modes = {path.stat().st_mode for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert len(modes) == 1  # Who may read the README may read the weights.


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_tokenizer_has_no_weights(system, fitted_sample, tmp_path):
    done = export(tokenizer_source(str(fitted_sample), "my/arm"), ExportOptions(system, tmp_path / "out", check=True))
    assert done.same
    assert [row.what for row in done.compared] == ["statistics of my/arm", "token ids"]
    loaded = FastTokenizer.load(tmp_path / "out/tokenizer")
    chunks = np.random.default_rng(0).normal(size=(4, loaded.horizon, loaded.action_dim)) * 0.3
    ours = FastTokenizer.load(fitted_sample).encode(chunks)
    assert [one.tolist() for one in loaded.encode(chunks)] == [one.tolist() for one in ours]
    assert not {"params", "model.safetensors"} & {path.name for path in (tmp_path / "out").iterdir()}
    readme = (tmp_path / "out/README.md").read_text()
    assert f"{tmp_path}/out/tokenizer" in readme
    if system == "lerobot":
        assert f"--policy.chunk_size={loaded.horizon} --policy.n_action_steps={loaded.horizon} " in readme
        assert '{"VISUAL": "IDENTITY", "STATE": "QUANTILES", "ACTION": "QUANTILES"}' in readme


@pytest.fixture
def exported(dummy_source, tmp_path):
    """Both exports, their weights, and what compares them."""
    weights = weights_of(dummy_source)
    for system in SYSTEMS:
        export(dummy_source, ExportOptions(system, tmp_path / system))

    def differing(system):
        rows = check_export(tmp_path / system, system, dummy_source, weights)
        return {row.what: row.found for row in rows if not row.same}

    return tmp_path, weights, differing


def test_other_weights_are_found(exported, dummy_source):
    _, weights, differing = exported
    weights["time_mlp_in/bias"] = weights["time_mlp_in/bias"] + np.float32(1e-7)
    for system in SYSTEMS:
        assert differing(system) == {"weights": "time_mlp_in/bias has other values"}
    del weights["time_mlp_in/bias"]
    assert differing("openpi") == {"weights": "time_mlp_in/bias is in one of the two alone"}


def test_a_damaged_export_is_found(exported):
    place, _, differing = exported
    path = place / "lerobot/model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    stats = place / "openpi/assets/droid/norm_stats.json"
    stats.write_text(stats.read_text().replace('"q01": [\n', '"q01": [\n        9.5,\n', 1))
    code = place / "openpi/tokenizer/processing_fastki.py"
    code.write_text(code.read_text() + "\nraise SystemExit('run')\n")
    assert "model.safetensors is damaged" in differing("lerobot")["weights"]
    found = differing("openpi")
    assert "damaged" in found["statistics of droid"]
    assert "is not the code that fastki writes, so it is not run" in found["token ids"]


def test_other_statistics_and_ids_are_found(exported, fitted_sample):
    place, _, differing = exported
    for file in ("stats.json", "policy_postprocessor_step_0_unnormalizer_processor.safetensors"):
        (place / "lerobot" / file).unlink()
    stats = load_norm_stats(place / "openpi/assets/droid")
    moved = dataclasses.replace(stats["actions"], mean=stats["actions"].mean + 1)
    save_norm_stats(place / "openpi/assets/droid", {**stats, "actions": moved})
    shutil.rmtree(place / "openpi/tokenizer")
    shutil.copytree(fitted_sample, place / "openpi/tokenizer")
    found = differing("openpi")
    assert found["statistics of droid"] == "mean of actions differs"
    assert "have other ids by fastki" in found["token ids"]
    assert "is missing" in differing("lerobot")["statistics of droid"]


def test_low_rank_additions_are_merged_where_openpi_has_no_such_variant(tmp_path):
    setup = dummy_setup("network.backbone_lora.rank=2", "network.backbone_lora.alpha=4.0")
    assert setup.model.backbone_lora == LoraConfig(2, 4.0)
    policy = random_policy(setup, tmp_path / "step/assets")
    save_openpi(tmp_path / "step", policy.params)
    source = policy_source(tmp_path / "step", "run", "mine")
    done = export(source, ExportOptions("openpi", tmp_path / "out", check=True))
    assert done.same
    assert any("rank 2, alpha 4) are merged into the weights" in note for note in done.notes)
    assert not any("lora" in name for name in read_as_openpi(tmp_path / "out"))
    assert (tmp_path / "out/assets/mine/norm_stats.json").is_file()
    assert export(source, ExportOptions("lerobot", tmp_path / "other", check=True)).same


def test_a_whole_pi05_needs_no_word_of_warning(pi05_source):
    assert fits_pi05(pi05_source.card)
    assert openpi_notes(pi05_source) == ()
    assert len(lerobot_notes(pi05_source)) == 1  # Of min and max.
    text = openpi_readme(pi05_source, (), "/there")
    assert "Pi0Config(pi05=True, action_dim=32, action_horizon=16, max_token_len=200)" in text
    assert "--policy.dir=/there" in text


def test_openpis_lora_variants_and_pi0_fast_are_named_in_the_lines(pi05_source):
    lora = {"backbone_lora": LoraConfig(16, 16.0), "expert_lora": LoraConfig(32, 32.0)}
    card = dataclasses.replace(pi05_source.card, model=dataclasses.replace(pi05_source.card.model, **lora))
    source = dataclasses.replace(pi05_source, card=card)
    text = openpi_readme(source, (), "/there")
    assert 'paligemma_variant="gemma_2b_lora", action_expert_variant="gemma_300m_lora"' in text
    assert sum("kept: they are those of openpi" in note for note in openpi_notes(source)) == 2
    fast = dataclasses.replace(card, model=dataclasses.replace(pi05_source.card.model, kind="pi0_fast"), mode="fast")
    text = openpi_readme(dataclasses.replace(source, card=fast), (), "/there")
    assert 'fast_model_tokenizer_kwargs={"fast_tokenizer_path": "/there/tokenizer"}' in text
    assert "pi0_fast.Pi0FASTConfig(" in text


def test_lerobots_policy_and_processors_are_of_the_run(pi05_source):
    card = pi05_source.card
    config = policy_config(pi05_source, card)
    assert (config["type"], config["chunk_size"], config["max_action_dim"]) == ("pi05", 16, 32)
    assert config["normalization_mapping"] == {"VISUAL": "IDENTITY", "STATE": "QUANTILES", "ACTION": "QUANTILES"}
    assert config["output_features"] == {"action": {"type": "ACTION", "shape": [8]}}
    assert config["input_features"]["observation.state"] == {"type": "STATE", "shape": [8]}
    steps = preprocessor(pi05_source, card)["steps"]
    cameras = steps[0]["config"]["rename_map"]
    assert cameras["observation.images.exterior_image_1_left"] == "observation.images.base_0_rgb"
    assert set(cameras.values()) == {name for name in config["input_features"] if ".images." in name}
    place = [step["registry_name"] for step in steps].index("normalizer_processor")
    assert steps[place]["state_file"] == f"policy_preprocessor_step_{place}_normalizer_processor.safetensors"
    assert postprocessor(pi05_source, card)["steps"][0]["config"]["features"] == config["output_features"]


@pytest.mark.parametrize(
    ("changes", "model", "words"),
    [
        ({"mode": "fast"}, {}, "its action expert knows nothing"),
        ({"mode": "ki"}, {}, "no knowledge insulation"),
        ({}, {"kind": "pi0"}, "openpi normalises actions by mean and standard deviation, and this is by quantile"),
        ({"slots": ()}, {}, "trained without pictures"),
        ({"skip": 0, "mode": "ki"}, {}, "leave 0 ids of the text alone"),
        ({"text": "byte"}, {}, "trained on the text tokenizer byte"),
        ({"layout": PRESETS["images-fast"]}, {}, "its layout is images-fast"),
        ({"layout": PRESETS["images-prompt-fast"]}, {"kind": "pi0"}, "builds π0's: pictures, then the prompt alone"),
        ({}, {"vocab": 300_000}, "table of text has 300,000 rows"),
        ({}, {"state_token": True}, "state_token_proj"),
    ],
)
def test_what_openpi_can_not_do_is_said(pi05_source, changes, model, words):
    card = dataclasses.replace(pi05_source.card, model=dataclasses.replace(pi05_source.card.model, **model), **changes)
    found = openpi_notes(dataclasses.replace(pi05_source, card=card))
    assert any(words in note for note in found), found
    assert words in openpi_readme(dataclasses.replace(pi05_source, card=card), found, "/there")


def test_what_a_tokenizer_wants_of_the_other_system_is_said(tmp_path):
    from fastki import open_dataset
    from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset

    settings = FitSettings(vocab_size=128, bins=20, reference="previous")
    options = FitOptions(settings, stride=4, dims="0:3", delta="0:2", clip=True)
    fitted = fit_on_dataset(open_dataset("synthetic:droid?episodes=4"), options).tokenizer
    source = tokenizer_source(str(fitted.save(tmp_path / "tok")), None)
    for notes in (openpi_notes(source), lerobot_notes(source)):
        text = "\n".join(notes)
        for words in (
            "--reference previous",
            "were clipped",
            "dimensions 0, 1 are relative to the state",
            "0, 1, 2 of",
        ):
            assert words in text
    assert export(source, ExportOptions("openpi", tmp_path / "out", check=True)).same


def test_a_mixtures_statistics_are_called_as_its_datasets(tmp_path):
    from fastki import open_dataset
    from fastki.tokenizer import FitOptions, FitSettings, fit_on_mixture

    data = "synthetic:droid?episodes=4&seed="
    lines = [f'[[dataset]]\ndata = "{data}{seed}"\nname = "{name}"\n' for seed, name in enumerate("ab")]
    (tmp_path / "mix.toml").write_text("\n".join(lines))
    options = FitOptions(FitSettings(vocab_size=128, bins=20), stride=4)
    fitted = fit_on_mixture(open_dataset(str(tmp_path / "mix.toml")), options).tokenizer
    name = str(fitted.save(tmp_path / "tok"))
    for system in SYSTEMS:
        done = export(tokenizer_source(name, None), ExportOptions(system, tmp_path / system, check=True))
        assert done.same
        assert [row.what for row in done.compared] == ["statistics of a", "statistics of b", "token ids"]
        assert "`assets/b/" in (tmp_path / system / "README.md").read_text()
    with pytest.raises(UsageError, match="leave --asset-id out"):
        tokenizer_source(name, "droid")


def test_without_safetensors_the_message_has_the_command(fitted_sample, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(DataError, match=r"pip install 'fastki\[export\]'"):
        export(tokenizer_source(str(fitted_sample), None), ExportOptions("lerobot", tmp_path / "out"))


def test_a_published_tokenizer_needs_no_export(shared):
    folders = [path.parent for path in (shared / "golden/fast").rglob("processor_config.json")]
    if not folders:
        pytest.skip("no published folder among the golden vectors")
    with pytest.raises(UsageError, match="published FAST tokenizer, which openpi and LeRobot load as it is"):
        tokenizer_source(str(folders[0]), None)


def test_a_policy_that_lerobot_can_make_has_all_that_it_is_made_of(pi05_source, tmp_path):
    weights = {"action_in_proj/kernel": np.ones((2, 3), np.float32)}
    notes = lerobot_notes(pi05_source)
    write_lerobot(tmp_path, pi05_source, dict(weights), notes, "/my place", lambda *_: None)
    assert json.loads((tmp_path / "config.json").read_text()) == policy_config(pi05_source, pi05_source.card)
    for name in ("policy_preprocessor", "policy_postprocessor"):
        steps = json.loads((tmp_path / f"{name}.json").read_text())["steps"]
        states = [step["state_file"] for step in steps if "state_file" in step]
        assert len(states) == 1
        assert (tmp_path / states[0]).is_file()
    readme = (tmp_path / "README.md").read_text()
    assert 'PI05Policy.from_pretrained("/my place")' in readme
    assert "action_tokenizer_name='/my place/tokenizer'" in readme
    assert '"observation.images.base_0_rgb"' in readme.split("--rename_map=")[1].splitlines()[0]


def test_a_place_that_is_taken_stays_as_it_is(fitted_sample, tmp_path):
    source = tokenizer_source(str(fitted_sample), None)
    export(source, ExportOptions("openpi", tmp_path / "out"))
    with pytest.raises(UsageError, match="holds an export: give --overwrite"):
        export(source, ExportOptions("lerobot", tmp_path / "out"))
    export(source, ExportOptions("lerobot", tmp_path / "out", overwrite=True))
    assert (tmp_path / "out/stats.json").is_file()
    assert not (tmp_path / "out/assets").exists()
    with pytest.raises(UsageError, match="holds no export: choose another --out"):
        export(source, ExportOptions("openpi", fitted_sample, overwrite=True))


def test_too_little_room_is_found_before_anything_is_written(dummy_source, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(UsageError, match=r"the export needs .* make room, or choose another --out"):
        export(dummy_source, ExportOptions("openpi", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("asset", ["../up", "/root", "", "a//b", "a/..", "."])
def test_an_asset_id_stays_inside(asset):
    with pytest.raises(UsageError, match="is no name"):
        checked_asset(asset)


@pytest.mark.parametrize(("shift", "same"), [(0.0, True), (2e-6, False)])
def test_a_narrow_range_far_from_0_is_as_exact_as_float32_has_it(shift, same, tmp_path):
    low, high = np.array([0.99903, -1.0]), np.array([1.0, 1.0])
    stats = NormStats(mean=(low + high) / 2, std=(high - low) / 4, q01=low, q99=high)
    normalizers = {"state": Normalizer("quantile", stats)}
    source = Source("run", None, None, {"arm": normalizers})
    write_lerobot(tmp_path, source, {}, (), "/there", lambda *_: None)
    for path in tmp_path.glob("*.safetensors"):
        tensors = safetensors.numpy.load_file(path)
        tensors["observation.state.q01"] -= np.float32(shift)
        safetensors.numpy.save_file(tensors, path)
    (row,) = check_export(tmp_path, "lerobot", source, {})
    assert row.same == same, row.found
    assert float(row.found.split()[-1]) > 1e-5  # What a wide range may not have.


def test_the_statistics_that_are_float64_have_to_be_so(tmp_path):
    low, high = np.array([0.99903]), np.array([1.0])
    stats = NormStats(mean=(low + high) / 2, std=(high - low) / 4, q01=low, q99=high)
    source = Source("run", None, None, {"arm": {"state": Normalizer("quantile", stats)}})
    write_lerobot(tmp_path, source, {}, (), "/there", lambda *_: None)
    assert check_export(tmp_path, "lerobot", source, {})[0].same
    plain = json.loads((tmp_path / "stats.json").read_text())
    plain["observation.state"]["q01"] = np.float32(low).tolist()
    (tmp_path / "stats.json").write_text(json.dumps(plain))
    assert not check_export(tmp_path, "lerobot", source, {})[0].same
