"""How a sweep's rows look in its figures: which belong to one curve, and what tells the curves apart.

A curve has a marker, a line style and a colour of its own, and the colours differ in lightness, so that a figure can
be read in greyscale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fastki.report.figures import ACCENT, INK
from fastki.report.glyphs import clean
from fastki.study.rows import SweepRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS, _OTHERS = "osD^vp<>h", "PXd8H"
STROKES = "x+1234"
"""Markers without an inside."""

_LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (6, 2, 1, 2)), (0, (1, 1.2)), (0, (3, 1, 1, 1, 1, 1)))
_GREYS = ("#555555", ACCENT, "#8a8a8a", "#000000")
_LIGHTEST = 0.82  # Of the colour map: what is lighter would not be seen on white.
_LOG_FROM = 3.0


@dataclass(frozen=True)
class Series:
    """Rows that one curve goes through, and its looks.

    Attributes:
        label: for the legend.
        rows: their indices, in the order of the table.
        colour, marker, line: Matplotlib's.
        hollow: whether the markers are empty inside.
    """

    label: str
    rows: tuple[int, ...]
    colour: Any
    marker: str
    line: Any
    hollow: bool = False


def series_of(rows: Sequence[SweepRow]) -> list[Series]:
    """Rows that differ in bins and horizon alone are one series; refused rows are in none."""
    grouped: dict[tuple[Any, ...], list[int]] = {}
    for index, row in enumerate(rows):
        if not row.error:
            grouped.setdefault(_key(row), []).append(index)
    vocabularies = sorted({row.vocab_size or 0 for row in rows if not row.error and has_vocab(row)})
    several = len({row.order for row in rows if row.order}) > 1
    found = []
    others = 0
    for places in grouped.values():
        row = rows[places[0]]
        if has_vocab(row):
            found.append(_of_vocab(row, tuple(places), vocabularies, several))
            continue
        look = (_GREYS[others % len(_GREYS)], _OTHERS[others % len(_OTHERS)], _LINES[-1 - others % len(_LINES)])
        found.append(Series(_name(row), tuple(places), *look))
        others += 1
    return found


def label_of(row: SweepRow) -> str:
    """A row in a line of a figure: ``V 1,024, 20 bins``."""
    fast = row.method == "fast"
    parts = [] if fast else [_name(row)]
    parts += [f"V {row.vocab_size:,}"] if has_vocab(row) else []
    parts += [bins_of(row)] if row.bins is not None or row.bound else []
    return ", ".join([*parts, *(["dim"] if row.order == "dim" else [])])


def bins_of(row: SweepRow) -> str:
    """The precision of a row in a word or two."""
    return f"bound {row.bound:g}" if row.bound else f"{row.bins:.4g} bins"


def horizons_of(rows: Sequence[SweepRow]) -> list[int]:
    """Of the rows that have a result, in the order of the table."""
    return list(dict.fromkeys(row.horizon for row in rows if not row.error))


def has_vocab(row: SweepRow) -> bool:
    """Whether the method takes a wish for the vocabulary."""
    return row.method in ("fast", "reference")


def panels(count: int, *, width: float, height: float, columns: int = 3, sharey: bool = False) -> tuple[Figure, Any]:
    """A figure of so many panels of a size in inches, and the list of its axes."""
    from matplotlib.figure import Figure

    across = min(count, columns)
    down = -(-count // across)
    figure = Figure(figsize=(width * across, height * down), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False, sharey=sharey).flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def scale_axis(axes: Axes, which: str, values: Sequence[float]) -> None:
    """Logarithmic where the values span more than a factor of three and none is zero; plain numbers either way."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    low, high = min(values), max(values)
    axis = axes.xaxis if which == "x" else axes.yaxis
    if low <= 0 or high < low * _LOG_FROM:
        return
    axes.set(**{f"{which}scale": "log"})
    span = high / low
    steps = (1, 1.5, 2, 3, 4, 6, 8) if span < 10 else (1, 2, 5) if span < 1000 else (1,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def tidy(axes: Axes, *, lines: Literal["x", "y", "both"] = "both") -> None:
    """Faint lines behind the data, a frame at the left and the bottom alone, small numbers."""
    axes.tick_params(labelsize=8)
    axes.grid(axis=lines, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _of_vocab(row: SweepRow, places: tuple[int, ...], vocabularies: Sequence[int], several: bool) -> Series:
    """FAST's and the reference's: a lightness and a line for each vocabulary, larger ones darker."""
    from matplotlib import colormaps

    rank = vocabularies.index(row.vocab_size or 0)
    share = 1 - rank / (len(vocabularies) - 1) if len(vocabularies) > 1 else 0.0
    colour = colormaps["viridis"](_LIGHTEST * share) if len(vocabularies) > 1 else INK
    kin = 2 if row.method == "reference" else int(row.order == "dim")
    line = _LINES[(rank + 2 * kin) % len(_LINES)]
    if row.method == "reference":
        return Series(f"reference, V {row.vocab_size:,}", places, colour, STROKES[rank % len(STROKES)], line)
    label = f"V {row.vocab_size:,}" + (f", {row.order}" if several else "")
    return Series(label, places, colour, _MARKERS[rank % len(_MARKERS)], line, hollow=row.order == "dim")


def _key(row: SweepRow) -> tuple[Any, ...]:
    vocab = row.vocab_size if has_vocab(row) else None
    return row.method, row.order, row.control_points, row.path, vocab


def _name(row: SweepRow) -> str:
    if row.method == "bspline":
        return f"bspline of {row.control_points}"
    if row.method == "published":
        return f"published {clean((row.path or '').rstrip('/').rpartition('/')[2], 24)}"
    return row.method
