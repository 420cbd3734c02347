"""The options that say how data are opened and cut, from the command line and back again in a round trip."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastki.tokenizer import load_tokenizer

FAST = ("--bins", "20", "--vocab", "128", "--horizon", "8")


@pytest.fixture
def arm(tmp_path) -> str:
    """Six episodes at 10 Hz, 60 frames: still for 20 frames, then moving; dimension 2 is a gripper that flickers."""
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(6):
        moving = np.cumsum(rng.normal(size=(40, 2)), axis=0) * 0.1
        frames = np.concatenate([np.zeros((20, 2)), moving])
        episodes.append(np.column_stack([frames, np.arange(60) % 2]))
    actions = np.concatenate(episodes)
    np.savez(tmp_path / "arm.npz", actions=actions, episode_ends=np.arange(60, 361, 60), fps=10.0)
    return "arm.npz"


def test_another_rate_is_remembered(run_json, arm):
    code, fitted = run_json("fit", arm, *FAST, "--fps", "20", "--hold", "2")
    assert (code, fitted["total_chunks"]) == (0, 5 * (119 - 7))
    source = load_tokenizer("fastki-out/tokenizer").source
    assert (source.fps, source.opened.fps, source.opened.hold) == (20.0, 20.0, "2")
    code, measured = run_json("roundtrip", "--atol", "1")
    assert (code, measured["part"], measured["chunks"]) == (0, "heldout", 112)


def test_idle_starts_are_left_out_and_counted(cli, run_json, arm):
    everything = run_json("fit", arm, *FAST)[1]
    # The gripper flickers all the time: with it nothing is at rest, and only each episode's last frames go.
    assert run_json("fit", arm, *FAST, "--drop-idle", "0.001")[1]["idle_chunks"] == 5 * 3
    code, fitted = run_json("fit", arm, *FAST, "--drop-idle", "0.001", "--dims", "0:2")
    assert code == 0
    # 20 frames at rest, and the last 10 of what moves; a chunk of 8 starts at frame 52 at the latest.
    assert fitted["idle_chunks"] == 5 * (20 + 3)
    assert fitted["total_chunks"] + fitted["idle_chunks"] == everything["total_chunks"]
    assert "--drop-idle left out 115 chunks" in cli("fit", arm, *FAST, "--drop-idle", "0.001", "--dims", "0:2")[2]
    assert run_json("roundtrip", "--atol", "1")[1]["chunks"] == 53 - 23


@pytest.mark.parametrize("pad", ["repeat", "zero"])
def test_padding_is_remembered(run_json, arm, pad):
    code, fitted = run_json("fit", arm, *FAST, "--pad-end", pad)
    assert (code, fitted["total_chunks"]) == (0, 5 * 60)
    assert run_json("roundtrip", "--atol", "1")[1]["chunks"] == 60


def test_bad_episodes_are_skipped_on_request_only(cli, refused, run_json, arm):
    with np.load(arm) as archive:
        arrays = dict(archive)
    arrays["actions"][100, 0] = np.nan
    np.savez(arm, **arrays)
    assert "nan at frame 40" in refused("fit", arm, *FAST)
    code, out, err = cli("fit", arm, *FAST, "--skip-bad")
    assert (code, "5 episodes" in out) == (0, True)
    assert "note: --skip-bad left out 1 of 6 episodes: 1" in err
    assert run_json("roundtrip", "--atol", "1")[1]["part"] == "heldout"
    assert run_json("inspect", arm, "--skip-bad")[1]["episodes"] == 5


def test_inspect_hands_its_options_on(cli, arm):
    code, out, _ = cli("inspect", arm, "--robot", "none", "--fps", "20", "--hold", "2", "--skip-bad")
    assert code == 0
    assert out.endswith("next: fastki fit arm.npz --robot none --fps 20 --hold 2 --skip-bad\n")


def test_inspect_suggests_a_horizon_that_fits(cli, tmp_path):
    np.savez("short.npz", actions=np.random.default_rng(0).normal(size=(50, 2)), episode_ends=[10, 20, 30, 40, 50])
    command = cli("inspect", "short.npz")[1].rpartition("next: fastki ")[2].split()
    assert command == ["fit", "short.npz", "--horizon", "5"]
    assert cli(*command)[0] == 0


def test_inspect_shows_keys_robot_idle_share_and_frames(cli, run_json):
    data = "synthetic:droid?episodes=2&size=16"
    code, found = run_json("inspect", data)
    assert (code, found["preset"], found["grippers"]) == (0, "droid", [7])
    assert found["slots"] == {
        "base_0_rgb": "exterior_image_1_left",
        "left_wrist_0_rgb": "wrist_image_left",
        "right_wrist_0_rgb": None,
    }
    assert [key["name"] for key in found["keys"]][:2] == ["action", "observation.state"]
    assert 0 <= found["idle_share"] < 0.2
    out = cli("inspect", data)[1]
    for words in ("preset droid", "of the frames lie in runs", "left_wrist_0_rgb", "read as", "contact.png"):
        assert words in out
    assert Path("fastki-out/inspect/contact.png").stat().st_size > 10_000


def test_what_idle_means(run_json, arm):
    assert run_json("inspect", arm)[1]["idle_share"] == 0, "the gripper is not known to be one"


def test_how_data_are_opened_needs_data(refused, tokenizer):
    assert "give it" in refused("roundtrip", str(tokenizer), "--fps", "5")


@pytest.mark.parametrize(
    ("words", "named", "mend"),
    [
        (["--fps", "0"], "--fps 0", "above 0"),
        (["--hold", "2"], "--hold", "needs --fps"),
        (["--fps", "20", "--hold", "9"], "no dimension 9", "0 to 2"),
        (["--drop-idle", "0"], "--drop-idle 0", "0.001"),
        (["--drop-idle", "100"], "hardly moves", "smaller --drop-idle"),
        (["--robot", "r2d2"], "r2d2", "auto or none"),
        (["--robot", "aloha"], "no actions as --robot aloha", "--robot none"),
    ],
)
def test_mistakes(refused, arm, words, named, mend):
    line = refused("fit", arm, *FAST, *words)
    assert named in line
    assert mend in line


@pytest.fixture
def mix(arm) -> str:
    """``mix.toml``: the arm's first two dimensions, 3 to 1 with two joints of the built-in sample."""
    Path("mix.toml").write_text(
        '[[dataset]]\ndata = "arm.npz"\nname = "arm"\nweight = 3\ndims = "0:2"\n'
        '[[dataset]]\ndata = "synthetic:droid?episodes=6"\nname = "sample"\ndims = "0:2"\n'
    )
    return "mix.toml"


