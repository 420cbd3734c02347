"""``fastki sweep``: what it prints, writes, refuses, picks up again and saves."""

from __future__ import annotations

import csv
import html
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from processes import PATIENCE, launch, wait_until
from row_files import finished

from fastki import FastTokenizer

SMALL = "synthetic:droid?episodes=8"
QUICK = ("sweep", SMALL, "--vocab", "256,512", "--bins", "20,64", "--stride", "4")
PROMISED = (
    "method",
    "horizon",
    "bins",
    "scale",
    "vocab_size",
    "order",
    "tokens_mean",
    "tokens_p99",
    "compression",
    "rmse",
    "max_abs_error",
    "within_atol",
    "nats_per_value",
    "error",
)


def test_json_holds_the_rows_the_front_and_the_choice(run_json):
    code, result = run_json(*QUICK, "--atol", "0.05")
    assert code == 0
    rows = result["rows"]
    assert [(row["bins"], row["vocab_size"]) for row in rows] == [(20, 256), (20, 512), (64, 256), (64, 512)]
    assert all(set(PROMISED) <= set(row) for row in rows)
    assert all(row["error"] is None and row["nats_per_value"] > 0 for row in rows)
    assert set(result["pareto"]) <= set(range(4))
    chosen = rows[result["recommended"]]
    assert (chosen["bins"], chosen["within_atol"]) == (64, 1)
    assert "64 bins" in result["recommendation"]
    assert json.loads(Path("fastki-out/sweep/sweep.json").read_text())["rows"] == rows
    assert pq.read_table("fastki-out/sweep/sweep.parquet").to_pylist() == rows
    with Path("fastki-out/sweep/sweep.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4
    written = [path for path in Path("fastki-out/sweep").rglob("*") if path.is_file() and path.parent.name != "rows"]
    assert sorted(result["files"]) == sorted(map(str, written))
    assert len(written) == 4 + 2 * 5


def test_the_report_names_the_command_and_the_advice(cli):
    code, out, _ = cli(*QUICK, "--atol", "0.05", "--out", "my sweep")
    assert code == 0
    assert "wrote my sweep/report.html" in out
    assert "wrote my sweep/figures\n" in out
    text = html.unescape(Path("my sweep/report.html").read_text(encoding="utf-8"))
    next_one = shlex.split(out.splitlines()[-1].removeprefix("next: "))
    assert f"<code>{shlex.join(next_one[:-4])}</code>" in text
    assert next_one[:3] == ["fastki", "sweep", SMALL]
    assert next(line for line in out.splitlines() if line.startswith("row ")) in text


def test_people_read_a_table_the_advice_and_the_next_command(cli):
    code, out, err = cli(*QUICK, "--method", "fast,reference", "--bins", "20,256", "--out", "my sweep")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["#", "method", "H", "order"]
    assert "refused rows 6, 7: coefficients in" not in out  # Each names its own vocabulary.
    assert "refused row 6: coefficients in" in out
    assert "exceed a vocabulary of 256" in out
    assert "row 3: V 512, 256 bins, " in out
    assert "wrote my sweep/sweep.csv" in out
    assert lines[-1].startswith(f"next: fastki sweep '{SMALL}' --vocab 256,512")
    assert lines[-1].endswith("--pick best --save fastki-out/tokenizer")
    assert err.count("\n") == 8
    assert "[8/8, done] " in err


def test_the_same_command_goes_on_and_the_next_one_saves_the_best(cli, run_json):
    _, first = run_json(*QUICK, "--atol", "0.05")
    _, out, err = cli(*QUICK, "--atol", "0.05")
    assert err.count("stored] ") == 4
    command = shlex.split(out.splitlines()[-1].removeprefix("next: "))
    code, out, _ = cli(*command[1:])
    assert code == 0
    tokenizer = FastTokenizer.load("fastki-out/tokenizer")
    best = first["rows"][first["recommended"]]
    assert (tokenizer.codec.bins, tokenizer.vocab_size) == (best["bins"], best["vocab_actual"])
    assert out.splitlines()[-1] == "next: fastki roundtrip fastki-out/tokenizer --atol 0.05"
    code, measured = run_json("roundtrip", "fastki-out/tokenizer", "--atol", "0.05")
    assert code == 0
    for name in ("tokens_mean", "tokens_p99", "rmse", "max_abs_error", "compression"):
        assert measured[name] == best[name], name


def test_a_row_by_its_number_is_the_tokenizer_that_fit_makes(cli, run_json):
    code, result = run_json(*QUICK, "--pick", "0", "--save", "mine")
    assert (code, result["tokenizer"]) == (0, "mine")
    assert cli("fit", SMALL, "--vocab", "256", "--bins", "20", "--stride", "4", "--out", "other")[0] == 0
    for path in Path("mine").iterdir():
        assert path.read_bytes() == Path("other", path.name).read_bytes(), path.name


def test_quiet_prints_nothing_and_one_word_saves(cli):
    assert cli(*QUICK, "--quiet", "--save", "tok") == (0, "", "")
    assert FastTokenizer.load("tok").codec.bins == 64


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--method", "fasst"), "--method 'fasst' is unknown: use fast, binning"),
        (("--bins", "3"), "bins must be at least 4"),
        (("--bins", "20,x"), "--bins '20,x' is no list of numbers"),
        (("--vocab", "32"), "the vocabulary must lie in [64, 65536], not 32"),
        (("--vocab", "256,1k"), "--vocab '256,1k' is no list of numbers"),
        (("--horizon", "16,5000"), "every episode is shorter than the horizon of 5000"),
        (("--horizon", "0"), "--horizon 0 is out of range"),
        (("--order", "time"), "--order 'time' is unknown"),
        (("--atol", "0"), "--atol must be a positive number"),
        (("--dims", "0:99"), "99"),
        (("--method", "published:nowhere"), "nowhere"),
        (("--method", "binning", "--pick", "0"), "--pick 0 is of the method binning"),
        (("--pick", "4"), "--pick 4: use best, or the number of a row, 0 … 3"),
        (("--pick", "worst"), "--pick worst: use best"),
        (("--ray-address", "auto"), "--ray-address is of --engine ray"),
    ],
)
def test_a_bad_grid_is_refused_before_any_work(refused, arguments, said):
    assert said in refused(*QUICK, *arguments)
    assert not Path("fastki-out").exists()


