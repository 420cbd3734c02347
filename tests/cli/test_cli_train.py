"""``fastki train``: what it prints, writes, refuses, picks up again, and loses when killed: nothing."""

from __future__ import annotations

import json
import signal
import tomllib
from pathlib import Path

import pytest
from processes import PATIENCE, wait_until

pytest.importorskip("flax")

from quick_training import QUICK, noted, started


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """A run of six steps is not worth the optimiser's seconds."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def refused(cli):
    """The one line that refuses a command line."""

    def call(*arguments: str) -> str:
        code, out, err = cli(*arguments)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        return err

    return call


def metrics(folder: Path) -> str:
    return (folder / "fastki-out/train/metrics.jsonl").read_text()


def test_the_configuration_is_printed_and_gives_itself_again(cli, tmp_path):
    code, printed, _ = cli("train", "--print-config", "--steps", "7", "--set", "recipe.ema_decay=none")
    assert code == 0
    found = tomllib.loads(printed)
    assert (found["steps"], found["recipe"]["ema_decay"], found["mode"]) == (7, "none", "ki")
    assert found["recipe"]["schedule"]["decay_steps"] == 7
    (tmp_path / "run.toml").write_text(printed)
    assert cli("train", "--print-config", "--config", str(tmp_path / "run.toml"))[1] == printed


@pytest.mark.parametrize("preset", ["tiny", "small", "pi05_droid_ki", "pi05_ki_lora"])
def test_every_preset_is_a_configuration(cli, preset):
    code, printed, _ = cli("train", preset, "--print-config")
    assert code == 0
    assert tomllib.loads(printed)["preset"] == preset


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "tinny"), "did you mean tiny?"),
        (("train", "--mode", "kl"), "must be one of ki, joint, flow, fast"),
        (("train", "--set", "recipe.ema_decy=0.9"), "did you mean 'ema_decay'?"),
        (("train", "--set", "steps"), "must read NAME=VALUE"),
        (("train", "--config", "nowhere.toml"), "nowhere.toml can't be read"),
        (("train", "--resume"), "there is no run in fastki-out/train to resume"),
        (("train", "--resume", "--overwrite"), "give one of them"),
        ((*QUICK, "--layout", "images-fast", "--set", "data.uri=nowhere"), "nowhere"),
        ((*QUICK, "--max-token-len", "20"), "--max-token-len"),
        ((*QUICK, "--batch-size", "5", "--set", "recipe.accumulate=2"), "can't be cut evenly"),
        ((*QUICK, "--compare", "ki"), "two or more"),
        ((*QUICK, "--compare", "ki,kj"), "kj is no mode"),
        ((*QUICK, "--mode", "flow", "--cotrain", "x.jsonl"), "--cotrain learns text"),
    ],
)
def test_mistakes_are_named_with_their_mend(refused, arguments, words):
    assert words in refused(*arguments)


def test_a_run_leaves_what_another_needs_and_goes_on_when_asked_for_more(cli):
    code, out, err = cli(*QUICK, "--json")
    assert code == 0
    result = json.loads(out)
    assert (result["step"], result["interrupted"]) == (6, None)
    assert {"flow_loss", "fast_loss", "nats_per_value", "token_accuracy", "grad_norm/expert"} <= set(result["metrics"])
    assert result["heldout"]["mean action"]["of_mean"] == 1
    assert {"flow", "fast", "tokenizer"} <= set(result["heldout"])
    run = Path("fastki-out/train")
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [*range(1, 7)]
    assert sorted(path.name for path in (run / "checkpoints").iterdir() if path.name.isdigit()) == ["4", "6"]
    for name in ("config.toml", "environment.json", "metrics.csv", "figures/losses.png", "assets/policy.json"):
        assert (run / name).is_file(), name
    assert (run / "checkpoints/6/assets/droid/norm_stats.json").is_file()
    assert "2/6" in err
    before = metrics(Path())

    code, out, _ = cli(*QUICK, "--json", "--no-eval")
    assert (code, json.loads(out)["step"], metrics(Path())) == (0, 6, before)
    longer = [("8" if word == "6" else word) for word in QUICK]
    code, out, _ = cli(*longer, "--json", "--no-eval")
    assert (code, json.loads(out)["step"]) == (0, 8)
    assert metrics(Path()).startswith(before)

    code, _, err = cli(*QUICK, "--mode", "joint")
    assert code == 2
    assert "holds another run (mode ki, not joint)" in err
    code, out, _ = cli(*QUICK, "--mode", "joint", "--overwrite", "--json", "--no-eval")
    assert (code, json.loads(out)["step"]) == (0, 6)
    assert not (run / "checkpoints/8").exists()


def test_killed_at_any_step_it_goes_on_to_the_very_same_numbers(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    arguments = ("--steps", "40", "--no-eval")
    undisturbed, process = started(whole, *arguments), started(broken, *arguments)
    wait_until(lambda: len(noted(broken)) >= 7, process)
    process.kill()
    process.communicate()
    again = started(broken, *arguments)
    _, err = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, err
    assert "going on from step" in err
    undisturbed.communicate(timeout=PATIENCE)
    assert undisturbed.returncode == 0
    assert metrics(broken) == metrics(whole)


def test_told_to_stop_it_saves_and_ends_well(tmp_path):
    process = started(tmp_path, "--steps", "2000", "--set", "save.every=1000", "--no-eval")
    wait_until(lambda: len(noted(tmp_path)) >= 3, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "SIGTERM: saved at step" in err
    step = metrics(tmp_path).count("\n")
    assert (tmp_path / f"fastki-out/train/checkpoints/{step}/params").is_dir()


def test_a_loss_that_is_no_number_stops_the_run_and_names_its_examples(cli):
    code, _, err = cli(*QUICK, "--set", "recipe.schedule.peak_lr=1e30", "--set", "recipe.schedule.warmup_steps=0")
    assert code == 2
    assert "is not finite" in err
    run = Path("fastki-out/train")
    found = json.loads((run / "nonfinite.json").read_text())
    assert len(found["examples"]) == 4
    assert found["examples"][0].startswith("episode ")
    assert (run / "nonfinite.npz").is_file()


@pytest.mark.parametrize("mode", ["flow", "fast"])
def test_a_mode_of_one_loss_has_one_head(cli, mode):
    code, out, _ = cli(*QUICK, "--mode", mode, "--json")
    assert code == 0
    result = json.loads(out)
    other = {"flow": "fast", "fast": "flow"}[mode]
    assert f"{mode}_loss" in result["metrics"]
    assert f"{other}_loss" not in result["metrics"]
    assert mode in result["heldout"]
    assert other not in result["heldout"]


def test_a_comparison_trains_every_variant_once(cli, monkeypatch):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # For the processes that train.
    command = (*QUICK, "--compare", "ki,flow", "--seeds", "1", "--json")
    code, out, err = cli(*command)
    assert code == 0, err
    result = json.loads(out)
    assert [one["name"] for one in result["variants"]] == ["ki", "flow"]
    assert len(result["runs"]) == 2
    assert all(len(one["flow_error"]["values"]) == 1 for one in result["variants"])
    assert all(len(run["curve"]) == 6 for run in result["runs"])
    assert "nats_per_value" not in result["variants"][1]
    assert any("flow head" in line for line in result["ranking"])
    for name in ("comparison.json", "comparison.csv", "comparison.png"):
        assert (Path("fastki-out/compare") / name).is_file()
    code, again, err = cli(*command)
    assert (code, again) == (0, out)
    assert err.count("stored") == 2


def test_a_mixture_is_refused_with_the_names_of_its_datasets(refused, tmp_path):
    part = '[[dataset]]\ndata = "synthetic:droid?episodes=4&seed={0}"\nname = "arm{0}"\n'
    (tmp_path / "mix.toml").write_text(part.format(1) + part.format(2))
    line = refused("train", "--data", "mix.toml")
    assert "mix.toml is a mixture (arm1, arm2): train on one of its datasets" in line
