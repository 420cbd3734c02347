"""Every example runs, on data small enough for a test."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


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
    runpy.run_path(str(next(path for path in EXAMPLES if path.name == "publish.py")))
    assert asked[0] == (("me/tok",), {"exist_ok": True})
    assert (asked[1]["repo_id"], asked[1]["folder_path"]) == ("me/tok", folder)
    assert "published: https://hub/me/tok" in capsys.readouterr().out


def test_the_figure_of_weights_is_drawn_from_the_files_beside_it(tmp_path):
    folder = EXAMPLES[0].parent / "ki_comparison"
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
