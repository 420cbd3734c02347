"""Small data and a fitted tokenizer for the commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

SMALL = "synthetic:droid?episodes=8"


@pytest.fixture(scope="session")
def fitted_once(tmp_path_factory) -> Path:
    """A tokenizer of the small sample at 40 bins, saved."""
    from fastki import open_dataset
    from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset

    options = FitOptions(FitSettings(vocab_size=256, bins=40), stride=2)
    return fit_on_dataset(open_dataset(SMALL), options).tokenizer.save(tmp_path_factory.mktemp("fitted") / "tokenizer")


@pytest.fixture
def tokenizer(fitted_once, tmp_path) -> Path:
    """The same, a copy that a test may spoil, in the folder where ``cli`` runs."""
    return Path(shutil.copytree(fitted_once, tmp_path / "tok"))


@pytest.fixture
def recording(tmp_path) -> Path:
    """An ``.npz`` of four episodes of 60, 5, 40 and 70 frames, 3 actions and 3 states, named and at 20 Hz."""
    rng = np.random.default_rng(0)
    actions = np.cumsum(rng.normal(size=(175, 3)), axis=0)
    path = tmp_path / "recording.npz"
    ends = np.array([60, 65, 105, 175])
    np.savez(path, actions=actions, state=actions + 0.1, episode_ends=ends, fps=20.0, names=np.array(["x", "y", "z"]))
    return path


@pytest.fixture
def run_json(cli):
    """Run a command with ``--json``; its exit code and its object, which must be all of standard output."""

    def call(*arguments: str) -> tuple[int, dict]:
        code, out, _ = cli(*arguments, "--json")
        assert out.endswith("}\n")
        assert out.count("\n") == 1
        return code, json.loads(out)

    return call


@pytest.fixture
def refused(cli):
    """Run a command that must end in exit code 2 and one line on standard error, which is returned."""

    def call(*arguments: str) -> str:
        code, out, err = cli(*arguments, "--quiet")
        assert (code, out) == (2, ""), err
        assert err.count("\n") == 1
        assert err.startswith("error: ")
        return err

    return call
