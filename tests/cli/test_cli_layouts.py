"""``fastki layouts``: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import html
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from fastki.sequence.layout import PRESETS

FILES = ["layouts.csv", "layouts.json", "lengths.png", "lengths.svg", "masks.png", "masks.svg", "report.html"]
SMALL = "synthetic:droid?episodes=8"
MINE = """
[[segments]]
kind = "images"
[[segments]]
kind = "fast"
attends = "causal"
loss = "tokens"
[[segments]]
kind = "actions"
loss = "flow"
"""


@pytest.fixture(autouse=True)
def _no_figures(request, monkeypatch):
    """Figures take longer than all the rest: only the test that looks at them draws them."""
    if "figures" not in request.node.name:
        monkeypatch.setattr("fastki.report.layout_html.layout_figures", lambda *_: [])


def test_with_nothing_at_all_the_sample_is_fitted_and_compared(cli, monkeypatch):
    monkeypatch.setattr("fastki.cli.roundtrip.SAMPLE", "synthetic:droid?episodes=3")
    code, out, err = cli("layouts")
    assert code == 0
    assert "fitting the built-in sample first" in err
    assert all(f"\n{name} " in out for name in PRESETS)
    assert "no: the prompt comes after FAST" in out
    assert out.splitlines()[-1] == "next: fastki inspect fastki-out/tokenizer"


def test_results_and_figures_are_written(run_json, tokenizer):
    code, printed = run_json("layouts", str(tokenizer), "--out", "results/here")
    folder = Path("results/here")
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == FILES
    written = json.loads((folder / "layouts.json").read_text())
    assert sorted(printed.pop("files")) == [str(folder / name) for name in FILES]
    assert {key: written[key] for key in printed} == printed
    assert written["command"] == f"fastki layouts {tokenizer} --out results/here --json"
    assert [row["layout"] for row in csv.DictReader((folder / "layouts.csv").read_text().splitlines())] == list(PRESETS)
    assert (folder / "masks.png").read_bytes().startswith(b"\x89PNG")


def test_json_holds_every_promised_figure(run_json, tokenizer):
    _, result = run_json("layouts", str(tokenizer), "--max-token-len", "120", "--model", "tiny")
    assert (result["cameras"], result["horizon"], result["text"]) == (2, 16, "byte")
    assert result["model"]["name"] == "tiny"
    assert result["state_normalizer"]["method"] == "quantile"
    rows = {row["layout"]: row for row in result["rows"]}
    assert list(rows) == list(PRESETS)
    for row in rows.values():
        assert row["total_mean"] <= row["total_max"] <= row["padded"] == 3 * 16 + 120
        assert row["need_99"] <= row["need_999"] <= row["need_all"]
        assert 0 < row["train_attention"] < row["train_flops"]
        assert 0 < row["infer_attention"] < row["infer_flops"]
        assert (row["truncated"] > 0) == (row["need_all"] > 120)
    assert rows["images-fast"]["loss_share"] > rows["images-prompt-fast"]["loss_share"] > 0
    assert [rows[name]["usable"] for name in PRESETS] == [True, True, False, True, True, True]


def test_the_report_names_the_command_with_its_arguments_in_order(cli, tokenizer):
    Path("my layout.toml").write_text(MINE)
    words = ["layouts", str(tokenizer), SMALL, "--layouts", "images-fast,my layout.toml", "--cameras", "1"]
    code, out, _ = cli(*words)
    assert code == 0
    assert "wrote fastki-out/layouts/report.html" in out
    assert "\nleast to" not in out  # They differ in name alone.
    assert "\nall are alike to train: " in out
    text = html.unescape(Path("fastki-out/layouts/report.html").read_text(encoding="utf-8"))
    assert f"<code>{shlex.join(['fastki', *words])}</code>" in text
    assert next(line for line in out.splitlines() if line.startswith("all are alike to act")) in text


def test_a_name_that_is_no_unicode_is_no_crash(cli, tokenizer):
    name = "\udcff$x$.toml"
    Path(name).write_text(MINE)
    code, _, err = cli("layouts", str(tokenizer), "--layouts", name, "--quiet")
    assert (code, err) == (0, "")
    assert "\ufffd$x$" in Path("fastki-out/layouts/report.html").read_text(encoding="utf-8")
    assert json.loads(Path("fastki-out/layouts/layouts.json").read_text())["rows"][0]["layout"] == "\udcff$x$"


def test_layouts_of_ones_own_beside_presets(run_json, tokenizer):
    Path("mine.toml").write_text(MINE)
    _, result = run_json("layouts", str(tokenizer), "--layouts", "images-fast, mine.toml")
    ours, mine = result["rows"]
    assert (ours["layout"], mine["layout"]) == ("images-fast", "mine")
    assert {**mine, "layout": ""} == {**ours, "layout": ""}


def test_truncation_is_said(cli, tokenizer):
    code, out, _ = cli("layouts", str(tokenizer), "--max-token-len", "100", "--layouts", "images-prompt-fast")
    assert code == 0
    assert "of the examples are longer than 100 text tokens" in out
    assert "keeps everything" in out


def test_data_alone_take_the_last_tokenizer(cli, run_json, recording):
    run_json("fit", str(recording), "--vocab", "128", "--bins", "60")
    _, result = run_json("layouts", str(recording), "--cameras", "1")
    assert (result["tokenizer"], result["data"]) == ("fastki-out/tokenizer", str(recording))
    assert (result["episodes"], result["cameras"]) == (3, 1)
    _, _, err = cli("layouts", str(recording))
    assert "skipped 1 episode shorter than the horizon" in err
    assert "no prompts" in err
    assert "no cameras" in err


def test_layouts_that_need_a_state_say_so_where_there_is_none(cli, tmp_path):
    np.save(tmp_path / "bare.npy", np.cumsum(np.random.default_rng(0).normal(size=(60, 3)), axis=0))
    cli("fit", "bare.npy", "--vocab", "128", "--bins", "60")
    code, out, _ = cli("layouts")
    assert code == 0
    assert "\nimages-fast " in out
    assert "not measured images-prompt-fast: it shows the state, and the data have none" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layouts", "images-promt-fast"], "did you mean images-prompt-fast?"),
        (["--layouts", ","], "no layout is named"),
        (["--model", "tinny"], "did you mean tiny?"),
        (["--text", "nowhere/at/all"], "nowhere"),
        (["--model", "tiny", "--text", "byte:300"], "text vocabulary of 300"),
        (["--cameras", "4"], "--cameras 4"),
        (["--max-token-len", "0"], "--max-token-len"),
        (["--fps", "5"], "fastki layouts TOKENIZER DATA"),
    ],
)
def test_a_mistake_is_one_line(refused, tokenizer, arguments, said):
    assert said in refused("layouts", str(tokenizer), *arguments)


def test_a_mixture_is_refused_with_the_mend(cli, refused):
    mix = '[[dataset]]\ndata = "synthetic:droid?episodes=3"\n[[dataset]]\ndata = "synthetic:droid?episodes=4&seed=3"\n'
    Path("mix.toml").write_text(mix)
    code, _, err = cli("fit", "mix.toml")
    assert code == 0, err
    assert "give one of its datasets as DATA" in refused("layouts")
    code, out, _ = cli("layouts", "fastki-out/tokenizer", "synthetic:droid?episodes=3", "--layouts", "images-fast")
    assert code == 0
    assert "from 3 episodes" in out


def test_with_train_steps_each_layout_is_trained_and_what_it_learnt_comes_first(cli, tokenizer, monkeypatch):
    pytest.importorskip("flax")
    from fastki.training import presets

    tiny = presets.preset("tiny")
    small = presets.configured(tiny, {}, ["network.size=dummy", "loader.batch_size=4", "tokenizer.fit.holdout=0.3"])
    monkeypatch.setattr(presets, "preset", lambda name: {"tiny": small}[name])
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # For the process that trains.
    Path("mine.toml").write_text(MINE)
    command = ("layouts", str(tokenizer), "synthetic:droid?episodes=4&size=28", "--layouts", "images-fast,mine.toml")
    code, out, err = cli(*command, "--train-steps", "2", "--seeds", "1", "--json")
    assert code == 0, err
    learnt = json.loads(out)["training"]
    assert [one["name"] for one in learnt["variants"]] == ["images-fast", "mine"]
    assert [(run["variant"], run["seed"], run["steps"]) for run in learnt["runs"]] == [
        ("images-fast", 0, 2),
        ("mine", 0, 2),
    ]
    for one in learnt["variants"]:
        assert all(one[metric]["mean"] > 0 for metric in ("flow_error", "fast_error", "nats_per_value", "flow_loss"))
    assert all("one seed tells nothing apart" in line for line in learnt["ranking"])
    first, second = learnt["runs"]  # The same layout by another name, the same seed, the same data: the same run.
    assert first["flow_loss"] == second["flow_loss"]
    assert "[2/2] mine, seed 0: flow_error" in err
    folder = Path("fastki-out/layouts")
    assert (folder / "learning.png").read_bytes().startswith(b"\x89PNG")
    assert "What each learns" in (folder / "report.html").read_text()
    code, again, err = cli(*command, "--train-steps", "2", "--seeds", "1")
    assert code == 0
    assert err.count("stored") == 2
    assert "What each learns" not in again
    assert "flow head, of mean action" in again
    code, out, _ = cli("inspect", str(folder / "training/runs/mine-seed0"), "--json")
    assert (code, json.loads(out)["step"]) == (0, 2)
