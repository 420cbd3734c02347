"""A comparison of layouts for people, as files and as pictures."""

from __future__ import annotations

import csv
import dataclasses
import doctest
import io
import json

import numpy as np
import pytest
from layout_results import COMPARISON, CUT, LATE, ROW, TOTALS
from matplotlib.colors import to_rgb
from rich.console import Console

from fastki.report import layout_tables
from fastki.report.figures import save
from fastki.report.layout_figures import COLOURS, attention_masks, length_histograms, shown_lengths
from fastki.report.layout_files import layouts_payload, write_layouts
from fastki.report.layout_tables import costs_table, layout_errors, lengths_table, measured_on, truncation_words
from fastki.sequence.layout import PRESETS
from fastki.sequence.masks import attention_mask
from fastki.study.layouts import LayoutOptions


def shown(*renderables) -> str:
    console = Console(width=200, file=io.StringIO())
    for renderable in renderables:
        console.print(renderable)
    return console.file.getvalue()


def test_the_tables_hold_every_figure():
    text = shown(lengths_table(COMPARISON), costs_table(COMPARISON))
    for part in ("650.6", "673", "693", "949", "31%", "51.5", "7.9%", "181", "176", "168", "6.25%"):
        assert part in text
    for part in ("14.3 T", "405 G", "4.32 T", "131 G", "865", "15.2 MiB", "my [odd] one", "no: it [x]"):
        assert part in text
    assert layout_errors(COMPARISON) == ["images-fast: no [state]"]


def test_what_was_measured_and_what_truncation_costs_is_said():
    assert measured_on(COMPARISON, "tok", "data") == (
        "tok on data: 4 chunks of 16 actions from 1 episode; 2 cameras × 256 tokens of 3 slots; text tokenizer byte"
    )
    words = truncation_words(COMPARISON)
    assert len(words) == 2
    assert "6.25% of the examples are longer than 160 text tokens and would lose 0.56% of all FAST" in words[0]
    assert "--max-token-len 181" in words[0]
    assert "lose text, but no FAST token" in words[1]


def test_the_examples_of_amounts():
    assert doctest.testmod(layout_tables).failed == 0


def test_files_hold_the_rows_and_can_be_read_back(tmp_path):
    payload = layouts_payload(COMPARISON, LayoutOptions(max_chunks=9), "tok", "data")
    paths = write_layouts(payload, COMPARISON, "fastki layouts tok", tmp_path)
    whole = json.loads(paths[0].read_text())
    assert whole["command"] == "fastki layouts tok"
    assert whole["lengths"]["images-prompt-fast"] == TOTALS.tolist()
    assert {key: whole[key] for key in payload} == payload
    assert whole["layouts"][0]["segments"][1] == {
        "kind": "prompt",
        "attends": "bidirectional",
        "loss": "none",
        "state": "text",
        "own_block": False,
    }
    assert whole["state_normalizer"]["method"] == "quantile"
    assert whole["options"] == {
        "max_token_len": None,
        "max_chunks": 9,
        "seed": 0,
        "skip": 128,
        "text_vocab": 257_152,
    }
    rows = list(csv.DictReader(paths[1].read_text().splitlines()))
    assert [row["layout"] for row in rows] == [row.layout for row in COMPARISON.rows]
    assert (rows[0]["segments"], rows[0]["train_flops"]) == ("images prompt fast actions", str(ROW.train_flops))
    assert (rows[3]["error"], rows[3]["train_flops"]) == ("no [state]", "")


@pytest.mark.parametrize("name", PRESETS)
def test_the_picture_of_a_mask_is_the_mask_in_its_segments_colours(name):
    layout = PRESETS[name]
    axes = attention_masks([layout]).axes[0]
    lengths = shown_lengths(layout)
    image = axes.images[0]
    drawn = image.cmap(image.norm(image.get_array()))[..., :3]
    mask = attention_mask(layout, lengths)
    owners = np.repeat([to_rgb(COLOURS[kind]) for kind in layout.kinds], lengths, axis=0)
    expected = np.where(mask[..., None], owners[None], 1.0)
    np.testing.assert_allclose(drawn, expected)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == len(layout.segments)
    assert "FAST\n(causal)\nnext-token loss" in labels
    assert "actions\n(both ways)\nflow loss" in labels


def test_all_presets_side_by_side():
    figure = attention_masks(list(PRESETS.values()))
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == list(PRESETS)
    four = attention_masks(list(PRESETS.values())[:4])
    assert [axes.axison for axes in four.axes] == [True] * 4 + [False] * 2


def test_histograms_count_every_example_and_mark_the_room(tmp_path):
    figure = length_histograms(COMPARISON)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [ROW.layout, CUT.layout, LATE.layout]
    assert sum(patch.get_height() for patch in figure.axes[0].patches) == len(TOTALS)
    room, cut = (axes.get_legend().get_texts()[0].get_text() for axes in figure.axes[:2])
    assert (room, cut) == ("room ends at 693", "room ends at 672: 6.25% truncated")
    assert save(figure, tmp_path / "h.svg").read_text().startswith("<?xml")
    with pytest.raises(ValueError, match="no layout"):
        length_histograms(dataclasses.replace(COMPARISON, totals={}))
