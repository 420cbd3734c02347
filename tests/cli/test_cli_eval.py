"""``fastki eval`` and ``fastki inspect RUN``: what they print, write and refuse."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flax")

from dummy_run import DATA, quick_compiler

from fastki.evaluation.evaluate import EvalOptions, evaluate
from fastki.evaluation.open_loop import OpenLoopOptions
from fastki.evaluation.policy import Sampling
from fastki.evaluation.reopen import ReopenOptions, reopen

FILES = ["errors.png", "errors.svg", "evaluation.csv", "evaluation.json"]
FILES += ["steps.png", "steps.svg", "trace.png", "trace.svg"]
KEYS = {"run", "checkpoint", "step", "mode", "data", "part", "episodes", "frames", "horizon", "heads", "floors"}
KEYS |= {"ablations", "sentences", "nats_per_value", "losses", "windows", "malformed", "latency_ms", "sampling"}
KEYS |= {"notes", "files"}
FLOORS = ["mean action", "hold last action", "tokenizer"]


@pytest.fixture(scope="module")
def measured(trained_once):
    """What a small evaluation of the trained run found."""
    options = EvalOptions(OpenLoopOptions(most=24, batch_size=8, ablate=("images", "prompt", "state")), windows=8)
    with quick_compiler():
        return evaluate(reopen(trained_once, ReopenOptions()), options)


@pytest.fixture
def asked(measured, monkeypatch):
    """Let the command find that, whatever it asks for; what it asked for is noted."""
    noted: list[EvalOptions] = []

    def answer(run, options, progress):
        noted.append(options)
        return dataclasses.replace(measured, notes=run.notes)

    monkeypatch.setattr("fastki.evaluation.evaluate.evaluate", answer)
    return noted


@pytest.fixture
def run(trained_once, tmp_path) -> str:
    """The trained run, a copy that a test may spoil, in the folder where ``cli`` runs."""
    shutil.copytree(trained_once, tmp_path / "mine")
    return "mine"


@pytest.fixture(autouse=True)
def _no_figures(request, monkeypatch):
    """Figures take longer than the rest: only the test that looks at them draws them."""
    if "figures" not in request.node.name:
        monkeypatch.setattr("fastki.report.eval_figures.eval_figures", lambda *_: [])


def test_results_and_figures_are_written(run_json, asked, run):
    code, printed = run_json("eval", run)
    folder = Path(run) / "evaluation"
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert set(printed) == KEYS
    assert sorted(printed.pop("files")) == [str(folder / name) for name in FILES]
    written = json.loads((folder / "evaluation.json").read_text())
    assert {key: written[key] for key in printed} == printed
    assert written["command"] == f"fastki eval {run} --json"
    assert (folder / "trace.png").read_bytes().startswith(b"\x89PNG")


def test_json_holds_every_promised_figure(run_json, asked, run):
    _, found = run_json("eval", run, "--out", "elsewhere")
    assert (found["run"], found["checkpoint"], found["step"]) == (run, f"{run}/checkpoints/3", 3)
    assert (found["part"], found["frames"], found["horizon"], found["malformed"]) == ("heldout", 24, 16, 0)
    assert list(found["heads"]) == ["flow", "fast"]
    assert list(found["floors"]) == FLOORS
    for row in (*found["heads"].values(), *found["floors"].values()):
        assert 0 < row["mae"] < row["rmse"]
        assert row["interval"][0] <= row["mae"] <= row["interval"][1]
        assert len(row["by_step"]) == 16
        assert np.mean(row["by_step"]) == pytest.approx(row["mae"])
        assert [dimension["unit"] for dimension in row["dimensions"]] == ["rad/s"] * 7 + ["fraction"]
    assert found["floors"]["mean action"]["of_mean"] == 1
    assert found["nats_per_value"] == found["losses"]["nats_per_value"] > 0
    for head in ("flow", "fast"):
        latency = found["latency_ms"][head]
        assert 0 < latency["model"] <= latency["p90"]
        assert 0 < latency["median"] <= latency["p90"]
    assert [(row["head"], row["what"]) for row in found["ablations"]] == [
        (head, what) for head in ("flow", "fast") for what in ("images", "prompt", "state")
    ]
    assert len(found["sentences"]) == 3
    with Path("elsewhere/evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 9
    assert [row["by"] for row in rows[::9]] == ["flow", "fast", *FLOORS]
    assert float(rows[9]["mae"]) == found["heads"]["fast"]["mae"]


def test_people_are_told_errors_floors_and_what_matters(cli, asked, run):
    code, out, err = cli("eval", run)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("policy")
    assert "mine, step 3 (--mode ki, chunks of 16)" in lines[0]
    assert "(held out)" in lines[1]
    assert any("tokens a chunk, 0.00% malformed" in line for line in lines)
    for title in ("flow head", "FAST head", "mean action", "last action held", "tokenizer round trip"):
        assert any(line.startswith(title) for line in lines), title
    assert any(line.startswith("gripper position [fraction]") for line in lines)
    assert "the flow head is no better than" in out
    assert "\nprompt" in out
    assert lines[-1] == "next: fastki inspect mine"
    assert err == ""


def test_options_reach_the_measurement(cli, asked, run):
    words = ["--stride", "3", "--max-frames", "9", "--batch-size", "4", "--head", "fast", "--seed", "7", "--quiet"]
    assert cli("eval", run, DATA, "--episodes", "train", "--ablate", *words) == (0, "", "")
    assert asked == [EvalOptions(OpenLoopOptions(3, 9, 4, ("fast",), ("images", "prompt", "state"), 7), 9)]


def test_how_actions_are_drawn_reaches_the_policy(cli, measured, run, monkeypatch):
    drawn = []

    def answer(run, options, progress):
        drawn.append(run.policy.sampling)
        return measured

    monkeypatch.setattr("fastki.evaluation.evaluate.evaluate", answer)
    cli("eval", run)
    cli("eval", run, "--num-steps", "4", "--temperature", "0.5", "--seed", "2")
    assert drawn == [Sampling(), Sampling(4, 0.5, 2)]


def test_episodes_that_it_was_trained_on_are_told(cli, asked, run):
    _, out, err = cli("eval", run, "--episodes", "train")
    assert "(trained on)" in out
    assert "note: these are episodes that it was trained on" in err


def test_a_whole_evaluation_of_one_head(run_json, run):
    with quick_compiler():
        words = ["--head", "flow", "--max-frames", "6", "--batch-size", "4", "--num-steps", "2"]
        code, found = run_json("eval", f"{run}/checkpoints/2", "--out", "here", *words)
    assert code == 0
    assert (found["step"], found["frames"], list(found["heads"]), found["malformed"]) == (2, 6, ["flow"], None)
    assert list(found["latency_ms"]) == ["flow"]
    assert (found["ablations"], found["sentences"]) == ([], [])
    assert found["sampling"] == {"num_steps": 2, "temperature": 0.0, "seed": 0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere does not exist: give the folder of a run or checkpoint"),
        (["."], "has no checkpoint of a run of fastki"),
        (["mine", "--head", "both", "--stride", "0"], "--stride"),
        (["mine", "--temperature", "nan"], "--temperature"),
        (["mine", "--episodes", "none"], "--episodes"),
        (["mine", "--fps", "5"], "fastki eval RUN DATA"),
        (["mine", "seven.npz"], "seven.npz has 7 action dimensions, and the policy acts in 8"),
        (["mine", "blind.npz"], "blind.npz has no camera for base_0_rgb"),
        (["mine", "nowhere.npz"], "nowhere.npz"),
        (["mine", "--out", "mine/config.toml/x"], "is a file"),
    ],
)
def test_a_mistake_is_one_line(refused, run, arguments, said):
    rng = np.random.default_rng(0)
    for name, width in (("seven", 7), ("blind", 8)):
        arrays = {"actions": rng.normal(size=(40, width)), "state": rng.normal(size=(40, 8))}
        np.savez(f"{name}.npz", **arrays, episode_ends=np.array([40]))
    assert said in refused("eval", *arguments)


def test_with_nothing_trained_the_message_says_what_to_do(refused):
    assert "no policy was trained here yet: run `fastki train`, or name a RUN" in refused("eval")


def test_the_last_run_trained_here_is_the_default(cli, asked, run):
    Path("fastki-out").mkdir()
    shutil.move(run, "fastki-out/train")
    assert cli("eval", "--quiet") == (0, "", "")
    assert Path("fastki-out/train/evaluation/evaluation.json").is_file()


def test_a_head_that_was_not_trained_is_one_line(refused, run):
    card = Path(run, "checkpoints/3/assets/policy.json")
    plain = json.loads(card.read_text())
    card.write_text(json.dumps({**plain, "mode": "flow"}))
    assert "it has no fast head, give --head flow" in refused("eval", run, "--head", "fast")


def test_inspecting_a_run_tells_what_it_is_and_how_far(cli, run):
    code, out, _ = cli("inspect", run)
    assert code == 0
    assert "mine (preset tiny, --mode ki, seed 0)" in out
    assert "3 of 3, 4 examples each" in out
    assert "\ncheckpoints  2, 3" in out
    assert "\nflow_loss" in out
    assert "evaluated" not in out
    assert out.splitlines()[-1] == "next: fastki eval mine"


def test_inspecting_a_run_holds_its_evaluation(cli, run_json, asked, run):
    cli("eval", run, "--quiet")
    _, found = run_json("inspect", run)
    assert (found["step"], found["steps"], found["finished"], found["checkpoints"]) == (3, 3, True, [2, 3])
    assert found["config"]["network"]["size"] == "dummy"
    assert found["losses"]["flow_loss"] > 0
    assert found["evaluation"]["frames"] == 24
    _, out, _ = cli("inspect", run)
    assert "evaluated at step 3, 24 frames" in out
    assert "\nFAST head" in out


def test_inspecting_a_run_that_has_not_saved_yet(cli, run):
    shutil.rmtree(f"{run}/checkpoints")
    Path(run, "metrics.jsonl").unlink()
    Path(run, "speed.jsonl").unlink()
    code, out, _ = cli("inspect", run)
    assert code == 0
    assert "0 of 3 (not finished)" in out
    assert "\ncheckpoints  none" in out


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.toml", "steps = [", "config.toml"),
        ("metrics.jsonl", "{\n{}\n", "metrics.jsonl is damaged at line 1"),
        ("evaluation/evaluation.json", "[]", "evaluation.json is damaged (it has no heads)"),
        ("evaluation/evaluation.json", "{", "evaluation.json is damaged"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(refused, run, name, text, said):
    path = Path(run, name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert said in refused("inspect", run)
