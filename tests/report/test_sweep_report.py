"""A sweep for people and as files, on rows made by hand."""

from __future__ import annotations

import csv
import dataclasses
import json

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from fastki.report.sweep_files import sweep_payload, write_sweep
from fastki.report.sweep_tables import advice, name_of, sweep_errors, sweep_line, sweep_marks, sweep_table
from fastki.study.grid import SweepOptions
from fastki.study.recommend import pareto_front, recommend
from fastki.study.rows import SweepRow
from fastki.study.sweep import SweepResult

FAST = SweepRow(
    "fast",
    16,
    action_dim=8,
    order="freq",
    bins=40.0,
    scale=20.0,
    vocab_size=1024,
    vocab_actual=1000,
    vocab_used=900,
    vocab_use=0.9,
    tokens_mean=20.25,
    tokens_low=19.0,
    tokens_high=21.5,
    tokens_p50=20.0,
    tokens_p99=30.0,
    tokens_max=33,
    compression=6.32,
    bits_per_chunk=202.5,
    entropy_bits=150.0,
    rmse=0.0085,
    p99_abs_error=0.02,
    max_abs_error=0.05,
    worst_dimension="a [odd] name",
    worst_error_native=0.03,
    worst_unit="rad",
    within_atol=0.25,
    nats_per_value=0.6,
    fit_s=0.31,
    encode_per_s=260_000.0,
    decode_per_s=1_100_000.0,
    chunks=100,
    episodes=4,
)
ROWS = (
    FAST,
    dataclasses.replace(
        FAST, bins=20.0, scale=10.0, tokens_mean=10.0, rmse=0.02, bits_per_chunk=100.0, order="dim", within_atol=0
    ),
    SweepRow("published", 16, path="a/[b]", bins=20.0, vocab_size=1024, tokens_mean=30.0, rmse=0.03, tokens_p99=40.0),
    SweepRow("reference", 50, bins=256.0, vocab_size=256, error="coefficients in [-9, 9] exceed a vocabulary of 9"),
    SweepRow("reference", 50, bins=256.0, vocab_size=512, error="coefficients in [-9, 9] exceed a vocabulary of 9"),
)
OPTIONS = SweepOptions()


@pytest.fixture
def result() -> SweepResult:
    details = tuple({} if row.error else {"token_lengths": [[20, 100]], "per_dim": []} for row in ROWS)
    return SweepResult(ROWS, details, pareto_front(ROWS), recommend(ROWS, OPTIONS))


def text(table, width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_table_names_every_row_and_marks_the_best(result):
    shown = text(sweep_table(ROWS, marks=sweep_marks(result))).splitlines()
    assert len(shown) == 1 + len(ROWS)
    assert shown[1].split()[:9] == ["★0", "fast", "16", "freq", "40", "1,024", "20.2", "19.0–21.5", "30"]
    assert "260k" in shown[1]
    assert "1.1M" in shown[1]
    assert shown[2].startswith("•1")
    assert "published:a/[b]" in shown[3]
    assert shown[4].count("–") > 10


def test_a_narrow_terminal_gets_fewer_columns():
    narrow = text(sweep_table(ROWS[:2], width=80), width=80)
    assert max(map(len, narrow.splitlines())) <= 80
    assert "fit s" not in narrow
    assert "RMSE" in narrow


def test_a_long_path_takes_no_room_from_the_figures():
    row = dataclasses.replace(ROWS[2], path="/a/very/long/way/to/some/published/tokenizer")
    assert "…published/tokenizer " in text(sweep_table([row]))


def test_rows_to_come_are_left_out_and_keep_their_numbers():
    shown = text(sweep_table([None, ROWS[1]])).splitlines()
    assert len(shown) == 2
    assert shown[1].split()[:2] == ["1", "fast"]


def test_the_probe_has_columns_where_it_ran():
    probed = dataclasses.replace(FAST, probe_nats_per_value=0.5, rollout_rmse=0.1)
    assert "probe" in text(sweep_table([probed]))
    assert "probe" not in text(sweep_table([FAST]))


def test_lines_and_errors():
    assert sweep_line(7, FAST) == "7: fast H 16, 40 bins, V 1,024, freq: 20.25 tokens, RMSE 0.0085, 0.600 nats a value"
    assert sweep_line(3, ROWS[3]).endswith("V 256: coefficients in [-9, 9] exceed a vocabulary of 9")
    assert sweep_errors(ROWS) == ["rows 3, 4: coefficients in [-9, 9] exceed a vocabulary of 9"]
    assert name_of(dataclasses.replace(FAST, bound=0.01)) == "fast H 16, 40 bins, bound 0.01, V 1,024, freq"


def test_advice_names_the_horizon_where_there_are_several(result):
    assert advice(result)[0].startswith("row 0: no row keeps every value")
    other = dataclasses.replace(FAST, horizon=50)
    both = dataclasses.replace(result, recommendations=recommend([*ROWS, other], OPTIONS))
    assert {line.split(",")[0] for line in advice(both)} == {"horizon 16", "horizon 50"}


def test_csv_parquet_and_json_hold_the_same_rows(result, tmp_path):
    payload = sweep_payload(result, OPTIONS, "some data", ("a note",))
    paths = write_sweep(payload, result, "fastki sweep", tmp_path)
    assert [path.name for path in paths] == ["sweep.json", "sweep.csv", "sweep.parquet"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep.csv", "sweep.json", "sweep.parquet"]
    whole = json.loads(paths[0].read_text(encoding="utf-8"))
    assert whole["rows"] == payload["rows"] == pq.read_table(paths[2]).to_pylist()
    assert (whole["command"], whole["notes"], whole["pareto"], whole["recommended"]) == (
        "fastki sweep",
        ["a note"],
        list(result.pareto),
        0,
    )
    assert len(whole["details"]) == len(ROWS)
    write_sweep({**payload, "data": "bad\udcff.npz"}, result, "fastki sweep", tmp_path)
    assert json.loads(paths[0].read_text(encoding="utf-8"))["data"] == "bad\udcff.npz"
    with paths[1].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in payload["rows"]
    ] == rows
    schema = pq.read_schema(paths[2])
    assert str(schema.field("tokens_max").type) == "int64"
    assert str(schema.field("error").type) == "string"
