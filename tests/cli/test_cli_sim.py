"""``fastki sim record`` and ``fastki eval --env``: what they print, write and refuse, in a task without a simulator."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("flax")
pytest.importorskip("av")

from dummy_run import quick_compiler, train_dummy
from PIL import Image
from toy_world import ToyWorld

from fastki.sim.demonstrate import Style
from fastki.sim.record import Plan, record
from fastki.sim.world import Setting

ENV = ("--env", "metaworld:reach-v3")
PLACE = Path("mine/evaluation/metaworld-reach-v3")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    out = tmp_path_factory.mktemp("recorded") / "set"
    record(out, Plan(("reach-v3",), Setting(("front", "side"), 32, 8), Style(0.2, 4)), 6, opener=ToyWorld)
    return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory, recorded):
    folder = tmp_path_factory.mktemp("trained") / "run"
    train_dummy(folder, f"data.uri={recorded}", "tokenizer.fit.horizon=4", "tokenizer.fit.stride=1")
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """The trained run, where ``cli`` runs, in a toy in place of the simulator."""
    shutil.copytree(trained, tmp_path / "mine")
    monkeypatch.setattr("fastki.sim.evaluate.MetaWorld", ToyWorld)
    monkeypatch.setattr("fastki.sim.evaluate.require_metaworld", lambda: None)
    with quick_compiler():
        yield "mine"


def test_a_run_is_measured_in_the_simulator_of_its_data(run_json, run, recorded):
    code, found = run_json("eval", run, *ENV, "--episodes", "3", "--floor", "2", "--time-limit", "9", "--replan", "3")
    assert code == 0
    assert (found["env"], found["prompt"], found["data"]) == ("metaworld:reach-v3", "do reach-v3", str(recorded))
    assert found["setting"] == {"cameras": ["front", "side"], "size": 32, "every": 8}
    assert (found["replan"], found["horizon"], found["limit"], found["fps"]) == (3, 4, 9, 10)
    assert list(found["heads"]) == ["flow", "fast"]
    assert [(name, row["episodes"]) for name, row in found["floors"].items()] == [("random", 2), ("replay", 2)]
    for row in found["heads"].values():
        assert row["solved"] == sum(rollout["solved"] for rollout in row["rollouts"])
        assert row["interval"][0] <= row["rate"] <= row["interval"][1]
    assert len(found["sentences"]) == 2
    written = json.loads((PLACE / "closed_loop.json").read_text())
    assert written["command"].startswith("fastki eval mine --episodes 3 --env metaworld:reach-v3 ")
    with (PLACE / "closed_loop.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["by"] for line in lines] == ["flow"] * 3 + ["fast"] * 3 + ["random"] * 2 + ["replay"] * 2
    gifs = sorted(PLACE.glob("*.gif"))
    assert gifs
    with Image.open(gifs[0]) as film:
        assert film.n_frames > 1
        assert film.size == (2 * 192, 192)
    assert (PLACE / "success.png").read_bytes().startswith(b"\x89PNG")


def test_people_get_a_table_and_a_sentence(cli, run):
    code, out, err = cli("eval", run, *ENV, "--episodes", "1", "--head", "flow", "--time-limit", "3")
    assert (code, err) == (0, "")
    assert "flow head: not shown to be better than chance" in out
    assert "a recorded episode, blind" in out
    assert "FAST" not in out
    assert "next: fastki eval mine --ablate" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--env", "metaworld:push-v3"], "holds no push-v3, but reach-v3"),
        (["--env", "gym:reach-v3"], "metaworld:TASK"),
        ([*ENV, "--episodes", "heldout"], "is no number"),
        ([*ENV, "--episodes", "0"], "--episodes 0"),
        ([*ENV, "--ablate"], "--ablate"),
        (["--replan", "3"], "give --env"),
        (["--episodes", "20"], "a number with --env only"),
        (["synthetic:droid", *ENV], "was not recorded in a simulator"),
    ],
)
def test_what_can_not_be_measured(refused, run, words, said):
    assert said in refused("eval", run, *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "reech-v3"], "did you mean reach-v3"),
        (["--camera", "back"], "--camera 'back' is unknown"),
        (["--every", "7"], "--every 7"),
        (["--size", "5000"], "--size 5000"),
        (["--noise", "3"], "--noise 3"),
        (["--task", "reach-v3,reach-v3"], "twice"),
    ],
)
def test_what_can_not_be_recorded(refused, monkeypatch, words, said):
    monkeypatch.setattr("fastki.sim.record.require_metaworld", lambda: None)
    assert said in refused("sim", "record", *words)


def test_sim_alone_prints_its_help(cli):
    code, out, err = cli("sim")
    assert (code, err) == (0, "")
    assert " record " in out


def test_without_the_simulator_the_mend_is_named(refused, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setitem(sys.modules, "metaworld.env_dict", None)
    assert "pip install 'fastki[sim]'" in refused("sim", "record")