def test_a_place_that_holds_something_else_is_not_replaced(refused):
    Path("precious").mkdir()
    Path("precious/thesis.tex").write_text("x")
    assert "precious" in refused(*QUICK, "--save", "precious")


def test_a_file_where_figures_go_is_named_before_any_work(refused):
    Path("results").mkdir()
    Path("results/figures").write_text("mine")
    assert "results/figures is a file" in refused(*QUICK, "--out", "results")
    assert [path.name for path in Path("results").iterdir()] == ["figures"]


def test_killed_in_the_middle_it_goes_on(tmp_path, run_json):
    arguments = ["sweep", SMALL, "--vocab", "256,512,1024", "--bins", "20,40,64,100,128,200", "--workers", "1"]
    code = "import sys; from fastki.cli.main import run; run(sys.argv[1:])"
    process = launch(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    rows = tmp_path / "fastki-out" / "sweep" / "rows"
    wait_until(lambda: len(finished(rows)) >= 3, process)
    process.kill()
    process.wait()
    kept = {path.name: path.read_bytes() for path in finished(rows)}
    assert 3 <= len(kept) < 18
    assert not list(rows.parent.glob("sweep.*"))
    code, result = run_json(*arguments)
    assert (code, len(result["rows"])) == (0, 18)
    assert all((rows / name).read_bytes() == content for name, content in kept.items())


def test_ctrl_c_leaves_without_a_word_and_keeps_what_is_finished(tmp_path):
    arguments = ["sweep", SMALL, "--vocab", "256,512,1024", "--bins", "20,40,64,100,128,200", "--quiet"]
    # Whatever started the tests may ignore the signal, and a process takes that over.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; import sys; from fastki.cli.main import run; run(sys.argv[1:])"
    process = launch(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # The signal goes to the whole group, workers included, as from a terminal.
    )
    rows = tmp_path / "fastki-out" / "sweep" / "rows"
    wait_until(lambda: len(finished(rows)) >= 2, process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (130, b"", b"")
    assert 2 <= len(finished(rows)) < 18


def test_live_table_on_a_terminal(tmp_path):
    main, worker = pty.openpty()
    code = "import sys; from fastki.cli.main import run; run(sys.argv[1:])"
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "140", "LINES": "40"}
    process = launch(
        [sys.executable, "-c", code, *QUICK], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=worker, env=environment
    )
    os.close(worker)
    seen = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.close(main)
    assert process.wait() == 0
    text = seen.decode()
    assert "4/4" in text
    assert "ETA" in text
    assert "RMSE" in text
