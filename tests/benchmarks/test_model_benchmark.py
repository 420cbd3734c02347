"""The benchmark of the model runs and reports what it says it does; nothing here depends on a timing."""

from __future__ import annotations

import json
import os

import jax
import numpy as np
import pytest

from benchmarks import model, model_cells, model_full
from benchmarks.model import main
from benchmarks.model_cells import TextLengths, random_cell
from fastki.model.config import ModelConfig, small_config
from fastki.sequence.sizes import SIZES, training_cost

LENGTHS = TextLengths(8, 6)


@pytest.fixture(autouse=True)
def quick_and_on_all_cores():
    """Nothing is timed, so programs need not be fast; and the tests after these may use what cores there are."""
    before = jax.config.read("jax_disable_most_optimizations")
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    if cores is not None:
        os.sched_setaffinity(0, cores)


def small_cell(batch: int):
    return random_cell(small_config("dummy", vocab=600, action_dim=8), LENGTHS, batch, fast_vocab=256)


def test_a_comparison_prints_the_tables_and_writes_every_number(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(model_cells.CELLS, "tiny", small_cell)
    path = tmp_path / "numbers.json"
    assert main(["--quick", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    for part in ("Machine: ", "one pass", "two passes", "flow alone", "≤ 0.65", "≤ 1.25", "tokens/s"):
        assert part in printed
    numbers = json.loads(path.read_text())
    (race,), (sample,) = numbers["races"], numbers["sampling"]
    assert (race["images"], race["full"], race["prompt"]) == (12, 14, 8)
    assert max(race["error"].values()) < 1e-5
    for name in ("two passes", "flow"):
        assert 0 < race["core_ratio"][name] < 5
    assert race["by_operations"]["two passes"] < 1 < race["by_operations"]["flow"]
    assert 1 <= sample["fast_tokens"] <= 129
    assert sample["flow_ms"] > 0


def test_passes_that_disagree_fail(monkeypatch):
    row = {"name": "tiny", "error": {"loss": 0.0, "gradient": 1e-3}}
    monkeypatch.setattr(model, "compare", lambda plan: {"races": [row]})
    monkeypatch.setattr("benchmarks.model_tables.show_comparison", lambda results, promised: None)
    assert main(["--quick"]) == 1
    row["error"]["gradient"] = 1e-7
    assert main(["--quick"]) == 0


def test_a_full_run_trains_all_three_ways(tmp_path, capsys):
    path = tmp_path / "numbers.json"
    arguments = ["--size", "dummy", "--batch", "2", "--prompt-tokens", "8", "--fast-tokens", "6", "--repetitions", "1"]
    assert main([*arguments, "--json", str(path)]) == 0
    assert "utilisation" in capsys.readouterr().out
    numbers = json.loads(path.read_text())
    rows = {row["train"]: row for row in numbers["training"]}
    assert list(rows) == ["expert", "lora", "full"]
    for row in rows.values():
        assert np.isfinite(row["loss"])
        assert row["examples_per_s"] > 0 < row["tflops"]
        assert row["mfu"] is None
    assert rows["expert"]["planned_mb"] < rows["full"]["planned_mb"]


def test_what_can_not_fit_is_refused_in_a_line(monkeypatch, capsys):
    monkeypatch.setattr(model_full, "memory_bytes", lambda: 1e6)
    assert main(["--size", "dummy", "--batch", "2", "--prompt-tokens", "8", "--fast-tokens", "6"]) == 0
    printed = capsys.readouterr().out
    for what in ("full, batch 2, takes", "sampling, batch 1, takes"):
        assert what in printed
    assert "there are 0.0 GB" in printed


def test_frozen_parameters_are_kept_in_the_dtype_of_computation():
    config = model_full._config(ModelConfig(SIZES["dummy"], vocab=600), "lora")
    trained, frozen = model_full.split(model_full._initial(config, "lora", "bfloat16"), "lora")
    assert {str(leaf.dtype) for leaf in trained.values()} == {"float32"}
    assert {str(leaf.dtype) for leaf in frozen.values()} == {"bfloat16"}
    assert {"action_out_proj/kernel", "PaliGemma/llm/layers/mlp_1/linear"} < trained.keys()
    assert "PaliGemma/llm/layers/attn/q_einsum/lora_a" in trained
    assert {"PaliGemma/llm/embedder/input_embedding", "PaliGemma/llm/layers/mlp/linear"} < frozen.keys()
    assert all(name in frozen for name in (*trained, *frozen) if name.startswith("PaliGemma/img"))


def test_operations_of_full_training_are_those_of_the_sizes():
    cell = small_cell(2)
    learnt = int(cell.full.observation.token_loss_mask.sum()) / 2
    expected = training_cost(cell.config.size, images=3, text=14, horizon=16, logits=0, vocab=600).total
    assert model_full.step_flops(cell, "full") == expected + int(3 * 2 * learnt * 64 * 600)
    assert model_full.step_flops(cell, "expert") < model_full.step_flops(cell, "lora") < expected


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", None),
        ("cpu", None),
    ],
)
def test_peaks_are_of_the_device_of_that_name(device, peak):
    assert model_full.peak_tflops(device) == peak
