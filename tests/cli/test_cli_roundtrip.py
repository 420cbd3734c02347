"""``fastki roundtrip``: what it measures, its exit code, and where it finds what the user left out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

SMALL = "synthetic:droid?episodes=8"
FIGURES = ("reconstruction.png", "errors.png", "energy.png", "tokens.png")
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def _no_figures(request, monkeypatch):
    """Figures take longer than all the rest: only the test that looks at them draws them."""
    if "figures" not in request.node.name:
        monkeypatch.setattr("fastki.cli.roundtrip_report.draw", lambda *_: [])


def test_fit_then_roundtrip_passes_with_no_data_at_all(cli):
    assert cli("fit", "--max-chunks", "300")[0] == 0
    code, out, _ = cli("roundtrip", "--atol", "0.01")
    assert code == 0
    assert "passed: every value is within 0.01" in out
    assert "synthetic:droid, 6 episodes (held out)" in out
    assert out.splitlines()[-1] == "next: fastki inspect fastki-out/tokenizer"


def test_json_holds_every_promised_figure(run_json, tokenizer):
    code, result = run_json("roundtrip", str(tokenizer), "--atol", "0.2")
    assert code == 0
    assert (result["atol"], result["passed"], result["within_atol"]) == (0.2, True, 1)
    assert (result["part"], result["episodes"], result["data"]) == ("heldout", 1, SMALL)
    assert result["chunks"] > 10
    assert 0 < result["rmse"] < result["p99_abs_error"] <= result["max_abs_error"] * 1.003
    assert 0 < result["tokens_mean"] <= result["tokens_p99"] <= result["tokens_max"]
    assert result["passing_bins"] is None
    assert len(result["per_dim"]) == 8
    first = result["per_dim"][0]
    assert (first["name"], first["unit"]) == ("joint_1 velocity", "rad/s")
    assert 0 < first["rmse"] < first["max_abs_error"]
    assert first["max_abs_error_native"] > 0
    assert max(dim["max_abs_error"] for dim in result["per_dim"]) == result["max_abs_error"]


def test_results_and_figures_are_written(run_json, tokenizer):
    _, printed = run_json("roundtrip", str(tokenizer), "--atol", "0.2", "--out", "results/here")
    folder = Path("results/here")
    assert json.loads((folder / "roundtrip.json").read_text()) == printed
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FIGURES, "roundtrip.json", "run.json"])
    for name in FIGURES:
        image = (folder / name).read_bytes()
        assert image.startswith(PNG)
        width, height = (int.from_bytes(image[at : at + 4], "big") for at in (16, 20))
        assert (width > 400, height > 250) == (True, True), name


def test_a_miss_exits_1_and_names_the_dimension_and_the_mend(cli, run_json, tokenizer):
    code, out, _ = cli("roundtrip", str(tokenizer), "--atol", "0.02")
    assert code == 1
    missed = next(line for line in out.splitlines() if line.startswith("missed: "))
    code, result = run_json("roundtrip", str(tokenizer), "--atol", "0.02")
    assert (code, result["passed"]) == (1, False)
    assert result["worst_dimension"] in missed
    assert f"episode {result['worst_chunk']['episode']}, frame {result['worst_chunk']['start']}" in missed
    assert "fit with --atol 0.02" in missed
    assert f"--bins {result['passing_bins']}" in missed


def test_the_bins_of_the_mend_pass(run_json, tokenizer):
    _, missed = run_json("roundtrip", str(tokenizer), "--atol", "0.02")
    bins = str(missed["passing_bins"])
    run_json("fit", SMALL, "--vocab", "256", "--stride", "2", "--bins", bins)
    code, result = run_json("roundtrip", "--atol", "0.02")
    assert (code, result["passed"]) == (0, True)


def test_clipped_outliers_show_and_the_mend_is_not_to_clip(cli, run_json, recording):
    cli("fit", str(recording), "--vocab", "128", "--atol", "0.02", "--clip")
    code, out, err = cli("roundtrip", "--atol", "0.02", "--episodes", "all")
    assert code == 1
    assert "fit with --no-clip --atol 0.02" in out
    assert "clipping loses what lies beyond" in err
    _, result = run_json("roundtrip", "--atol", "0.02", "--episodes", "all")
    assert 0 < result["outside"] < 0.2
    cli("fit", str(recording), "--vocab", "128", "--atol", "0.02")
    code, _, err = cli("roundtrip", "--atol", "0.02", "--episodes", "all")
    assert code == 0
    assert "nothing is clipped" in err


def test_the_last_fitted_tokenizer_is_taken(run_json, recording):
    for out, bins in (("one", "20"), ("two", "60")):
        run_json("fit", str(recording), "--vocab", "128", "--bins", bins, "--out", out)
    _, result = run_json("roundtrip", "--atol", "1")
    assert (result["tokenizer"], result["data"]) == ("two", str(recording))


def test_with_nothing_fitted_the_sample_is_fitted_first(cli, monkeypatch):
    monkeypatch.setattr("fastki.cli.roundtrip.SAMPLE", "synthetic:droid?episodes=2")
    code, out, err = cli("roundtrip")
    assert code == 0
    assert "fitting the built-in sample first" in err
    assert "passed" in out
    assert Path("fastki-out/tokenizer/fastki.json").is_file()


@pytest.mark.parametrize("content", ["not json", "{}", "[]", '{"tokenizer": "gone"}'])
def test_a_spoiled_memory_is_no_memory(cli, monkeypatch, content):
    monkeypatch.setattr("fastki.cli.roundtrip.SAMPLE", "synthetic:droid?episodes=2")
    Path("fastki-out").mkdir()
    Path("fastki-out/last.json").write_text(content)
    code, _, err = cli("roundtrip")
    assert code == 0
    assert "fitting the built-in sample first" in err


def test_a_single_argument_may_be_the_data(run_json, recording, tmp_path):
    run_json("fit", str(recording), "--vocab", "128", "--bins", "60")
    other = np.cumsum(np.random.default_rng(5).normal(size=(80, 3)), axis=0)
    np.save(tmp_path / "other.npy", other)
    _, result = run_json("roundtrip", "other.npy", "--atol", "9")
    assert (result["tokenizer"], result["data"], result["part"]) == ("fastki-out/tokenizer", "other.npy", "all")
    assert (result["chunks"], result["episodes"]) == (65, 1)


@pytest.mark.parametrize(("split", "episodes"), [("heldout", 1), ("fitted", 7), ("all", 8)])
def test_splits(run_json, tokenizer, split, episodes):
    _, result = run_json("roundtrip", str(tokenizer), "--episodes", split, "--atol", "1")
    assert (result["part"], result["episodes"]) == (split, episodes)


def test_the_same_data_elsewhere_are_split_the_same_way(run_json, recording, tmp_path):
    run_json("fit", str(recording), "--vocab", "128", "--bins", "60", "--holdout", "0.5")
    moved = Path(shutil.copy(recording, tmp_path / "moved.npz"))
    _, result = run_json("roundtrip", "fastki-out/tokenizer", str(moved), "--atol", "1")
    assert result["part"] == "heldout"


def test_short_episodes_are_counted(cli, run_json, recording):
    run_json("fit", str(recording), "--vocab", "128", "--bins", "60")
    _, result = run_json("roundtrip", "--episodes", "all", "--atol", "1")
    assert (result["short_episodes"], result["episodes"]) == (1, 3)
    _, _, err = cli("roundtrip", "--episodes", "all", "--atol", "1")
    assert "note: skipped 1 episode shorter than the horizon\n" in err


def test_quiet_prints_nothing_and_still_judges(cli, tokenizer):
    assert cli("roundtrip", str(tokenizer), "--quiet", "--atol", "1") == (0, "", "")
    assert cli("roundtrip", str(tokenizer), "--quiet", "--atol", "1e-6") == (1, "", "")


def test_other_dimensions_of_other_data(run_json, recording, tmp_path):
    run_json("fit", str(recording), "--vocab", "128", "--bins", "60", "--dims", "0:2")
    np.save(tmp_path / "wide.npy", np.cumsum(np.random.default_rng(5).normal(size=(80, 5)), axis=0))
    _, result = run_json("roundtrip", "fastki-out/tokenizer", "wide.npy", "--dims", "3,4", "--atol", "99")
    assert [dim["name"] for dim in result["per_dim"]] == ["action[3]", "action[4]"]
