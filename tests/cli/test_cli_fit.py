"""``fastki fit``: what it prints, what it writes, what it remembers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fastki import FastTokenizer
from fastki.data import split_episodes

SMALL = "synthetic:droid?episodes=8"
QUICK = ("--bins", "40", "--vocab", "256", "--stride", "2")
MEASURED = ("tokens_mean", "tokens_p99", "compression", "max_abs_error", "rmse")


def test_json_holds_every_promised_figure(run_json):
    code, result = run_json("fit", SMALL, *QUICK)
    assert code == 0
    assert Path(result["tokenizer"]) == Path("fastki-out/tokenizer")
    assert (result["vocab_size"], result["scale"], result["bins"], result["atol"]) == (256, 20, 40, None)
    assert (result["horizon"], result["action_dim"], result["episodes"]) == (16, 8, 7)
    assert (result["heldout_episodes"], result["short_episodes"]) == (1, 0)
    assert result["chunks"] == result["total_chunks"] > 100
    for name in MEASURED:
        assert result[name] > 0, name
        assert result[f"fit_{name}"] > 0, name
        assert result[name] != result[f"fit_{name}"], name
    assert result["compression"] == pytest.approx(16 * 8 / result["tokens_mean"])


def test_the_folder_holds_what_the_json_says(run_json):
    _, result = run_json("fit", SMALL, *QUICK, "--dims", "0:3,7", "--horizon", "8", "--out", "here/tok")
    tokenizer = FastTokenizer.load("here/tok")
    assert result["tokenizer"] == "here/tok"
    assert (tokenizer.horizon, tokenizer.action_dim) == (result["horizon"], result["action_dim"]) == (8, 4)
    assert tokenizer.codec.bins == 40
    assert tokenizer.source.spec.dims == (0, 1, 2, 7)
    assert tokenizer.source.names[-1] == "gripper position"


def test_the_default_bound_holds_for_every_value(run_json):
    _, result = run_json("fit", SMALL, "--vocab", "128", "--max-chunks", "100")
    assert result["atol"] == 0.01
    assert (result["chunks"], result["within_atol"], result["fit_within_atol"]) == (100, 1, 1)
    assert max(result["max_abs_error"], result["fit_max_abs_error"]) <= 0.01 * (1 + 1e-9)


def test_people_read_a_table_the_bound_and_the_next_command(cli):
    code, out, err = cli("fit", SMALL, "--vocab", "256", "--max-chunks", "100", "--out", "tok 1")
    assert code == 0
    assert err == ""
    assert "held out" in out
    assert "keep every value within 0.01" in out
    assert "wrote tok 1\n" in out
    assert out.splitlines()[-1] == "next: fastki roundtrip 'tok 1' --atol 0.01"


def test_quiet_prints_nothing(cli):
    assert cli("fit", SMALL, *QUICK, "--quiet") == (0, "", "")


def test_the_same_seed_gives_the_same_folder_to_the_byte(cli):
    for out, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert cli("fit", SMALL, *QUICK, "--seed", str(seed), "--out", out)[0] == 0
    names = sorted(path.name for path in Path("a").iterdir())
    assert {"fastki.json", "run.json"} <= set(names)
    assert names == sorted(path.name for path in Path("b").iterdir())
    for name in set(names) - {"run.json"}:  # That one says which command it was.
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes(), name
    assert Path("a/tokenizer.json").read_bytes() != Path("c/tokenizer.json").read_bytes()


def test_short_episodes_are_skipped_and_counted(cli, run_json, recording):
    _, result = run_json("fit", str(recording), *QUICK)
    assert (result["short_episodes"], result["episodes"] + result["heldout_episodes"]) == (1, 3)
    _, _, err = cli("fit", str(recording), *QUICK)
    assert "note: skipped 1 episode shorter than the horizon 16\n" in err


def test_short_episodes_count_when_they_are_held_out_too(cli, run_json, recording):
    seed = next(seed for seed in range(99) if split_episodes(4, holdout=0.1, seed=seed)[1].tolist() == [1])
    arguments = ("fit", str(recording), *QUICK, "--seed", str(seed))
    _, result = run_json(*arguments)
    assert (result["short_episodes"], result["heldout_episodes"], result["heldout_chunks"]) == (1, 1, 0)
    assert result["tokens_mean"] is None
    assert "every held-out episode is too short" in cli(*arguments)[2]


def test_without_held_out_episodes_their_figures_are_absent(cli, run_json, recording):
    _, result = run_json("fit", str(recording), *QUICK, "--holdout", "0")
    assert all(result[name] is None for name in MEASURED)
    assert all(result[f"fit_{name}"] > 0 for name in MEASURED)
    _, out, err = cli("fit", str(recording), *QUICK, "--holdout", "0")
    assert out.splitlines()[5].split() == ["fitted"]
    assert "no episode is held out" in err


@pytest.mark.parametrize("norm", ["quantile", "minmax", "zscore", "none"])
def test_every_normalisation_is_saved(cli, recording, norm):
    assert cli("fit", str(recording), *QUICK, "--norm", norm)[0] == 0
    normalizer = FastTokenizer.load("fastki-out/tokenizer").normalizer
    assert (normalizer.method, normalizer.clip) == (norm, False)


def test_clipping_is_off_by_default_and_its_loss_is_visible(run_json, cli, recording):
    arguments = ("fit", str(recording), "--vocab", "128", "--atol", "0.02", "--holdout", "0")
    _, kept = run_json(*arguments)
    _, clipped = run_json(*arguments, "--clip")
    assert kept["fit_max_abs_error"] <= 0.02 * (1 + 1e-9) < clipped["fit_max_abs_error"]
    _, out, err = cli(*arguments, "--clip")
    assert "keep every clipped value within 0.02" in out
    assert "clipping loses what lies beyond" in err


@pytest.mark.parametrize("reference", ["state", "previous"])
def test_delta_dimensions(run_json, recording, reference):
    arguments = ("fit", str(recording), *QUICK, "--delta", "0,2", "--delta-from", reference)
    code, _ = run_json(*arguments)
    assert code == 0
    source = FastTokenizer.load("fastki-out/tokenizer").source
    assert (source.spec.delta, source.spec.delta_from) == ((0, 2), reference)


@pytest.mark.parametrize("order", ["freq", "dim"])
def test_orders(run_json, recording, order):
    assert run_json("fit", str(recording), *QUICK, "--order", order)[0] == 0
    assert FastTokenizer.load("fastki-out/tokenizer").codec.order == order


def test_data_that_are_chunks_already_bring_their_horizon(run_json, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "chunks.npy", np.cumsum(rng.normal(size=(50, 12, 3)), axis=1))
    code, result = run_json("fit", "chunks.npy", *QUICK)
    assert (code, result["horizon"], result["action_dim"]) == (0, 12, 3)


def test_actions_that_never_move(cli, run_json, tmp_path):
    np.save(tmp_path / "still.npy", np.full((100, 2), 7.0))
    code, result = run_json("fit", "still.npy")
    assert code == 0
    assert result["fit_max_abs_error"] < 1e-5
    assert result["fit_compression"] is None or math.isfinite(result["fit_compression"])
    _, _, err = cli("fit", "still.npy")
    assert "never moving: action[0], action[1]" in err


def test_a_folder_named_like_markup_is_printed_as_it_is(cli, recording):
    _, out, _ = cli("fit", str(recording), *QUICK, "--out", "[bold]tok[/x]")
    assert "wrote [bold]tok[/x]\n" in out
    assert Path("[bold]tok[", "x]").is_dir()


def test_nothing_is_remembered_where_nothing_can_be_written(cli, tmp_path, recording):
    (tmp_path / "fastki-out").write_text("a file in the way")
    code, _, err = cli("fit", str(recording), *QUICK, "--out", "tok")
    assert (code, err) == (0, "note: skipped 1 episode shorter than the horizon 16\n")


def test_the_last_tokenizer_is_remembered_by_its_absolute_path(cli, tmp_path, recording):
    cli("fit", str(recording), *QUICK, "--out", "elsewhere/tok")
    remembered = json.loads(Path("fastki-out/last.json").read_text())
    assert remembered == {"tokenizer": str(tmp_path / "elsewhere/tok")}
