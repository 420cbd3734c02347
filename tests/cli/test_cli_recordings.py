"""The commands on real recordings: what they promise there, and how fast."""

from __future__ import annotations

import time

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
