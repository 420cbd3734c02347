"""Figures and tables: written whole, for every shape of result, with nothing global."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from rich.console import Console

from fastki import FastTokenizer, open_dataset
from fastki.data import Chunks, ChunkSpec
from fastki.data.summary import summarize
from fastki.errors import UsageError
from fastki.report import figures, tables
from fastki.tokenizer import roundtrip

DRAWN = {
    "reconstruction": figures.reconstruction,
    "errors": figures.error_histogram,
    "energy": figures.energy,
    "tokens": figures.token_lengths,
}


def measured(actions, **options):
    count, horizon, dims = actions.shape
    nothing = np.zeros((count, dims))
    index = np.arange(count, dtype=np.int32)
    chunks = Chunks(actions, nothing, nothing, index * 0, index, ChunkSpec(horizon=horizon))
    tokenizer = FastTokenizer.fit(actions, vocab_size=96, bins=20)
    return roundtrip(tokenizer, [chunks], atol=0.05, **options)


SHAPES = {
    "many dimensions": np.random.default_rng(0).normal(size=(30, 4, 12)).cumsum(axis=1),
    "one value": np.random.default_rng(1).normal(size=(5, 1, 1)),
    "one chunk": np.random.default_rng(2).normal(size=(1, 16, 3)),
    "nothing moves": np.zeros((20, 8, 2)),
}


@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_figure_of_every_shape(tmp_path, shape, draw):
    path = figures.save(DRAWN[draw](measured(SHAPES[shape])), tmp_path / "new" / "figure.png")
    image = path.read_bytes()
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = (int.from_bytes(image[at : at + 4], "big") for at in (16, 20))
    assert width > 300
    assert height > 200
    assert [item.name for item in path.parent.iterdir()] == ["figure.png"]


def test_a_figure_in_seconds_with_units_as_svg(tmp_path):
    result = measured(SHAPES["one chunk"], names=("a_b", "$x$", "z"), units=("rad", None, "m"))
    figure = figures.reconstruction(result, fps=20)
    assert "\n[rad]" in figure.axes[0].get_ylabel()
    assert figure.axes[-1].get_xlabel() == "time in the chunk [s]"
    path = figures.save(figure, tmp_path / "figure.svg")
    assert "<svg" in path.read_text()[:1000]


def test_a_dataset(tmp_path):
    summary = summarize(open_dataset("synthetic:droid?episodes=2"))
    assert figures.save(figures.dataset_overview(summary), tmp_path / "dataset.png").stat().st_size > 10_000


def test_no_figure_is_half_written(tmp_path):
    figure = figures.energy(measured(SHAPES["one chunk"]))
    figure.savefig = lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    with pytest.raises(UsageError, match="No space left"):
        figures.save(figure, tmp_path / "figure.png")
    assert list(tmp_path.iterdir()) == []


def test_nothing_global_is_touched():
    figures.energy(measured(SHAPES["one chunk"]))
    assert "matplotlib.pyplot" not in sys.modules


def shown(renderable, width=80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(renderable)
    return console.file.getvalue()


def test_numbers_stay_whole_in_eighty_columns():
    names = tuple(f"a rather long name of the joint [{dim}] velocity" for dim in range(12))
    text = shown(tables.per_dimension(measured(SHAPES["many dimensions"], names=names, units=("rad/s",) * 12)))
    assert "…" not in text
    assert "[native unit]" in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("[rad/s]") == 12


def test_of_very_many_dimensions_those_that_lose_most_are_listed():
    result = measured(np.random.default_rng(0).normal(size=(20, 2, 60)))
    text = shown(tables.per_dimension(result))
    listed = {int(line.split()[1]) for line in text.splitlines() if line.startswith("dim ")}
    worst = sorted(range(60), key=lambda dim: -result.per_dim[dim].max_abs_error)[: tables.MAX_DIM_ROWS]
    assert listed == set(worst)
    assert "… and 20 with smaller errors" in text


def test_values_are_no_markup():
    assert "[bold]/data[/bold]" in shown(tables.key_values([("data", "[bold]/data[/bold]")]))


def test_the_dataset_table_in_eighty_columns():
    summary = summarize(open_dataset("synthetic:droid?episodes=2"))
    text = shown(tables.dataset_dimensions(summary)) + shown(tables.dataset_facts(summary))
    assert "…" not in text.replace(", …", "")
    assert max(map(len, text.splitlines())) <= 80


def test_small_words():
    assert [tables.counted(n, "episode") for n in (0, 1, 2000)] == ["0 episodes", "1 episode", "2,000 episodes"]
    assert [tables.number(value) for value in (0.01, 1234.56, 1e-9)] == ["0.01", "1235", "1e-09"]
    assert tables.sparkline(np.array([1, 1, 1, 2])) == "█▃"
