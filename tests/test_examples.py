"""Every example runs, on data small enough for a test."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
NEEDS_WEIGHTS = FOLDER / "droid_pi05.py"
EXAMPLES = sorted(path for path in FOLDER.glob("*.py") if path != NEEDS_WEIGHTS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_it_runs(path, tmp_path):
    command = [sys.executable, "-W", "error", str(path), "synthetic:droid?episodes=6"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_there_are_examples():
    assert EXAMPLES


def test_publishing_uploads_the_folder_and_nothing_else(tmp_path, monkeypatch, capsys):
    from fastki import open_dataset
    from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset

    asked = []

    class Hub:
        def create_repo(self, *names: str, **options: object) -> None:
            asked.append((names, options))

        def upload_folder(self, **options: object) -> str:
            asked.append(options)
            return "https://hub/me/tok"

    folder = tmp_path / "tok"
    options = FitOptions(FitSettings(vocab_size=128, bins=20))
    fit_on_dataset(open_dataset("synthetic:droid?episodes=3"), options).tokenizer.save(folder)
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(sys, "argv", ["publish.py", str(folder), "me/tok"])
    runpy.run_path(str(FOLDER / "publish.py"))
    assert asked[0] == (("me/tok",), {"exist_ok": True})
    assert (asked[1]["repo_id"], asked[1]["folder_path"]) == ("me/tok", folder)
    assert "published: https://hub/me/tok" in capsys.readouterr().out


def test_the_figure_of_weights_is_drawn_from_the_files_beside_it(tmp_path):
    folder = FOLDER / "ki_comparison"
    files = [str(folder / f"weights_{mode}.csv") for mode in ("ki", "joint")]
    command = [sys.executable, "-W", "error", str(folder / "weights_figure.py"), *files]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "weights.png").is_file()
    told = dict(line.split(": ") for line in result.stdout.splitlines()[:-1])
    table = (folder / "README.md").read_text(encoding="utf-8")
    for weight in ("0.1", "1", "10"):
        row = next(line for line in table.splitlines() if line.startswith(f"| {weight} |"))
        means = [cell.split()[0] for cell in row.split("|")[2:4]]
        assert means == [told[f"{mode}, weight {weight}"] for mode in ("ki", "joint")]


def test_droid_goes_from_weights_to_what_openpi_serves(tmp_path, cli):
    """On the smallest network, whose weights another run has left in openpi's form."""
    pytest.importorskip("flax")
    from dummy_run import DATA, train_dummy

    train_dummy(tmp_path / "run", "sequence.layout=images-prompt-fast")
    assert cli("export", str(tmp_path / "run"), "--to", "openpi", "--out", str(tmp_path / "weights"))[0] == 0
    settings = (
        "network.size=dummy",
        "network.action_dim=8",
        "loader.batch_size=2",
        "loader.num_workers=0",
        "tokenizer.fit.tokenizer.vocab_size=128",
        "tokenizer.fit.tokenizer.bins=20",
    )
    command = [sys.executable, "-W", "error", str(NEEDS_WEIGHTS), "--weights", "weights", "--data", DATA]
    command += ["--text", "byte", "--out", "droid", "--steps", "1", *(f"--set={setting}" for setting in settings)]
    quick = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=quick)
    assert result.returncode == 0, result.stderr
    assert "51 parameters from weights" in result.stdout
    assert "of the mean action's" in result.stdout
    assert (tmp_path / "droid" / "openpi" / "params").is_dir()
    assert (tmp_path / "droid" / "openpi" / "assets" / "droid" / "norm_stats.json").is_file()
