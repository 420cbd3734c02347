"""``fastki export``: what it prints, its exit codes, and that `fastki train --init` takes what it wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flax")
pytest.importorskip("safetensors")

from dummy_run import DATA, SETTINGS, quick_compiler

from fastki.data.norm_stats import load_norm_stats
from fastki.export import reference
from fastki.model.checkpoint_folder import find_checkpoint
from fastki.model.checkpoint_store import open_tree


@pytest.fixture
def mine(trained_once, tmp_path):
    """The trained run, a copy in the folder where ``cli`` runs."""
    return str(Path(shutil.copytree(trained_once, tmp_path / "mine")).relative_to(tmp_path))


@pytest.fixture
def by_fastki(monkeypatch):
    """No second Python, which takes its time to load transformers."""
    monkeypatch.setattr(reference.importlib.util, "find_spec", lambda _: None)


def weights(folder) -> dict[str, np.ndarray]:
    tree = open_tree(find_checkpoint(folder).params)
    return {name: array.store.read().result() for name, array in tree.arrays.items()}


def train(cli, *words: str) -> tuple[str, str]:
    """An update so small that float32 does not see it; standard output and error."""
    said = [word for one in SETTINGS if not one.startswith(("data.uri", "steps")) for word in ("--set", one)]
    still = [
        "--set",
        "recipe.schedule.peak_lr=1e-30",
        "--set",
        "recipe.schedule.decay_lr=0",
        "--set",
        "recipe.ema_decay=none",
    ]
    data = [] if "--data" in words else ["--data", DATA]
    with quick_compiler():
        code, out, err = cli("train", *data, "--steps", "1", "--no-eval", "--no-images", *said, *still, *words)
    assert code == 0, err
    return out, err


@pytest.mark.skipif(reference.importlib.util.find_spec("transformers") is None, reason="no transformers")
def test_a_tokenizer_is_read_again_by_autoprocessor(run_json, tokenizer):
    code, found = run_json("export", "tok", "--to", "lerobot", "--check", "--asset-id", "droid")
    assert code == 0
    assert (found["to"], found["of"], found["step"], found["same"]) == ("lerobot", "tok", None, True)
    assert found["assets"] == ["droid"]
    assert "ids by AutoProcessor" in found["compared"][1]["found"]
    assert Path(found["folder"], "README.md").is_file()


def test_a_run_for_openpi_says_what_openpi_can_not_do(cli, by_fastki, mine):
    code, out, err = cli("export", mine, "--to", "openpi", "--check", "--out", "there")
    assert code == 0
    assert "step 3, dummy, kind pi05" in out
    assert out.count(" same\n") == 3
    assert out.splitlines()[-1] == "next: fastki inspect there"
    for word in ("SigLIP So400m/14", "2,560 rows", "text tokenizer byte", "no knowledge insulation"):
        assert word in err
        assert word in Path("there/README.md").read_text()
    code, out, _ = cli("inspect", "there")
    assert code == 0
    assert "assets      droid" in out


def test_an_earlier_step_and_a_checkpoint_itself(run_json, mine):
    _, by_step = run_json("export", mine, "--step", "2", "--out", "two")
    _, by_name = run_json("export", f"{mine}/checkpoints/2", "--out", "named")
    assert (by_step["step"], by_name["step"], by_step["same"]) == (2, 2, None)
    one, other, last = (weights(place) for place in ("two", "named", f"{mine}/checkpoints/3"))
    assert all((one[name] == other[name]).all() for name in one)
    assert any((one[name] != last[name]).any() for name in one)


def test_a_difference_exits_1_and_names_it(cli, by_fastki, monkeypatch, tokenizer):
    own = reference.load_tokenizer

    class Other:
        def encode_normalized(self, chunks, previous=None):
            return own("tok").encode_normalized(chunks + 0.5)

    monkeypatch.setattr(reference, "load_tokenizer", lambda _: Other())
    code, out, err = cli("export", "tok", "--check")
    assert code == 1
    assert "differs" in out
    line = err.splitlines()[-1]
    assert line.startswith("failed: fastki-out/export/openpi is not what it was made of (token ids: ")


def test_the_newest_of_run_and_tokenizer_is_the_default(run_json, cli, tokenizer, mine):
    cli("fit", DATA, "--bins", "20", "--vocab", "128", "--quiet")
    assert run_json("export")[1]["of"] == "fastki-out/tokenizer"
    shutil.move(mine, "fastki-out/train")
    Path("fastki-out/train/checkpoints/new").mkdir()
    assert run_json("export", "--overwrite")[1]["of"] == "fastki-out/train"


def test_the_command_again_needs_a_word(refused, cli, tokenizer):
    assert cli("export", "tok", "--quiet") == (0, "", "")
    assert "holds an export: give --overwrite" in refused("export", "tok")
    assert cli("export", "tok", "--quiet", "--overwrite") == (0, "", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere does not exist: give a tokenizer's folder"),
        (["mine", "--step", "7"], "mine has no checkpoint of step 7: it has 2, 3"),
        (["mine/checkpoints/2", "--step", "2"], "--step is of a run"),
        (["tok", "--step", "2"], "tok is a tokenizer: leave it out"),
        (["tok", "--out", "mine"], "mine exists and holds no export"),
        (["tok", "--out", "mine/config.toml"], "is a file"),
        (["tok", "--asset-id", "../up"], "is no name"),
        (["tok", "--to", "torch"], "--to"),
    ],
)
def test_a_wrong_word_is_one_line(refused, tokenizer, mine, words, said):
    assert said in refused("export", *words)


def test_a_checkpoint_that_lost_a_file_is_one_line(refused, mine):
    shutil.rmtree(f"{mine}/checkpoints/3/params/ocdbt.process_0/d")
    line = refused("export", f"{mine}/checkpoints/3", "--out", "out")
    assert "damaged" in line
    assert not Path("out").exists()


def test_training_begins_with_what_was_exported(cli, mine):
    cli("export", mine, "--quiet", "--out", "there")
    for init in ("there", mine):
        shutil.rmtree("again", ignore_errors=True)
        _, err = train(cli, "--init", init, "--out", "again")
        assert "53 parameters from" in err
        assert "normalises otherwise" not in err
        begun, wanted = weights("again/checkpoints/1"), weights(f"{mine}/checkpoints/3")
        assert begun.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(begun[name], value, err_msg=name)


def test_other_statistics_are_told_before_anything_is_made(cli, mine):
    cli("export", mine, "--quiet", "--out", "there")
    other = ("--data", "synthetic:droid?episodes=12&size=28&seed=3", "--set", "network.size=tiny")
    code, _, err = cli("train", *other, "--init", "there", "--no-eval")
    assert code == 2
    assert "there/assets/droid normalises otherwise than this run (state by up to " in err
    assert "--set tokenizer.norm_stats=init takes its statistics" in err
    assert "it has the sizes of dummy" in err.splitlines()[-1]


def test_other_statistics_can_be_taken(cli, mine):
    cli("export", mine, "--quiet", "--out", "there")
    other = ("--data", "synthetic:droid?episodes=12&size=28&seed=3", "--init", "there")
    _, err = train(cli, *other, "--out", "taken", "--set", "tokenizer.norm_stats=init")
    assert "normalises otherwise" not in err
    taken, theirs = (load_norm_stats(f"{place}/assets/droid") for place in ("taken", "there"))
    for key in ("actions", "state"):
        np.testing.assert_array_equal(taken[key].q99, theirs[key].q99)


def test_an_openpi_checkpoint_of_another_size_is_told_so(cli, shared):
    golden = shared / "golden/openpi/pi05_asym/ckpt_train/3"
    code, _, err = cli("train", "--data", DATA, "--set", "network.size=dummy", "--init", str(golden), "--no-eval")
    assert code == 2
    assert "has statistics of other dimensions than this run (state of 6 dimensions, not 8" in err
    assert "does not fit the model: it has other sizes" in err.splitlines()[-1]


def test_an_openpi_checkpoints_statistics_alone_can_be_taken(cli, shared, tmp_path):
    """Those of the golden checkpoint are of six dimensions."""
    folder = shared / "golden/openpi/pi05_asym/ckpt_train/3/assets/droid"
    rng = np.random.default_rng(0)
    arrays = {name: np.cumsum(rng.normal(size=(120, 6)), axis=0) for name in ("actions", "state")}
    np.savez("six.npz", **arrays, episode_ends=np.array([60, 120]))
    train(cli, "--data", "six.npz", "--no-images", "--set", f"tokenizer.norm_stats={folder}", "--out", "six")
    taken, theirs = load_norm_stats("six/assets/fastki"), load_norm_stats(folder)
    np.testing.assert_array_equal(taken["actions"].q01, theirs["actions"].q01[:6])
    np.testing.assert_array_equal(taken["state"].q99, theirs["state"].q99[:6])
    card = json.loads(Path("six/assets/policy.json").read_text())
    assert (card["asset_id"], card["action_norm"]) == ("fastki", "quantile")
