"""How ``fastki train`` is followed: what it measures on the way, and what trackers are told."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE

pytest.importorskip("flax")

from quick_training import QUICK, RUN, noted, started

from fastki.report.train_figures import loss_curves
from fastki.training.metrics import read_metrics

TRACKED = ("--tensorboard", "--wandb", "fastki-test")


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of a run of six steps that went on to eight, with all trackers; what both commands said."""
    for library in ("tensorboardX", "wandb"):
        pytest.importorskip(library)
    folder, said = tmp_path_factory.mktemp("followed"), []
    for steps in ("6", "8"):
        measured = ("--steps", steps, "--set", "save.eval_every=4", "--set", "save.eval_examples=8")
        process = started(folder, *measured, *TRACKED, WANDB_MODE="offline", WANDB_SILENT="true")
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        said.append({"out": out, "err": err, "id": (folder / RUN / "wandb_id.txt").read_text()})
    return folder, said


def measured_in(folder: Path) -> dict[int, dict[str, Any]]:
    """Lines of the log that are of held-out episodes, by step."""
    return {row["step"]: row for row in noted(folder) if "heldout/flow_loss" in row}


def test_held_out_losses_are_logged_in_lines_of_their_own(followed):
    measured = measured_in(followed[0])
    assert list(measured) == [4, 6, 8]  # The last step of a run too, though four does not divide it.
    assert {"heldout/flow_loss", "heldout/fast_loss", "heldout/nats_per_value"} <= set(measured[4])
    with (followed[0] / RUN / "metrics.csv").open() as file:
        table = {row["step"]: row for row in csv.DictReader(file)}
    assert list(table) == list("12345678")
    assert float(table["4"]["heldout/flow_loss"]) == measured[4]["heldout/flow_loss"]
    assert table["5"]["heldout/flow_loss"] == ""


def test_held_out_losses_are_shown_drawn_and_named_at_the_end(followed):
    folder, (first, second) = followed
    assert "step 4, held out: flow loss" in first["err"]
    nats = {step: row["heldout/nats_per_value"] for step, row in measured_in(folder).items()}
    best = min(nats, key=nats.__getitem__)
    words = f"held out, nats per action value: {nats[8]:.4g} at step 8; best {nats[best]:.4g} at step {best}"
    assert words in second["out"]
    axis = loss_curves(read_metrics(folder / RUN / "metrics.jsonl")).axes[0]
    (points,) = (line for line in axis.lines if line.get_label() == "held out")
    assert points.get_xydata()[:, 0].tolist() == [4, 6, 8]


def test_a_finished_run_measures_nothing_again_and_says_the_same(followed, cli, monkeypatch):
    monkeypatch.chdir(followed[0])
    before = noted(followed[0])
    code, out, err = cli(*QUICK, "--steps", "8", "--set", "save.eval_every=4", "--json", "--no-eval")
    assert code == 0, err
    found = json.loads(out)
    assert noted(followed[0]) == before
    assert found["heldout_losses"]["flow_loss"]["last"] == before[-1]["heldout/flow_loss"]
    assert not any(name.startswith("heldout") for name in found["metrics"])


def scalars_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard's files in ``folder`` hold, by name, as it came."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        while data:  # A record: its size in 8 bytes, 4 of checksum, the event, 4 of checksum.
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_has_every_number_once_and_goes_on_in_the_same_folder(followed):
    found, rows = scalars_of(followed[0] / RUN / "tensorboard"), noted(followed[0])
    for name in ("flow_loss", "nats_per_value", "grad_norm", "learning_rate", "heldout/flow_loss"):
        expected = [(row["step"], row[name]) for row in rows if name in row]
        assert [step for step, _ in found[name]] == [step for step, _ in expected]
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in expected])
    assert [step for step, _ in found["examples_per_second"]] == [2, 4, 6, 8]


def test_weights_and_biases_writes_offline_and_goes_on_with_the_same_run(followed):
    folder, (first, second) = followed
    assert first["id"] == second["id"]
    runs = sorted((folder / RUN / "wandb").glob("offline-run-*"))
    assert runs
    assert all(run.name.endswith(first["id"]) for run in runs)
    logged = b"".join(file.read_bytes() for run in runs for file in run.glob("run-*.wandb"))
    assert all(word in logged for word in (b"nats_per_value", b"heldout/flow_loss", b"fastki-test"))


@pytest.mark.parametrize(
    ("library", "option", "extra"),
    [("tensorboardX", ("--tensorboard",), "tensorboard"), ("wandb", ("--wandb", "project"), "wandb")],
)
def test_a_tracker_that_is_not_installed_is_named_before_anything_is_read(cli, monkeypatch, library, option, extra):
    monkeypatch.setitem(sys.modules, library, None)
    code, out, err = cli(*QUICK, *option)
    assert (code, out) == (2, "")
    assert err == f"error: logging with {option[0]} needs {library}: `pip install 'fastki[{extra}]'`\n"
    assert not RUN.exists()
