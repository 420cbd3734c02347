"""How ``fastki train`` is followed: what it measures on the way, and what trackers are told."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

pytest.importorskip("flax")

from dummy_run import quick_compiler
from quick_training import QUICK, RUN, noted

from fastki.report.train_figures import loss_curves
from fastki.training.metrics import read_metrics


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with quick_compiler():
        yield


def test_held_out_losses_are_logged_shown_drawn_and_named_at_the_end(cli):
    every_other = ("--set", "save.eval_every=4", "--set", "save.eval_examples=8")
    code, out, err = cli(*QUICK, *every_other)
    assert code == 0, err
    measured = {row["step"]: row for row in noted(Path()) if "heldout/flow_loss" in row}
    assert list(measured) == [4, 6]  # The last step too, though four does not divide it.
    assert {"heldout/flow_loss", "heldout/fast_loss", "heldout/nats_per_value"} <= set(measured[4])
    with (RUN / "metrics.csv").open() as file:
        table = {row["step"]: row for row in csv.DictReader(file)}
    assert list(table) == list("123456")
    assert float(table["4"]["heldout/flow_loss"]) == measured[4]["heldout/flow_loss"]
    assert table["5"]["heldout/flow_loss"] == ""
    assert "step 4, held out: flow loss" in err
    last, best = (measured[step]["heldout/nats_per_value"] for step in (6, 4))
    best = min(last, best)
    assert f"held out, nats per action value: {last:.4g} at step 6; best {best:.4g} at step" in out

    axis = loss_curves(read_metrics(RUN / "metrics.jsonl")).axes[0]
    (points,) = (line for line in axis.lines if line.get_label() == "held out")
    assert points.get_xydata()[:, 0].tolist() == [4, 6]

    code, out, _ = cli(*QUICK, *every_other, "--json", "--no-eval")  # It is done: nothing is measured twice.
    assert code == 0
    found = json.loads(out)["heldout_losses"]["flow_loss"]
    assert (found["last_step"], found["last"]) == (6, measured[6]["heldout/flow_loss"])
    assert "heldout/flow_loss" not in json.loads(out)["metrics"]
