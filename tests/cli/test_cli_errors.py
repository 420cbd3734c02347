"""Every mistake that a user can mend ends in exit code 2 and one line that names the thing and the mend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

SMALL = "synthetic:droid?episodes=8"


@pytest.fixture
def files(cli, tmp_path, recording):
    """Files that are no data, or hold something that is wrong."""
    frames = np.cumsum(np.random.default_rng(0).normal(size=(100, 3)), axis=0)
    np.save("plain.npy", frames)
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        broken = frames.copy()
        broken[17, 1] = value
        np.save(f"{name}.npy", broken)
    np.save("zero.npy", np.zeros((0, 3)))
    np.savez("two.npz", left=frames, right=frames)
    np.savez("short.npz", actions=frames[:20], episode_ends=np.array([5, 10, 20]))
    Path("cut.npz").write_bytes(recording.read_bytes()[:2000])
    Path("cut.npy").write_bytes(Path("plain.npy").read_bytes()[:500])
    Path("notes.txt").write_text("nothing")
    Path("empty").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "named", "mend"),
    [
        (["nowhere"], "nowhere", "give a folder"),
        (["plane.npy"], "plane.npy", "did you mean plain.npy?"),
        (["two.npz"], "left, right", "--action-key"),
        (["recording.npz", "--action-key", "foo"], "'foo'", "there are actions, state"),
        (["recording.npz", "--state-key", "foo"], "'foo'", "--state-key"),
        (["nan.npy"], "nan at frame 17, dimension 1", "repair"),
        (["inf.npy"], "inf at frame 17, dimension 1", "repair"),
        (["zero.npy"], "zero.npy", "no frames"),
        (["short.npz"], "horizon of 16", "--horizon N, N at most"),
        (["cut.npz"], "cut.npz", "damaged or incomplete"),
        (["cut.npy"], "cut.npy", "damaged or incomplete"),
        (["notes.txt"], "notes.txt", "Supported"),
        (["empty"], "empty", "Supported"),
        (["synthetic:droit"], "'droit'", "synthetic:droid"),
        (["synthetic:droid?episodes=0"], "episodes=0", "from 1"),
        (["someone/droid_100"], "no folder someone/droid_100 here", "hf download"),
        (["plain.npy", "--delta", "0"], "no state", "--delta-from previous"),
    ],
)
def test_data(files, refused, arguments, named, mend):
    line = refused("fit", *arguments)
    assert named in line
    assert mend in line


@pytest.mark.parametrize(
    ("arguments", "named", "mend"),
    [
        (["--vocab", "10"], "10", "64"),
        (["--vocab", "100000"], "100000", "65536"),
        (["--dims", "0:99"], "0:99", "0 to 7"),
        (["--dims", "foo"], "'foo'", "0 to 7"),
        (["--dims", "joint_1"], "'joint_1'", "did you mean 'joint_1 velocity'"),
        (["--dims", "1,1"], "twice", "1,1"),
        (["--delta", "12"], "12", "0 to 7"),
        (["--dims", "0:3", "--delta", "5"], "--delta", "--dims"),
        (["--atol", "0"], "atol", "positive"),
        (["--atol", "nan"], "atol", "positive"),
        (["--bins", "3"], "bins", "at least 4"),
        (["--bins", "inf"], "inf", "positive"),
        (["--scale", "-1"], "scale", "positive"),
        (["--bins", "20", "--scale", "10"], "bins", "one of them"),
        (["--bins", "20", "--atol", "0.1"], "bins", "one of them"),
        (["--holdout", "1.5"], "--holdout 1.5", "fraction"),
        (["--stride", "0"], "--stride 0", "1 or more"),
        (["--max-chunks", "0"], "at most 0", "1 or more"),
        (["--seed", "-1"], "--seed -1", "0 or more"),
        (["--horizon", "999"], "999", "--horizon N"),
        (["--norm", "zscore", "--clip"], "--clip", "--no-clip"),
    ],
)
def test_options_of_fit(refused, arguments, named, mend):
    line = refused("fit", SMALL, *arguments)
    assert named in line
    assert mend in line


def test_a_scale_of_nought(refused):
    assert "scale" in refused("fit", SMALL, "--scale", "0")


@pytest.mark.parametrize("atol", ["0", "-1", "nan"])
def test_a_bound_that_bounds_nothing(refused, tokenizer, atol):
    assert "atol" in refused("roundtrip", str(tokenizer), "--atol", atol)


def test_a_folder_of_something_else_is_not_replaced(refused, recording):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years")
    line = refused("fit", str(recording), "--bins", "20", "--out", "mine")
    assert "mine" in line
    assert "choose another --out" in line
    assert Path("mine/thesis.txt").read_text() == "years"


@pytest.mark.parametrize("command", ["fit", "roundtrip", "inspect"])
def test_a_file_where_a_folder_is_needed(refused, recording, tokenizer, command):
    Path("file").write_text("in the way")
    words = {"fit": [str(recording)], "roundtrip": [str(tokenizer)], "inspect": [str(recording)]}[command]
    line = refused(command, *words, "--out", "file/below")
    assert "file" in line
    assert "choose another --out" in line
    assert Path("file").read_text() == "in the way"


@pytest.mark.parametrize("command", ["fit", "roundtrip", "inspect"])
def test_a_folder_that_cannot_be_written_is_known_before_the_work(refused, recording, tokenizer, command, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("fastki.data.open.open_with", lambda *_, **__: pytest.fail("the work began"))
    words = {"fit": [str(recording)], "roundtrip": [str(tokenizer)], "inspect": [str(recording)]}[command]
    assert "no permission to write" in refused(command, *words, "--out", "locked")


def test_a_tokenizer_that_is_not_there(refused, tokenizer):
    assert "did you mean tok?" in refused("roundtrip", "tokk")
    assert "`fastki fit` makes one" in refused("roundtrip", "something-else")


def test_a_name_on_a_hub_that_cannot_be_reached(refused, monkeypatch):
    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    for command in ("roundtrip", "inspect"):
        line = refused(command, "someone/fast")
        assert "someone/fast" in line
        assert "hf download" in line


def test_neither_a_tokenizer_nor_a_dataset(refused):
    Path("empty").mkdir()
    for command in ("roundtrip", "inspect"):
        assert "empty is no tokenizer (it holds no fastki.json), and empty is no dataset" in refused(command, "empty")


DAMAGES = {
    "cut in half": (lambda folder: _edit(folder / "fastki.json", lambda text: text[: len(text) // 2]), "fastki.json"),
    "emptied": (lambda folder: (folder / "fastki.json").write_text(""), "fastki.json"),
    "another version": (lambda folder: _set(folder, format_version=99), "version 99"),
    "another format": (lambda folder: _set(folder, format="shoes"), "fastki.json"),
    "a list": (lambda folder: (folder / "fastki.json").write_text("[]"), "fastki.json"),
    "no codec": (lambda folder: _set(folder, codec=None), "damaged"),
    "merges changed": (lambda folder: _edit(folder / "tokenizer.json", lambda text: text + " "), "tokenizer.json"),
    "no merges": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json"),
    "no statistics": (lambda folder: (folder / "norm_stats.json").unlink(), "norm_stats.json"),
}


def _edit(path, change):
    path.write_text(change(path.read_text()))


def _set(folder, **fields):
    path = folder / "fastki.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("command", ["roundtrip", "inspect"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_tokenizer(refused, tokenizer, command, damage):
    spoil, named = DAMAGES[damage]
    spoil(tokenizer)
    line = refused(command, str(tokenizer))
    assert named in line


def test_data_of_another_width(refused, files, tokenizer):
    for arguments in (("roundtrip", str(tokenizer), "plain.npy"), ("inspect", str(tokenizer), "--data", "plain.npy")):
        line = refused(*arguments)
        assert "3 action dimensions" in line
        assert "8" in line


def test_chunks_of_another_length(refused, tokenizer):
    assert "--horizon" in refused("roundtrip", str(tokenizer), "--horizon", "20")


def test_held_out_episodes_that_are_all_too_short(refused, recording, cli):
    from fastki.data import split_episodes

    seed = next(seed for seed in range(99) if split_episodes(4, holdout=0.1, seed=seed)[1].tolist() == [1])
    assert cli("fit", str(recording), "--bins", "20", "--seed", str(seed))[0] == 0
    assert "--episodes all" in refused("roundtrip")
