"""The grid: which cells there are, what they share, and what is refused before any work."""

from __future__ import annotations

import pytest

from fastki.errors import TokenizerError, UsageError
from fastki.study.grid import SweepCell, SweepOptions, grid


def cells(horizons=(16,), **options) -> list[SweepCell]:
    return list(grid(SweepOptions(**options), horizons))


def test_fast_crosses_everything():
    found = cells((16, 50), vocab=(256, 1024), bins=(20, 64), order=("freq", "dim"))
    assert len(found) == len(set(found)) == 2 * 2 * 2 * 2
    assert found[0] == SweepCell("fast", 16, 20.0, None, 256, "freq")
    assert [cell.vocab_size for cell in found[:4]] == [256, 1024, 256, 1024]


def test_the_bound_takes_the_place_of_bins():
    (cell,) = cells(vocab=(256,), bins=("bound",), atol=0.02)
    assert (cell.bins, cell.bound) == (None, 0.02)
    assert (cell.settings.bound, cell.settings.bins) == (0.02, None)


def test_methods_know_only_what_is_theirs():
    options = {"vocab": (256, 1024), "bins": (20, 256, "bound"), "order": ("freq", "dim")}
    assert cells(method=("binning",), **options) == [SweepCell("binning", 16, 20.0), SweepCell("binning", 16, 256.0)]
    assert [cell.control_points for cell in cells((16, 50, 5), method=("bspline",), bins=(20,))] == [6, 20, 4]
    assert [cell.control_points for cell in cells(method=("bspline:9",), **options)] == [9, 9]
    assert [(cell.bins, cell.vocab_size) for cell in cells(method=("reference",), **options)] == [
        (20, 256),
        (20, 1024),
        (256, 256),
        (256, 1024),
    ]


def test_repeated_wishes_count_once():
    assert len(cells(vocab=(256, 256), bins=(20, 20.0), method=("fast", "fast"))) == 1


def test_vocabularies_share_a_group_and_nothing_else_does():
    found = cells(
        (16, 50), vocab=(128, 256, 512, 4096), bins=(20, "bound"), order=("freq",), method=("fast", "binning")
    )
    groups: dict[str, set] = {}
    for cell in found:
        groups.setdefault(cell.group, set()).add(cell.vocab_size)
    assert sorted(groups.values(), key=str) == sorted([{128}, {256, 512, 4096}] * 4 + [{None}] * 2, key=str)


def test_a_published_tokenizer_is_known_by_its_files(shared):
    path = str(shared / "golden" / "fast" / "h16_d8_scale10_vocab1024")
    other = str(shared / "golden" / "fast" / "h16_d8_scale40_vocab1024")
    mine, theirs = cells(method=(f"published:{path}", f"published:{other}"))
    assert (mine.path, mine.bins, mine.vocab_size) == (path, None, None)
    assert mine.digest != theirs.digest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": ("fasst",)}, "--method 'fasst' is unknown: use fast, binning, bspline"),
        ({"method": ("fast:8",)}, "--method 'fast:8' is unknown"),
        ({"method": ("bspline:x",)}, "must be a whole number"),
        ({"method": ("published",)}, "published:PATH"),
        ({"bins": (3,)}, "bins must be at least 4"),
        ({"bins": ("many",)}, "--bins 'many' is no number of bins"),
        ({"bins": (float("nan"),)}, "bins must be at least 4"),
        ({"vocab": (63,)}, r"vocabulary must lie in \[64, 65536\], not 63"),
        ({"vocab": (256, 1 << 17)}, "vocabulary must lie in"),
        ({"vocab": ()}, "--vocab names nothing to compare"),
        ({"order": ("time",)}, "--order 'time' is unknown"),
        ({"atol": 0.0}, "--atol must be a positive number"),
        ({"atol": float("nan")}, "--atol must be a positive number"),
        ({"max_tokens": -1}, "--max-tokens must be a positive number"),
        ({"probe": -1}, "--probe"),
    ],
)
def test_wishes_that_cannot_be(options, said):
    with pytest.raises(UsageError, match=said):
        SweepOptions(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": ("binning",), "bins": (20.5,)}, "whole number"),
        ({"method": ("bspline:17",), "bins": (20,)}, "4 to 16 control points, not 17"),
        ({"method": ("binning",), "bins": ("bound",)}, "--bins bound is FAST's"),
    ],
)
def test_cells_that_cannot_be(options, said):
    with pytest.raises(UsageError, match=said):
        cells(**options)


def test_a_published_tokenizer_that_is_not_there(tmp_path):
    with pytest.raises(TokenizerError, match="there is no tokenizer at"):
        cells(method=(f"published:{tmp_path / 'nowhere'}",))
