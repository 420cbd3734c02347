"""The figures of a sweep: what they show, in every shape of grid, in greyscale, and byte for byte the same."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from xml.etree import ElementTree

import pytest
from matplotlib.colors import to_rgb
from sweep_results import HOSTILE, fast_row, grid_of, refused_row, result_of

from fastki.report.glyphs import clean
from fastki.report.sweep_figures import STEMS, learnable, probe, sweep_figures, tradeoff, write_figures
from fastki.report.sweep_panels import MOST_DIMENSIONS, dimensions, heat_maps, token_lengths
from fastki.report.sweep_series import label_of, series_of

VOCABULARIES, BINS = (256, 512, 1024, 2048, 4096), (20.0, 40.0, 80.0, 256.0)
BOUND = fast_row(126.0, 1024, bound=0.01, rmse=0.003, tokens_mean=90.0, within_atol=1.0)
OTHERS = [
    dataclasses.replace(fast_row(64.0, 64, tokens_mean=48.0, rmse=0.01), method="binning", order=None),
    dataclasses.replace(
        fast_row(64.0, 64, tokens_mean=18.0, rmse=0.03), method="bspline", order=None, control_points=6
    ),
    dataclasses.replace(fast_row(20.0, 1024, rmse=0.03), method="published", order=None, path="some/folder/fast/"),
    dataclasses.replace(fast_row(20.0, 1024, rmse=0.02), method="reference", order=None),
]
STILL = fast_row(tokens_mean=0.0, tokens_low=0.0, tokens_high=0.0, rmse=0.0, max_abs_error=0.0, nats_per_value=0.0)
SHAPES = {
    "a grid of two horizons": grid_of(VOCABULARIES, BINS, (16, 50)),
    "one row": [fast_row()],
    "one row without an interval": [fast_row(tokens_low=None, tokens_high=None)],
    "every method and a refusal": [*grid_of((256, 1024), BINS), BOUND, *OTHERS, refused_row()],
    "many vocabularies, bins and horizons": grid_of([2**k for k in range(6, 16)], range(20, 120, 10), (8, 16, 32, 50)),
    "nothing moves": [STILL],
    "nothing moves in one": [STILL, fast_row(20.0), fast_row(64.0)],
    "both orders": grid_of((256, 1024), BINS, orders=("freq", "dim")),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_drawn_and_written_as_png_and_svg(tmp_path, shape):
    drawn = sweep_figures(result_of(SHAPES[shape]), atol=0.01)
    paths = write_figures(drawn, tmp_path / "figures")
    stems = [figure.stem for figure in drawn]
    expected = {"tradeoff", "lengths", "dimensions", "learnable"} | ({"heatmap"} if len(SHAPES[shape]) > 1 else set())
    assert set(stems) == expected
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(path.name for path in paths)
    assert [path.name for path in paths] == [f"{stem}{suffix}" for stem in stems for suffix in (".png", ".svg")]
    for png, svg in zip(paths[::2], paths[1::2], strict=True):
        assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert ElementTree.fromstring(svg.read_bytes()).tag == "{http://www.w3.org/2000/svg}svg"
    assert "matplotlib.pyplot" not in sys.modules


def test_the_same_rows_give_the_same_bytes(tmp_path):
    rows = SHAPES["every method and a refusal"]
    for name in ("one", "two"):
        write_figures(sweep_figures(result_of(rows), atol=0.01), tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    assert "dc:date" not in (tmp_path / "one" / "tradeoff.svg").read_text(encoding="utf-8")


def test_nothing_is_drawn_where_every_cell_was_refused_and_old_figures_go(tmp_path):
    write_figures(sweep_figures(result_of([fast_row(), fast_row(64.0)]), atol=0.01), tmp_path)
    (tmp_path / "mine.png").write_bytes(b"of somebody else")
    result = result_of([refused_row(256), refused_row(512)])
    assert [tradeoff(result), heat_maps(result), token_lengths(result), learnable(result)] == [None] * 4
    assert dimensions(result, atol=0.01) is None
    assert write_figures(sweep_figures(result, atol=0.01), tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


def test_only_one_vocabulary_and_precision_needs_no_heat_map_and_drops_the_old_one(tmp_path):
    write_figures(sweep_figures(result_of(grid_of((256, 512), (20.0,))), atol=0.01), tmp_path)
    assert (tmp_path / "heatmap.svg").exists()
    write_figures(sweep_figures(result_of([fast_row()]), atol=0.01), tmp_path)
    assert not (tmp_path / "heatmap.svg").exists()
    assert (tmp_path / "tradeoff.svg").exists()


def lightness(colour) -> float:
    red, green, blue = to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_vocabularies_can_be_told_apart_in_greyscale():
    series = series_of(grid_of(VOCABULARIES, BINS))
    greys = [lightness(one.colour) for one in series]
    assert all(lighter - darker > 0.08 for lighter, darker in itertools.pairwise(greys))
    assert max(greys) < 0.75
    assert len({one.marker for one in series}) == len({str(one.line) for one in series}) == 5


def test_no_two_series_look_the_same():
    series = series_of([*grid_of(VOCABULARIES, BINS, orders=("freq", "dim")), *SHAPES["every method and a refusal"]])
    looks = {(str(one.colour), one.marker, str(one.line), one.hollow) for one in series}
    assert len(looks) == len(series) == 14
    assert len({one.label for one in series}) == len(series)


def test_the_front_is_a_line_and_the_recommended_row_a_star():
    result = result_of(SHAPES["every method and a refusal"])
    (axes,) = tradeoff(result).axes
    lines = [list(zip(*line.get_data(), strict=True)) for line in axes.lines]
    front = sorted({(result.rows[index].tokens_mean, result.rows[index].rmse) for index in result.pareto})
    assert front in lines
    best = result.rows[result.recommended]
    star = next(line for line in axes.lines if line.get_marker() == "*")
    assert star.get_data() == ([best.tokens_mean], [best.rmse])
    rings = [line for line in axes.lines if line.get_markersize() == 12]
    assert [ring.get_data() for ring in rings] == [([BOUND.tokens_mean], [BOUND.rmse])]


def test_a_curve_goes_through_the_bins_of_a_vocabulary_in_each_horizon():
    rows = grid_of((256, 1024), reversed(BINS), (16, 50))
    panels = tradeoff(result_of(rows)).axes
    assert [axes.get_title().split(":")[0] for axes in panels] == ["horizon 16", "horizon 50"]
    curve = next(line for line in panels[1].lines if line.get_label() == "V 1,024")
    mine = [row for row in rows if row.horizon == 50 and row.vocab_size == 1024]
    assert list(curve.get_ydata()) == [row.rmse for row in sorted(mine, key=lambda row: row.bins)]
    assert (panels[0].get_xscale(), panels[0].get_yscale()) == ("log", "log")


def test_the_legend_covers_no_data():
    for draw in (tradeoff, learnable):
        figure = draw(result_of(SHAPES["every method and a refusal"]))
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_labels_of_bins_do_not_lie_on_one_another():
    rows = [fast_row(20.0), fast_row(64.0), fast_row(65.0), fast_row(256.0)]
    figure = tradeoff(result_of(rows))
    figure.draw_without_rendering()
    shown = [text for text in figure.axes[0].texts if text.get_text().endswith(" bins")]
    assert [text.get_text() for text in shown] == ["20 bins", "64 bins", "256 bins"]


def test_the_heat_map_has_every_cell_and_hatches_the_refused():
    rows = [*grid_of((256, 512), (20.0, 64.0)), *(refused_row(vocab, bins=20.0) for vocab in (256,))]
    rows.append(dataclasses.replace(fast_row(20.0, 512), method="reference", order=None, tokens_mean=77.77))
    fast, reference = heat_maps(result_of(rows)).axes
    numbers = [text.get_text().lstrip("★•") for text in fast.texts]
    assert numbers == [f"{row.tokens_mean:.1f}" for row in rows[:4]]
    assert fast.texts[result_of(rows).recommended].get_text().startswith("★")
    assert [text.get_text() for text in reference.texts] == ["refused", "77.8"]
    assert [patch.get_hatch() for patch in reference.patches] == ["////"]
    assert [label.get_text() for label in reference.get_xticklabels()] == ["256", "512"]


def test_token_lengths_show_the_front_first_and_not_too_many():
    result = result_of(SHAPES["many vocabularies, bins and horizons"])
    shown = [label.get_text() for axes in token_lengths(result).axes for label in axes.get_yticklabels()]
    assert len(shown) == 16
    assert sum(label.startswith("★") for label in shown) == 4
    assert all(label.startswith(("★", "•")) for label in shown)


def test_errors_by_dimension_are_of_the_recommended_row_and_of_each_other_method():
    result = result_of(SHAPES["every method and a refusal"], names=("a", "b_c", "d"))
    (axes,) = dimensions(result, atol=0.01).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b_c", "d"]
    labels = axes.get_legend_handles_labels()[1]
    assert labels[0].startswith(f"★ #{result.recommended} ")
    assert len(labels) == 5
    best = result.details[result.recommended]["per_dim"]
    filled = next(line for line in axes.lines if line.get_label() == labels[0])
    assert list(filled.get_xdata()) == [dim["rmse"] for dim in best]
    assert f"{best[0]['max_abs_error_native']:.3g} rad" in [text.get_text() for text in axes.texts]


def test_of_very_many_dimensions_those_with_the_largest_errors_are_drawn():
    names = [f"finger {place}" for place in range(62)]
    (axes,) = dimensions(result_of([fast_row()], names=names), atol=0.01).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == names[:MOST_DIMENSIONS]
    assert "22 dimensions with smaller errors left out" in axes.get_legend().get_title().get_text()


def test_names_from_the_data_are_drawn_letter_for_letter(tmp_path):
    rows = [fast_row(), dataclasses.replace(OTHERS[2], path=f"x/{HOSTILE}")]
    result = result_of(rows, names=(HOSTILE, "$x$", "a\nb"), unit="$\\")
    assert len(write_figures(sweep_figures(result, atol=0.01), tmp_path)) == 8
    assert clean("$x$ \n手\ud800") == "\\$x\\$  □□"
    assert clean("x" * 100) == "x" * 24 + "…" + "x" * 23


def test_the_probe_is_drawn_where_it_ran():
    assert probe(result_of([fast_row()])) is None
    rows = [fast_row(20.0, probe_nats_per_value=0.5), fast_row(64.0, probe_nats_per_value=0.9)]
    drawn = sweep_figures(result_of(rows), atol=0.01)
    assert [figure.stem for figure in drawn] == list(STEMS)


def test_short_labels():
    assert label_of(fast_row(20.0, 1024)) == "V 1,024, 20 bins"
    assert label_of(dataclasses.replace(BOUND, order="dim")) == "V 1,024, bound 0.01, dim"
    assert [label_of(row) for row in OTHERS] == [
        "binning, 64 bins",
        "bspline of 6, 64 bins",
        "published fast, 20 bins",
        "reference, V 1,024, 20 bins",
    ]