def test_a_mixture_is_fitted_measured_and_inspected(cli, run_json, mix):
    code, fitted = run_json("fit", mix, *FAST)
    assert code == 0
    assert [(entry["name"], entry["share"]) for entry in fitted["datasets"]] == [("arm", 0.75), ("sample", 0.25)]
    chunks = [entry["chunks"] for entry in fitted["datasets"]]
    assert chunks[0] == pytest.approx(3 * chunks[1], abs=3)
    assert sum(chunks) == fitted["chunks"]
    assert fitted["tokens_mean"] == pytest.approx(
        sum(entry["share"] * entry["tokens_mean"] for entry in fitted["datasets"])
    )
    code, measured = run_json("roundtrip", "--atol", "2")
    assert (code, measured["passed"], list(measured["datasets"])) == (0, True, ["arm", "sample"])
    assert measured["datasets"]["sample"]["per_dim"][0]["unit"] == "rad/s"
    assert json.loads(Path("fastki-out/roundtrip/roundtrip.json").read_text()) == measured
    assert cli("roundtrip", "--atol", "0.0001")[0] == 1
    code, out, _ = cli("inspect", mix)
    assert (code, "mixture of 2" in out) == (0, True)
    code, out, err = cli("inspect", "fastki-out/tokenizer")
    assert (code, "arm (75%), sample (25%)" in out) == (0, True)
    assert "name one of its datasets with --data" in err
    assert cli("inspect", "fastki-out/tokenizer", "--data", "arm.npz")[0] == 0


def test_a_mixture_for_people(cli, mix):
    code, out, err = cli("fit", mix, *FAST)
    assert code == 0
    for words in ("2 datasets", "each dataset normalised by its own", "75.0%", "fitted, all together"):
        assert words in out
    assert "Franka" not in err
    code, out, _ = cli("roundtrip", "--atol", "2")
    assert out.count("passed") == 2


def test_options_that_a_mixture_says_itself(refused, mix):
    assert "ambiguous for a mixture" in refused("fit", mix, "--dims", "0")
    assert "ambiguous for a mixture" in refused("fit", mix, "--fps", "5")
