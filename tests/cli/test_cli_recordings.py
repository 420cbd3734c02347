"""The commands on real recordings: what they promise there, and how fast."""

from __future__ import annotations

import time
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["g1_pick_bottle", "so101_record_test"])
def test_fast_at_its_own_precision(run_json, shared, name):
    run_json("fit", "synthetic:droid?episodes=2", "--bins", "20")  # Compiles, where that is still to be done.
    started = time.monotonic()
    dims = ("--dims", "0:8") if name == "g1_pick_bottle" else ()
    data = str(shared / "data" / name)
    code, result = run_json("fit", data, "--horizon", "16", *dims, "--scale", "10", "--vocab", "1024")
    assert code == 0
    assert result["tokens_mean"] <= 11.6
    assert result["rmse"] <= 0.015
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("name", ["g1_pick_bottle", "so101_record_test"])
def test_every_held_out_value_keeps_the_bound(run_json, shared, name):
    assert run_json("fit", str(shared / "data" / name), "--max-chunks", "500")[0] == 0
    code, result = run_json("roundtrip", "--atol", "0.01", "--stride", "5")
    assert (code, result["passed"], result["part"]) == (0, True, "heldout")
    assert all(dim["name"] for dim in result["per_dim"])


@pytest.mark.parametrize("name", ["g1_pick_bottle", "so101_record_test"])
def test_inspect(run_json, shared, name):
    code, result = run_json("inspect", str(shared / "data" / name))
    assert (code, result["fps"]) == (0, 30)
    assert result["missing_cameras"]


def test_bridge_with_its_cameras(run_json, shared):
    data = str(shared / "data/bridge_rlds")
    code, result = run_json("inspect", data)
    assert (code, result["preset"], result["episodes"], result["frames"]) == (0, "bridge", 25, 250)
    assert result["slots"]["base_0_rgb"] == "observation/image_0"
    assert Path("fastki-out/inspect/contact.png").stat().st_size > 100_000, "real pictures do not compress that well"
    assert run_json("fit", data, "--horizon", "5")[0] == 0
    code, result = run_json("roundtrip", "--atol", "0.01")
    assert (code, result["passed"], result["part"]) == (0, True, "heldout")
