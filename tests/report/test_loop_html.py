"""A page of what a policy did in a simulator: what it holds, and what it refuses."""

from __future__ import annotations

import html
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flax")

from fastki.cli.main import run
from fastki.config import to_toml
from fastki.errors import DataError
from fastki.evaluation.acting import Sampling
from fastki.files import write_text
from fastki.report.bundle import bundle, find_results
from fastki.report.closed_loop import loop_payload, write_films, write_loop
from fastki.report.loop_html import read_loop
from fastki.sim.closed_loop import ClosedLoop, Success
from fastki.sim.evaluate import Place
from fastki.sim.recorded import Recording
from fastki.sim.rollout import Rollout
from fastki.sim.world import Setting
from fastki.training.presets import preset

RECORDING = Recording.of(("reach-v3",), Setting(("front",), 32, 8))
HOSTILE = "<script>alert(1)</script>"
EPISODES = 20


def acted(name: str, solved: int) -> Success:
    film = np.zeros((3, 32, 32, 3), np.uint8)
    rollouts = tuple(Rollout(seed, seed < solved, 7, np.zeros((7, 4))) for seed in range(EPISODES))
    films = dict.fromkeys(("success", "failure"), film) if 0 < solved < EPISODES else {}
    return Success(name, rollouts, films)


FOUND = ClosedLoop(
    HOSTILE, (acted("flow", 18), acted("fast", 4)), (acted("random", 1), acted("replay", 3)), 4, 8, 62, 10
)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A run of which nothing is left but its configuration and what it did in the simulator."""
    write_text(tmp_path / "run" / "config.toml", to_toml(preset("tiny")))
    (tmp_path / "run" / "checkpoints").mkdir()
    played = tmp_path / "run" / "evaluation" / "metaworld-reach-v3"
    place = Place(tmp_path / "run" / "checkpoints" / "3", tmp_path / "run", "reach-v3", "reach", RECORDING)
    write_loop(loop_payload(place, FOUND, Sampling()), "fastki eval run --env metaworld:reach-v3", played)
    write_films(FOUND, played)
    return played


def page_of(folder: Path, tmp_path: Path) -> str:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return bundle(find_results([folder]), scratch)


def test_what_was_written_is_read_again(folder):
    played = read_loop(folder / "closed_loop.json")
    assert (played.env, played.task, played.found.prompt) == ("metaworld:reach-v3", "reach-v3", HOSTILE)
    assert [(row.name, row.solved, row.interval) for row in played.found.rows] == [
        (row.name, row.solved, row.interval) for row in FOUND.rows
    ]
    assert (played.found.replan, played.found.horizon, played.found.limit, played.found.fps) == (4, 8, 62, 10)


@pytest.mark.parametrize("whole", [False, True])
def test_a_page_says_who_beats_chance_and_shows_it(folder, tmp_path, whole):
    """Alone, and as a section of its run."""
    text = page_of(folder.parent.parent if whole else folder, tmp_path)
    words = html.unescape(text)
    assert "flow head: better than chance (70% at least, a recorded episode, blind 36% at most)" in words
    assert "FAST head: not shown to be better than chance" in words
    assert HOSTILE in words
    assert HOSTILE not in text
    assert (text.count("<svg"), text.count("data:image/gif;base64,R0lGOD"), text.count("<script")) == (1, 4, 1)
    assert ("In the simulator: metaworld:reach-v3" in words) == whole


def test_a_film_that_is_none_stays_off_the_page(folder, tmp_path):
    (folder / "flow-success.gif").write_bytes(b"<svg onload=alert(1)>")
    assert page_of(folder, tmp_path).count("data:image/gif") == 3


def test_inspecting_the_run_shows_it_too(folder, capsys):
    with pytest.raises(SystemExit) as stop:
        run(["inspect", str(folder.parent.parent)])
    assert not stop.value.code
    shown = capsys.readouterr().out
    assert f"metaworld:reach-v3, '{HOSTILE}'" in shown
    assert "18 of 20" in shown


DAMAGES = {
    "no heads": lambda document: document["heads"].clear(),
    "a head that is none": lambda document: document["heads"].update(other=document["heads"]["flow"]),
    "no episodes": lambda document: document["heads"]["flow"]["rollouts"].clear(),
    "an episode in words": lambda document: document["floors"]["random"].update(rollouts=["solved"]),
    "no rate": lambda document: document.pop("fps"),
    "heads in a list": lambda document: document.update(heads=[1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_line_with_the_mend(folder, tmp_path, damage):
    path = folder / "closed_loop.json"
    document = json.loads(path.read_text())
    DAMAGES[damage](document)
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"closed_loop\.json can't be read .*: run `fastki eval --env` again"):
        page_of(folder, tmp_path)
