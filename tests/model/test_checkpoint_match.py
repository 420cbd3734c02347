"""Checkpoints that don't fit, those that are meant not to, and damaged ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from checkpoint_maker import config_of, definition_of, params_of, same

from fastki.errors import DataError, UsageError
from fastki.model.checkpoint import load_openpi
from fastki.model.checkpoint_match import LoadRules
from fastki.model.checkpoint_save import save_openpi
from fastki.model.checkpoint_traits import PARTS, names_matching, part_of, read_traits
from fastki.model.config import LoraConfig
from fastki.model.params import Definition, abstract_model, flatten, nest
from fastki.sequence.sizes import SIZES, ModelSize

BASE = SIZES["dummy"]
LORA = LoraConfig(rank=4)


def size_with(**changes) -> ModelSize:
    return ModelSize(**{**vars(BASE), "name": "own", **changes})


def other(part: str, **changes) -> ModelSize:
    size = getattr(BASE, part)
    return size_with(**{part: type(size)(**{**vars(size), **changes})})


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_openpi(folder, params_of())
    return folder


@pytest.fixture
def save(tmp_path):
    def call(**changes) -> Path:
        save_openpi(tmp_path / "made", params_of(**changes))
        return tmp_path / "made"

    return call


def refusal(folder: Path, definition: Definition, **rules) -> str:
    with pytest.raises(UsageError) as caught:
        load_openpi(folder, definition, rules=LoadRules(**rules))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (
            {"action_dim": 8},
            ["action_dim is 6, not 8: set action_dim = 6, or", "'action_out_proj'", "3 of another"],
        ),
        (
            {"action_dim": 4},
            ["not 4: set action_dim = 6 (actions of fewer dim", "[6, 64] instead of [4"],
        ),
        ({"vocab": 80}, ["vocabulary of 80 has more rows than the checkpoint's 64: set vocab = 64", "1 of another"]),
        ({"vocab": 40}, ["vocabulary of 40 has fewer rows than the checkpoint's 64: set vocab = 64"]),
        (
            {"kind": "pi0"},
            ["of kind pi05, not pi0: set kind = 'pi05'", "missing from", "that the model has not"],
        ),
        ({"kind": "pi0_fast"}, ["set kind = 'pi05', or leave its expert out with unused = ['expert', 'actions']"]),
        (
            {"state_token": True},
            ["it has no state token", "missing = ['state_token']", "2 missing from the"],
        ),
        ({"expert_lora": LORA}, ["no low-rank additions: let them start anew with missing = ['lora']"]),
        ({"size": SIZES["tiny"]}, ["it has the sizes of dummy: choose --model dummy"]),
        (
            {"size": other("vision", image_size=42)},
            ["pictures of 28 × 28", "42 × 42", "resize_positions = true"],
        ),
    ],
)
def test_a_model_that_differs_is_told_how(saved, changes, parts):
    message = refusal(saved, definition_of(**changes))
    for part in parts:
        assert part in message
    assert str(saved) in message


@pytest.mark.parametrize(
    ("stored", "parts"),
    [
        ({"kind": "pi0_fast"}, ["set kind = 'pi0_fast', or let the expert start anew with missing = ['expert', 'act"]),
        ({"state_token": True}, ["state_token = true, or leave it out with unused = ['state_token']"]),
        ({"backbone_lora": LORA}, ["set backbone_lora = rank 4, expert_lora = none, or leave them out with unused"]),
        (
            {"size": other("expert", mlp=96)},
            ["expert with mlp 96 against 128: give the model those, or let the"],
        ),
        (
            {"size": other("vision", depth=3)},
            ["image tower with depth 3 against 2: give the model those"],
        ),
    ],
)
def test_a_checkpoint_that_differs_says_what_it_is(save, stored, parts):
    message = refusal(save(**stored), definition_of())
    for part in parts:
        assert part in message


def test_every_difference_is_counted_and_a_few_are_named(save):
    params = params_of()
    del params["time_mlp_in"], params["action_in_proj"]["bias"]
    params["stray"] = {"kernel": np.ones((2, 2), np.float32)}
    params["time_mlp_out"] = {"kernel": np.ones((64, 65), np.float32), "bias": np.ones(65, np.float32)}
    folder = save()
    save_openpi(folder, params, overwrite=True)
    message = refusal(folder, definition_of())
    assert "3 missing from the checkpoint (action_in_proj/bias, time_mlp_in/bias, time_mlp_in/kernel)" in message
    assert "1 that the model has not (stray/kernel)" in message
    assert "2 of another shape (time_mlp_out/bias [65] instead of [64], time_mlp_out/kernel [64, 65] inst" in message
    long = refusal(folder, definition_of(size=SIZES["tiny"]))
    assert len(long) < 2500
    assert " more)" in long


def test_differences_are_told_before_arrays_are_read(saved, tmp_path):
    folder = Path(shutil.copytree(saved, tmp_path / "copy"))
    for file in folder.rglob("ocdbt.process_0/d/*"):
        file.write_bytes(b"")
    assert "set action_dim = 6" in refusal(folder, definition_of(action_dim=8))
    with pytest.raises(DataError, match="damaged or incomplete"):
        load_openpi(folder, definition_of())


@pytest.mark.parametrize(
    ("changes", "rules", "initial"),
    [
        ({"state_token": True}, {"missing": ["state_token"]}, {"state_token"}),
        ({"state_token": True}, {"missing": ["state_token_proj"]}, {"state_token"}),
        ({"backbone_lora": LORA, "expert_lora": LORA}, {"missing": [".*lora.*"]}, {"lora"}),
        ({"backbone_lora": LORA}, {"missing": ["lora", "state_token"]}, {"lora"}),
        ({"action_dim": 7}, {"fresh": ["action_in_proj", "action_out_proj/.*"]}, {"actions"}),
        ({"vocab": 70}, {"fresh": ["embedder"]}, {"embedder"}),
        ({"size": other("expert", width=32)}, {"fresh": ["expert", "actions"]}, {"expert", "actions"}),
        ({"kind": "pi0_fast"}, {"unused": ["expert", "actions"]}, set()),
    ],
)
def test_parts_may_start_anew(saved, changes, rules, initial):
    shapes = flatten(abstract_model(config_of(**changes))[1])
    given = nest({name: np.full(leaf.shape, 7, np.float32) for name, leaf in shapes.items()})
    loaded = load_openpi(saved, given, rules=LoadRules(**{name: tuple(words) for name, words in rules.items()}))
    flat, stored, report = flatten(loaded.params), flatten(params_of()), loaded.report
    assert {part_of(name) for name in report.initial} == initial
    assert flat.keys() == shapes.keys() == {*report.loaded, *report.initial}
    assert all((flat[name] == 7).all() for name in report.initial)
    assert all(np.array_equal(flat[name], stored[name]) for name in report.loaded)
    assert set(report.unused) == set(stored) - set(report.loaded)


def test_a_rule_for_one_part_forgives_no_other(saved):
    message = refusal(saved, definition_of(state_token=True, expert_lora=LORA), missing=("lora",))
    assert "2 missing from the checkpoint (state_token_proj/bias, state_token_proj/kernel)" in message
    assert "lora_a" not in message


def test_a_report_is_one_line_with_names(saved):
    rules = LoadRules(missing=("state_token",), fresh=("time_mlp_in",))
    report = str(load_openpi(saved, definition_of(state_token=True), rules=rules).report)
    assert "49 parameters from" in report
    assert "4 at their initial values (state_token_proj/bias, state_token_proj/kernel, time_mlp_in/bias, " in report
    assert "2 of the checkpoint unused (time_mlp_in/bias, time_mlp_in/kernel)" in report


def test_positions_are_interpolated_on_demand(tmp_path):
    params = params_of(size=other("vision", image_size=56))
    rows, columns = np.meshgrid(np.arange(4.0), np.arange(4.0), indexing="ij")
    ramp = np.stack([rows, columns], axis=-1).reshape(1, 16, 2)
    params["PaliGemma"]["img"]["pos_embedding"] = np.tile(ramp, (1, 1, 16)).astype(np.float32)
    save_openpi(tmp_path, params)
    definition = definition_of(size=other("vision", image_size=112))
    assert "resize_positions = true" in refusal(tmp_path, definition)
    loaded = load_openpi(tmp_path, definition, rules=LoadRules(resize_positions=True))
    assert loaded.report.resized == ("PaliGemma/img/pos_embedding",)
    grid = loaded.params["PaliGemma"]["img"]["pos_embedding"].reshape(8, 8, 32)
    between = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    np.testing.assert_allclose(grid[:, 3, 0], between, atol=1e-6)
    np.testing.assert_allclose(grid[5, :, 1], between, atol=1e-6)


@pytest.mark.parametrize("field", ["missing", "fresh", "unused"])
def test_words_are_patterns_in_a_list(saved, field):
    with pytest.raises(UsageError, match="put it in brackets"):
        LoadRules(**{field: "lora"})
    assert "'*lora' is no pattern of names" in refusal(saved, definition_of(), **{field: ("*lora",)})


def test_parts_hold_every_parameter_once():
    names = flatten(abstract_model(config_of(state_token=True, backbone_lora=LORA, expert_lora=LORA))[1])
    assert {part_of(name) for name in names} == set(PARTS)
    expert = names_matching(["expert"], names)
    assert "PaliGemma/llm/layers/mlp_1/linear_lora_a" in expert
    assert "PaliGemma/llm/final_norm_1/Dense_0/kernel" in expert
    assert not [name for name in expert if name.startswith("PaliGemma/img")]
    assert names_matching(["PaliGemma/llm/layers/mlp"], names) == {
        name for name in names if name.startswith("PaliGemma/llm/layers/mlp/")
    }


@pytest.mark.parametrize("kind", ["pi05", "pi0", "pi0_fast"])
@pytest.mark.parametrize("name", list(SIZES))
def test_traits_are_those_of_the_configuration(name, kind):
    config = config_of(size=SIZES[name], kind=kind, vocab=257_152, backbone_lora=LORA, state_token=True)
    traits = read_traits({name: leaf.shape for name, leaf in flatten(abstract_model(config)[1]).items()})
    assert (traits.model, traits.kind, traits.vocab, traits.lora) == (name, kind, 257_152, (4, None))
    assert (traits.vision, traits.backbone) == (SIZES[name].vision, SIZES[name].backbone)
    assert traits.action_dim == (None if kind == "pi0_fast" else 6)


def test_traits_of_nonsense_are_none():
    names = flatten(abstract_model(config_of())[1])
    for shape in ((), (1,), (0, 0, 0, 0)):
        traits = read_traits(dict.fromkeys(names, shape))
        assert (traits.vision, traits.backbone, traits.expert, traits.model) == (None, None, None, None)


def attempt(folder: Path) -> tuple[dict | None, str]:
    try:
        return load_openpi(folder, definition_of()).params, ""
    except DataError as error:
        return None, str(error)


@pytest.mark.parametrize("rest", ["none", "half", "all but one"])
def test_damaged_files_are_one_line(saved, tmp_path, rest):
    folder = Path(shutil.copytree(saved, tmp_path / "copy"))
    whole = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    refused = set()
    for file, content in whole.items():
        file.write_bytes(content[: {"none": 0, "half": len(content) // 2, "all but one": len(content) - 1}[rest]])
        loaded, error = attempt(folder)
        if loaded is None:
            refused.add(file.relative_to(folder / "params").parts[0])
            assert str(folder) in error
            assert "\n" not in error
        else:
            assert same(loaded, params_of()), f"{file} is read wrongly"
        file.write_bytes(content)
    assert refused >= {"_METADATA", "manifest.ocdbt", "d"}


def test_absent_files_are_one_line(saved, tmp_path):
    for name in ("_METADATA", "manifest.ocdbt", "d"):
        folder = Path(shutil.copytree(saved, tmp_path / name))
        path = folder / "params" / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
        with pytest.raises(DataError, match=name if name == "_METADATA" else "damaged or incomplete"):
            load_openpi(folder, definition_of())


def test_damage_prints_nothing(saved, tmp_path, capfd):
    folder = Path(shutil.copytree(saved, tmp_path / "copy"))
    for file in folder.rglob("ocdbt.process_0/d/*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError):
        load_openpi(folder, definition_of())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "tree", ["[]", "{}", '{"tree_metadata": 3}', '{"tree_metadata": {"a": {}}}', '{"tree_metadata": {}}']
)
def test_a_tree_of_nonsense_is_one_line(saved, tmp_path, tree):
    folder = Path(shutil.copytree(saved, tmp_path / "copy"))
    (folder / "params/_METADATA").write_text(tree)
    with pytest.raises(DataError, match=r"_METADATA is damaged|holds no weights"):
        load_openpi(folder, definition_of())


def test_an_array_packed_in_a_bomb_is_refused(tmp_path):
    import tensorstore as ts

    save_openpi(tmp_path, {"x": np.ones((4, 4), np.float32)}, trailing_value=False)
    store = {"driver": "ocdbt", "base": f"file://{tmp_path}/params/", "path": "params.x/"}
    metadata = {"shape": [4, 4], "chunks": [1 << 20, 1 << 20], "dtype": "<f4"}
    spec = {"driver": "zarr", "kvstore": store, "metadata": metadata}
    ts.open(spec, create=True, delete_existing=True).result()
    with pytest.raises(DataError, match=r"x has chunks of \[1048576, 1048576\], larger than itself"):
        load_openpi(tmp_path, {"x": np.ones((4, 4), np.float32)})


def test_places_without_a_checkpoint_say_what_is_wrong(saved, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "else").mkdir()
    (tmp_path / "else/x").write_text("")
    for step in ("9", "10"):
        shutil.copytree(saved, tmp_path / "run" / step)
    for name, message in {
        "absent": "does not exist",
        "file": "is a file: give the folder of a checkpoint",
        "empty": "is empty: give the folder",
        "else": "is no checkpoint: it holds neither params/ nor _METADATA",
        "run": "name one of them, such as .*run/10$",
    }.items():
        with pytest.raises(DataError, match=message):
            load_openpi(tmp_path / name, definition_of())
