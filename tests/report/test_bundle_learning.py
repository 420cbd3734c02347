"""A page of compared layouts and of compared training runs: what it holds, and what it refuses."""

from __future__ import annotations

import dataclasses
import html
import json
from pathlib import Path

import pytest
from layout_results import BROKEN, COMPARISON, ROW
from sweep_results import HOSTILE

from fastki.errors import DataError
from fastki.files import write_json
from fastki.report.bundle import bundle, find_results
from fastki.report.compare_tables import comparison_payload, read_comparison
from fastki.report.layout_files import layouts_payload, write_layouts
from fastki.report.layout_html import write_report
from fastki.report.layout_read import read_layouts
from fastki.sequence.layout import PRESETS
from fastki.study.layouts import LayoutOptions
from fastki.study.training import summed_up

NAMES = ("images-prompt-fast", "images-fast")
SHOWN = dataclasses.replace(
    COMPARISON,
    rows=(ROW, dataclasses.replace(BROKEN, error=HOSTILE)),
    layouts=tuple(PRESETS[name] for name in NAMES),
    totals={ROW.layout: COMPARISON.totals[ROW.layout]},
)


def run_of(variant: str, seed: int, level: float) -> dict:
    curve = [{"step": step, "flow_loss": level / step, "nats_per_value": level} for step in (1, 2, 4)]
    return {"variant": variant, "seed": seed, "flow_error": level + seed / 100, "nats_per_value": level, "curve": curve}


LEARNT = summed_up(
    [*NAMES, HOSTILE],
    [
        *(run_of(name, seed, level) for seed in range(2) for name, level in zip(NAMES, (0.5, 0.9), strict=True)),
        {"variant": HOSTILE, "seed": 0, "error": HOSTILE},
    ],
    steps=4,
    seeds=2,
)


@pytest.fixture
def layouts(tmp_path) -> Path:
    payload = layouts_payload(SHOWN, LayoutOptions(max_token_len=160), "tok", "some data", LEARNT)
    write_layouts(payload, SHOWN, "fastki layouts tok", tmp_path / "layouts")
    return tmp_path / "layouts"


@pytest.fixture
def compared(tmp_path) -> Path:
    write_json(tmp_path / "compared" / "comparison.json", comparison_payload(LEARNT))
    return tmp_path / "compared"


def page_of(folder: Path, tmp_path: Path) -> str:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return bundle(find_results([folder]), scratch)


def test_what_was_written_is_read_again(layouts):
    payload, comparison, learnt = read_layouts(layouts / "layouts.json")
    assert (comparison.rows, comparison.layouts, comparison.size) == (SHOWN.rows, SHOWN.layouts, SHOWN.size)
    assert comparison.totals[ROW.layout].tolist() == SHOWN.totals[ROW.layout].tolist()
    assert payload["options"]["max_token_len"] == 160
    assert learnt == LEARNT


def test_a_page_of_layouts_is_that_which_the_command_wrote(layouts, tmp_path):
    """All but what says who made it, and the ids in its figures."""
    payload = layouts_payload(SHOWN, LayoutOptions(max_token_len=160), "tok", "some data", LEARNT)
    own = write_report(payload, SHOWN, "fastki layouts tok", tmp_path / "own", learnt=LEARNT)[0].read_text()
    text = page_of(layouts, tmp_path)
    assert "<title>Sequence layouts: some data</title>" in text
    for piece in ("What each learns and costs", "What each learns", "The layouts themselves", "fastki layouts tok"):
        assert piece in own
        assert piece in text
    words = html.unescape(text)
    assert "action error of the flow head, of the mean action's: images-prompt-fast is best, 0.505" in words
    assert text.count("<svg") == own.count("<svg") == 3
    assert text.count("<table") == own.count("<table") == 4
    assert text.count("<script") == 1


def test_a_page_of_compared_runs_ranks_them_and_says_which_failed(compared, tmp_path):
    text = page_of(compared, tmp_path)
    words = html.unescape(text)
    assert "nats per action value: images-prompt-fast is best" in words
    assert "not trained: " in words
    assert (text.count("<svg"), text.count("<table"), text.count("<script")) == (1, 1, 1)


def test_a_comparison_survives_json():
    assert read_comparison(json.loads(json.dumps(comparison_payload(LEARNT)))) == LEARNT


LAYOUT_DAMAGES = {
    "no rows": lambda document: document.update(rows=[]),
    "rows of other layouts": lambda document: document["rows"][0].update(layout="other"),
    "a row without figures": lambda document: document["rows"][0].update(train_flops=None),
    "no lengths": lambda document: document["lengths"].clear(),
    "an endless length": lambda document: document["lengths"].update({ROW.layout: [10**12]}),
    "lengths in lists": lambda document: document["lengths"].update({ROW.layout: [[1]]}),
    "a model that is none": lambda document: document.update(model={"name": "x"}),
    "no options": lambda document: document.pop("options"),
    "an option in words": lambda document: document["options"].update(skip="many"),
    "a run of no variant": lambda document: document["training"]["runs"][0].update(variant="x"),
    "a curve in words": lambda document: document["training"]["runs"][0].update(curve="up"),
    "a curve without steps": lambda document: document["training"]["runs"][0].update(curve=[{"flow_loss": 1}]),
}


@pytest.mark.parametrize("damage", LAYOUT_DAMAGES)
def test_a_damaged_comparison_of_layouts_is_one_line_with_the_mend(layouts, tmp_path, damage):
    path = layouts / "layouts.json"
    document = json.loads(path.read_text())
    LAYOUT_DAMAGES[damage](document)
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"layouts\.json can't be read .*: run `fastki layouts` again"):
        page_of(layouts, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"variants": [], "runs": 5}', '{"variants": [{}]}'])
def test_a_damaged_comparison_of_runs_is_one_line_with_the_mend(compared, tmp_path, text):
    (compared / "comparison.json").write_text(text)
    with pytest.raises(DataError, match=r"comparison\.json can't be read .*: run `fastki train --compare` again"):
        page_of(compared, tmp_path)
