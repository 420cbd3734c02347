"""Commands on names of the hub, of which the real library's cache holds a tokenizer, a dataset, or nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import constants, errors

from fastki import FastTokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """Puts a folder or file into the hub's cache, which is all that there is without a network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def call(source: Path, kind: str, name: str = "user/name") -> None:
        folder = tmp_path / f"cache/{kind}s--{name.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs/main").write_text(COMMIT)
        target = folder / "snapshots" / COMMIT
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            target.mkdir(parents=True)
            shutil.copy(source, target)

    return call


@pytest.mark.parametrize("name", ["user/name", "hf://user/name", "user/name@main", "hf://datasets/user/name"])
def test_inspect_a_dataset(cached, run_json, cli, recording, name):
    cached(recording, "dataset")
    code, result = run_json("inspect", name)
    assert (code, result["episodes"]) == (0, 4)
    _, out, err = cli("inspect", name)
    assert err == ""
    assert out.splitlines()[-1] == f"next: fastki fit {name}"


@pytest.mark.parametrize("name", ["user/name", "hf://user/name"])
def test_inspect_a_tokenizer(cached, run_json, tokenizer, recording, name):
    cached(tokenizer, "model")
    cached(recording, "dataset")
    code, result = run_json("inspect", name)
    assert (code, result["method"], result["vocab_size"]) == (0, "fast", 256)


def test_a_name_that_says_dataset(cached, run_json, tokenizer, recording):
    cached(tokenizer, "model")
    cached(recording, "dataset")
    assert run_json("inspect", "hf://datasets/user/name")[1]["episodes"] == 4


def test_a_name_that_cannot_be_one(cached, refused):
    for command in ("inspect", "fit", "roundtrip"):
        assert "Cannot have -- or .." in refused(command, "a--b/c")


def test_a_model_of_that_name_that_is_no_tokenizer(cached, run_json, tmp_path, recording):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy/config.json").write_text("{}")
    cached(tmp_path / "policy", "model")
    cached(recording, "dataset")
    assert run_json("inspect", "user/name")[1]["episodes"] == 4


def test_fit_on_a_dataset_of_the_hub_and_measure_it_again(cached, run_json, recording):
    cached(recording, "dataset")
    assert run_json("fit", "user/name", "--vocab", "128", "--bins", "40", "--seed", "1")[0] == 0
    assert FastTokenizer.load("fastki-out/tokenizer").source.data == "hf://user/name"
    assert run_json("roundtrip", "--atol", "1")[0] == 0


@pytest.mark.parametrize("name", ["user/name", "hf://user/name"])
def test_nothing_of_that_name_without_a_network(cached, refused, name):
    line = refused("inspect", name)
    assert "hf://user/name: the hub cannot be reached" in line
    assert "`hf download --repo-type dataset user/name`" in line
    assert "for a tokenizer, `hf download user/name`" in line
    assert "the hub cannot be reached" in refused("fit", name)


def test_nothing_of_that_name_at_all(monkeypatch, refused):
    def fail(*_, **__):
        answer = SimpleNamespace(status_code=404, headers={}, request=None)
        raise errors.RepositoryNotFoundError("404 Client Error.", response=answer)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    line = refused("inspect", "user/name")
    assert "there is no folder user/name here" in line
    assert "the hub has no such dataset, or a private one: check the name, or run `hf auth login`" in line
    assert "nor has it a tokenizer of that name" in line


def test_a_damaged_tokenizer_on_the_hub_is_no_dataset(cached, refused, tokenizer):
    (tokenizer / "norm_stats.json").unlink()
    cached(tokenizer, "model")
    assert "norm_stats.json" in refused("inspect", "user/name")


def test_a_mistyped_folder_does_not_reach_for_the_hub(monkeypatch, refused, tmp_path):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("it did"))
    (tmp_path / "sets").mkdir()
    np.save(tmp_path / "sets/run_1.npy", np.ones((3, 2)))
    assert "did you mean sets/run_1.npy?" in refused("inspect", "sets/run_2.npy")
    assert "did you mean sets/run_1.npy?" in refused("fit", "sts/run_1.npy")


def test_quiet_downloads_show_no_bars(cached, cli, recording, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "")  # So that it is as before after the test.
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS")
    cached(recording, "dataset")
    cli("inspect", "user/name")
    assert "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ
    assert cli("inspect", "user/name", "--quiet") == (0, "", "")
    assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"
