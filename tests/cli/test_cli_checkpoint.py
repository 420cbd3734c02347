"""``fastki inspect`` of a model's checkpoint."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import fsspec
import numpy as np
import pytest

pytest.importorskip("orbax.checkpoint")

from checkpoint_maker import params_of

from fastki.model.checkpoint_save import save_openpi
from fastki.model.params import count


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "3000"
    save_openpi(folder, params_of())
    (folder / "assets/droid").mkdir(parents=True)
    (folder / "assets/droid/norm_stats.json").write_text("{}")
    (folder / "train_state").mkdir()
    return folder


@pytest.fixture
def saved(saved_once, tmp_path) -> Path:
    return Path(shutil.copytree(saved_once, tmp_path / "run/3000"))


def test_a_checkpoint_for_people(cli, saved):
    code, out, err = cli("inspect", str(saved))
    assert (code, err) == (0, "")
    for shown in (
        "training step 3,000, with the state of its training, a trailing value on every leaf",
        "dummy, kind pi05, vocabulary 64, action_dim 6",
        "pictures of 28 × 28, image tower 32 × 2 layers, language model 64 × 4, expert 64 × 4",
        f"51 arrays, {count(params_of()):,} numbers, ",
        "droid",
    ):
        assert shown in out, shown
    rows = {line[:16].strip(): line.split()[-5:] for line in out.splitlines()}
    assert rows["text embedding"] == ["4,096", "0.8%", "16.4", "kB", "float32"]
    assert out.splitlines()[-1] == "next: fastki layouts --model dummy"


def test_a_checkpoint_for_machines(run_json, saved):
    code, result = run_json("inspect", str(saved))
    assert (code, result["step"], result["layout"], result["training_state"]) == (0, 3000, "value", True)
    assert (result["model"], result["traits"]["kind"], result["traits"]["backbone"]["kv_heads"]) == ("dummy", "pi05", 1)
    assert result["assets"] == {"droid": str(saved / "assets/droid")}
    assert result["arrays"]["action_in_proj/kernel"] == {"shape": [6, 64], "dtype": "float32"}
    assert len(result["arrays"]) == sum(part["arrays"] for part in result["parts"]) == 51
    assert result["parameters"] == sum(np.prod(array["shape"]) for array in result["arrays"].values())


def test_openpis_checkpoint(run_json, shared):
    code, result = run_json("inspect", str(shared / "golden/openpi/pi05_asym/ckpt_pure/params"))
    assert (code, result["layout"], result["step"], result["parameters"]) == (0, "pure", None, 177_862)
    assert result["traits"]["backbone"] == {
        "width": 48, "depth": 3, "mlp": 80, "heads": 4, "kv_heads": 2, "head_dim": 8,
    }  # fmt: skip


def test_damage_is_one_line(refused, saved):
    assert "name one of them, such as" in refused("inspect", str(saved.parent))
    manifest = saved / "params/manifest.ocdbt"
    manifest.write_bytes(manifest.read_bytes()[:20])
    assert "copy the checkpoint again" in refused("inspect", str(saved))
    (saved / "params/_METADATA").write_text("{")
    assert "not valid JSON" in refused("inspect", str(saved))
    (saved / "params/_METADATA").unlink()
    assert "_METADATA is missing" in refused("inspect", str(saved / "params"))


def test_a_checkpoint_by_url_is_known_for_one(refused, saved):
    memory = fsspec.filesystem("memory")
    home = uuid.uuid4().hex
    for name in ("params/_METADATA", "params/manifest.ocdbt"):
        memory.pipe_file(f"/{home}/3000/{name}", (saved / name).read_bytes())
    for inside in ("", "/params"):
        message = refused("inspect", f"memory://{home}/3000{inside}")
        assert f"memory://{home}/3000{inside} is a model's checkpoint: copy it to this machine" in message
    assert "is no dataset" in refused("inspect", f"memory://{home}")
    memory.rm(f"/{home}", recursive=True)


def test_names_of_arrays_are_not_markup(cli, tmp_path):
    save_openpi(tmp_path / "made", {"[bold]x": np.ones(2, np.float32)})
    (tmp_path / "made").rename(tmp_path / "[red]")
    code, out, _ = cli("inspect", str(tmp_path / "[red]"))
    assert (code, "[red]" in out) == (0, True)
    assert "no named size" in out
    assert "other" in out
