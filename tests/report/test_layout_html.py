"""``report.html`` of a comparison of layouts."""

from __future__ import annotations

import dataclasses
import doctest
import html
import re

import pytest
from layout_results import BROKEN, COMPARISON, CUT, LATE, ROW
from sweep_results import HOSTILE

from fastki.report import layout_html
from fastki.report.layout_files import layouts_payload, write_layouts
from fastki.report.layout_html import segments_toml, write_report
from fastki.report.layout_ranking import ranking
from fastki.sequence.layout import PRESETS, Layout, Segment, load_layout
from fastki.study.layouts import LayoutOptions

COMMAND = "fastki layouts tok 'my data'"
OPTIONS = LayoutOptions(max_token_len=160)
MINE = Layout(
    "mine",
    (
        Segment("images"),
        Segment("state", state="token"),
        Segment("prompt", "causal", own_block=True),
        Segment("fast", "causal", "tokens"),
        Segment("actions", loss="flow"),
    ),
)
OWN = dataclasses.replace(COMPARISON, layouts=(*COMPARISON.layouts, MINE))


def written(tmp_path, comparison=COMPARISON, *, data="some data"):
    payload = layouts_payload(comparison, OPTIONS, "tok", data)
    paths = write_report(payload, comparison, COMMAND, tmp_path)
    return paths, paths[0].read_text(encoding="utf-8")


def test_it_holds_the_words_the_command_the_tables_and_the_figures(tmp_path):
    paths, text = written(tmp_path, OWN)
    names = ["report.html", "masks.png", "masks.svg", "lengths.png", "lengths.svg"]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    words = html.unescape(text)
    for said in (
        f"<code>{COMMAND}</code>",
        "tok on some data: 4 chunks of 16 actions from 1 episode",
        "FAST id i is text id 257,023 − i, of 257,152 ids",
        "160 tokens (--max-token-len)",
        "6.25% of the examples are longer than 160 text tokens",
        "this ranks cost",
        "not measured: no [state]",
        "a note",
        ">650.6<",
        ">14.3 T<",
        ">15.2 MiB<",
        "no: it [x]",
        "state token (both ways) → prompt (causal, a block of its own) → FAST (causal, next-token loss)",
        "π0.5: the state in figures, inside the prompt",
        f"<code>{segments_toml(MINE)}</code>",
        "<dt>fastki</dt>",
    ):
        assert said in words, said
    assert text.count("<svg") == 2
    assert text.count("<table") == 3
    assert text.count("not measured: ") == 2  # In the lengths, and in the costs.
    assert 'data-value="14273070809088"' in text
    assert words.count("[[segments]]") == len(MINE.segments)  # Presets have a name.


def test_nothing_is_loaded_from_anywhere_and_the_same_rows_give_the_same_bytes(tmp_path):
    text = written(tmp_path / "a", OWN)[1]
    assert text == written(tmp_path / "b", OWN)[1]
    assert not re.search(r"https?:|@import|url\((?!#)|<link(?! rel=\"icon\" href=\"data:,\")", text)
    assert "default-src 'none'" in text


def test_where_no_layout_was_measured_it_says_so_and_old_figures_go(tmp_path):
    written(tmp_path)
    none = dataclasses.replace(COMPARISON, rows=(BROKEN,), layouts=(PRESETS["images-fast"],), totals={})
    paths, text = written(tmp_path, none)
    assert [path.name for path in paths] == ["report.html", "masks.png", "masks.svg"]
    assert not (tmp_path / "lengths.svg").exists()
    assert "No layout could be measured" in text
    assert text.count("<svg") == 1


def test_what_truncates_nothing_has_no_column_for_its_loss(tmp_path):
    whole = dataclasses.replace(COMPARISON, rows=(ROW,), totals={ROW.layout: COMPARISON.totals[ROW.layout]})
    assert ">FAST lost<" not in written(tmp_path / "a", whole)[1]
    assert ">FAST lost<" in written(tmp_path / "b")[1]


def test_the_worst_names_stay_text(tmp_path):
    odd = dataclasses.replace(MINE, name=HOSTILE, about=HOSTILE)
    rows = (
        dataclasses.replace(ROW, layout=HOSTILE),
        dataclasses.replace(BROKEN, error=HOSTILE),
        dataclasses.replace(CUT, verdict=HOSTILE),
    )
    hostile = dataclasses.replace(
        COMPARISON,
        rows=rows,
        layouts=(odd, PRESETS["images-fast"]),
        totals={HOSTILE: COMPARISON.totals[ROW.layout], CUT.layout: COMPARISON.totals[CUT.layout]},
        text=HOSTILE,
        notes=(HOSTILE,),
    )
    paths, text = written(tmp_path, hostile, data=HOSTILE)
    assert text.count("<script") == text.count("</script>") == 1
    assert "<img" not in text
    assert len(paths) == 5
    files = write_layouts(layouts_payload(hostile, OPTIONS, HOSTILE, HOSTILE), hostile, HOSTILE, tmp_path)
    assert all(r"\ud800" in path.read_text(encoding="utf-8") for path in files)


@pytest.mark.parametrize("layout", [*PRESETS.values(), MINE], ids=lambda layout: layout.name)
def test_the_file_of_a_layout_gives_it_again(tmp_path, layout):
    path = tmp_path / f"{layout.name}.toml"
    path.write_text(segments_toml(layout), encoding="utf-8")
    assert load_layout(path) == dataclasses.replace(layout, about="")


def test_the_example_of_a_file():
    outcome = doctest.testmod(layout_html)
    assert (outcome.attempted > 0, outcome.failed) == (True, 0)


def test_layouts_that_can_act_are_ranked_by_cost_and_the_others_named():
    cheap = dataclasses.replace(
        ROW, layout="cheap", train_flops=10**13, verdict="yes, but the expert gets no state", infer_flops=4 * 10**12
    )
    twin = dataclasses.replace(ROW, layout="twin")
    late = dataclasses.replace(LATE, train_flops=1, verdict="no: it can't")
    assert ranking(dataclasses.replace(COMPARISON, rows=(ROW, late, cheap, twin, BROKEN))) == [
        "least to train: cheap 10 T FLOPs an example; images-prompt-fast and twin 14.3 T (1.43×)",
        "least to act: cheap 4 T FLOPs an example; images-prompt-fast and twin 4.32 T (1.08×)",
        "cheap: the expert gets no state",
        "images-fast-prompt can't act as it stands: it can't",
        "this ranks cost: which layout learns better --train-steps measures",
    ]


def test_equal_costs_are_said_once_and_one_layout_is_not_ranked():
    twins = dataclasses.replace(COMPARISON, rows=(ROW, dataclasses.replace(ROW, layout="twin")))
    assert ranking(twins)[:2] == [
        "all are alike to train: 14.3 T FLOPs an example",
        "all are alike to act: 4.32 T FLOPs an example",
    ]
    assert ranking(dataclasses.replace(COMPARISON, rows=(ROW, BROKEN))) == []
