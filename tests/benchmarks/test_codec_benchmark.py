"""The codec benchmark runs and reports what it says it does; nothing here depends on a timing."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("transformers")

from benchmarks.cells import FULL, Shape
from benchmarks.codec import main
from benchmarks.memory import enlarge, peak_mb
from benchmarks.timing import measure
from benchmarks.tokens import coarsest_scale, violations


def test_a_quick_run_prints_every_table_and_writes_every_number(tmp_path, capsys):
    path = tmp_path / "numbers.json"
    assert main(["--quick", "--data", "synthetic:droid?episodes=3", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    for part in ("Machine: ", "numpy", "tokenizers", "Speed", "One chunk", "Peak memory", "RMSE", "within 0.01"):
        assert part in printed
    numbers = json.loads(path.read_text())
    assert {"cpu", "cores", "python", "packages"} <= numbers["machine"].keys()
    assert numbers["data"]["episodes_fitted"] + numbers["data"]["episodes_heldout"] == 3
    _check_speed(numbers)
    _check_latency_and_memory(numbers)
    _check_compression(numbers)
    _check_bound(numbers)


def _check_speed(numbers):
    (row,) = numbers["speed"]
    for method in ("reference", "fastki"):
        assert row[method].keys() >= {"fit_s", "encode_per_s", "decode_per_s", "tokens"}
        assert min(row[method]["repetitions"]) >= 2
    assert row["fastki"]["train_bpe"]["symbols"] > 0
    assert row["ratio"].keys() == {"fit", "encode", "decode"}
    assert row["fastki"]["rmse"] == pytest.approx(row["reference"]["rmse"], rel=0.2)


def _check_latency_and_memory(numbers):
    at_scale, bounded = numbers["latency"]
    assert at_scale["reference"]["encode_us"].keys() == {"median", "p99"}
    assert bounded["atol"] == 0.01
    assert "fails" in bounded["reference"]
    assert numbers["memory"]["chunks"] == 20_000
    assert numbers["memory"]["fastki"].keys() == {"fit_mb", "before_mb"}


def _check_compression(numbers):
    cells = [(row["scale"], row["vocab_size"]) for row in numbers["compression"]]
    assert cells == [(10, 256), (10, 1024), (40, 256), (40, 1024)]
    for row in numbers["compression"]:
        assert ("fails" in row["reference"]) != ("tokens" in row["reference"])
        assert row["fastki"]["tokens"] > 0


def _check_bound(numbers):
    assert [row["vocab_size"] for row in numbers["bound"]] == [1024, 2048]
    for row in numbers["bound"]:
        assert row["fastki"].keys() == {"freq", "dim"}
        for ours in row["fastki"].values():
            assert ours["violations"] == 0
            assert ours["max_error"] <= 0.01


def test_the_coarsest_scale_is_one_that_keeps_the_bound(walks, max_error):
    scale = coarsest_scale(walks, 0.02)
    assert max_error(walks, scale) <= 0.02
    assert all(max_error(walks, coarser) > 0.02 for coarser in range(1, scale))


def test_violations_count_chunks():
    chunks = np.zeros((3, 2, 2))
    decoded = chunks.copy()
    decoded[1, 0] = 0.5
    assert violations(decoded, chunks, 0.1) == {"violations": 1, "max_error": 0.5}


def test_enlarged_data_are_the_same_every_time_and_differ_from_copy_to_copy(walks):
    once, again = enlarge(walks, 1000), enlarge(walks, 1000)
    assert np.array_equal(once, again)
    assert once.shape == (1000, 16, 4)
    assert np.abs(once).max() <= 1
    assert not np.array_equal(once[0], once[len(walks)])


def test_the_peak_of_memory_covers_what_was_held():
    before = peak_mb()
    held = np.ones(25_000_000)  # 200 MB
    assert peak_mb() >= max(before, held.nbytes / 1e6)
    del held
    assert peak_mb() >= 200


def test_calls_are_repeated_as_often_as_asked(monkeypatch):
    calls: list[int] = []
    monkeypatch.setattr("benchmarks.timing._ENOUGH_S", 0.0)
    timing = measure(lambda: calls.append(1) or len(calls), repetitions=5)
    assert (timing.repetitions, timing.result, len(calls)) == (5, 5, 5)
    monkeypatch.setattr("benchmarks.timing.SLOW_S", -1.0)
    assert measure(lambda: None, repetitions=5).repetitions == 3


def test_a_narrow_dataset_narrows_the_shapes():
    plan = FULL.within(8)
    assert plan.shapes == (Shape(16, 8), Shape(50, 8))
    assert plan.study_shapes == (Shape(16, 8), Shape(50, 8))
