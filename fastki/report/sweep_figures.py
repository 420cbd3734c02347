"""The figures of a sweep: each function takes a result and returns a Matplotlib figure, or None with nothing to show.

Tokens of chunks of different horizons can't be compared, so each horizon has a panel of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastki.report.drawn import Drawn, write_drawn
from fastki.report.figures import ACCENT, INK
from fastki.report.sweep_panels import dimensions, heat_maps, token_lengths
from fastki.report.sweep_series import STROKES, Series, bins_of, horizons_of, panels, scale_axis, series_of, tidy
from fastki.study.rows import SweepRow
from fastki.study.sweep import SweepResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEMS = ("tradeoff", "heatmap", "lengths", "dimensions", "learnable", "probe")
_FRONT: dict[str, Any] = {"color": "#9a9a9a", "linewidth": 7, "alpha": 0.4, "solid_capstyle": "round", "zorder": 1}
_RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 12,
    "markerfacecolor": "none",
    "markeredgecolor": INK,
    "markeredgewidth": 0.9,
}
_STAR: dict[str, Any] = {"marker": "*", "markersize": 17, "markerfacecolor": ACCENT, "markeredgecolor": "white"}
_APART = 0.035  # Of the height of a panel: labels of bins that are nearer to another are left out.

Value = Callable[[SweepRow], float | None]


def sweep_figures(result: SweepResult, *, atol: float) -> list[Drawn]:
    """All figures that the rows give; none where every cell was refused.

    Args:
        result: of the sweep.
        atol: the error bound asked about, normalised units.
    """
    drawn = [
        (tradeoff(result), "What a token buys", _TRADEOFF),
        (heat_maps(result), "Vocabulary × bins", _HEAT_MAP),
        (token_lengths(result), "How many tokens chunks take", _LENGTHS),
        (dimensions(result, atol=atol), "Errors by dimension", _DIMENSIONS),
        (learnable(result), "Short is not the same as learnable", _LEARNABLE),
        (probe(result), "Learnable for a tiny transformer", _PROBE),
    ]
    return [
        Drawn(stem, title, caption, figure)
        for stem, (figure, title, caption) in zip(STEMS, drawn, strict=True)
        if figure is not None
    ]


def write_figures(figures: Sequence[Drawn], folder: Path) -> list[Path]:
    """Write each as PNG and SVG; those that an earlier sweep left there and this one lacks are taken away.

    Raises:
        UsageError: the folder can't be written to.
    """
    return write_drawn(figures, folder, stems=STEMS)


def tradeoff(result: SweepResult) -> Figure | None:
    """RMSE over tokens a chunk, a curve a vocabulary, with the Pareto front and the recommended row."""
    return _curves(result, lambda row: row.rmse, "RMSE, normalised units", front=True)


def learnable(result: SweepResult) -> Figure | None:
    """Nats a value under the n-gram model over tokens a chunk: what a token costs to foretell."""
    return _curves(result, lambda row: row.nats_per_value, "n-gram NLL, nats an action value", front=False)


def probe(result: SweepResult) -> Figure | None:
    """The same under the probe, where it ran."""
    return _curves(result, lambda row: row.probe_nats_per_value, "probe's NLL, nats an action value", front=False)


def _curves(result: SweepResult, value: Value, label: str, *, front: bool) -> Figure | None:
    from matplotlib.lines import Line2D

    rows = result.rows
    known = [row for row in rows if row.tokens_mean is not None and value(row) is not None]
    horizons = horizons_of(known)
    if not horizons:
        return None
    figure, grid = panels(len(horizons), width=5.6, height=4.3, sharey=True)
    series = series_of(rows)
    best = {chosen.row for chosen in result.recommendations}
    handles: dict[str, Any] = {}
    for axes, horizon in zip(grid, horizons, strict=True):
        mine = [row for row in known if row.horizon == horizon]
        for one in series:
            line = _draw(axes, one, rows, horizon, value)
            if line is not None:
                handles.setdefault(one.label, line)
        if front:
            _front(axes, rows, [index for index in result.pareto if rows[index].horizon == horizon])
        for index in best:
            row = rows[index]
            if row.horizon == horizon and value(row) is not None:
                axes.plot(row.tokens_mean, value(row), linestyle="none", zorder=6, **_STAR)
        scale_axis(axes, "x", [row.tokens_mean or 0.0 for row in mine])
        scale_axis(axes, "y", [value(row) or 0.0 for row in known])
        _finish(axes, mine)
    for axes, horizon in zip(grid, horizons, strict=True):
        if front:  # Only now are the limits, which all panels share, those that will be drawn.
            _bins_at_the_side(axes, [row for row in known if row.horizon == horizon])
    grid[0].set_ylabel(label, fontsize=9)
    marks = [("recommended", _STAR)]
    marks += [("kept within a bound", _RING)] if any(row.bound for row in known) else []
    extra = [Line2D([], [], linestyle="none", label=name, **look) for name, look in marks]
    if front:
        extra.append(Line2D([], [], label="Pareto front", **_FRONT))
    drawn = [*handles.values(), *extra]
    columns = min(len(drawn), 3 if len(horizons) == 1 else 7)
    figure.legend(handles=drawn, loc="outside lower center", ncols=columns, frameon=False, fontsize=8, handlelength=3.2)
    return figure


def _draw(axes: Axes, series: Series, rows: Sequence[SweepRow], horizon: int, value: Value) -> Any:
    """One curve: a line through the numbers of bins, single markers for the rest."""
    mine = [rows[index] for index in series.rows if rows[index].horizon == horizon]
    known = [row for row in mine if row.tokens_mean is not None and value(row) is not None]
    if not known:
        return None
    look: dict[str, Any] = {"color": series.colour, "linestyle": series.line, "linewidth": 1.5, "zorder": 3}
    edge = series.colour if series.hollow or series.marker in STROKES else INK
    face = "white" if series.hollow else series.colour
    dots: dict[str, Any] = {"marker": series.marker, "markersize": 6, "markerfacecolor": face, "markeredgecolor": edge}
    dots |= {"markeredgewidth": 1.3 if edge is not INK else 0.5}
    curve = sorted((row for row in known if not row.bound), key=lambda row: row.bins or 0.0)
    xs, ys = [row.tokens_mean or 0.0 for row in curve], [value(row) or 0.0 for row in curve]
    (line,) = axes.plot(xs, ys, label=series.label, **look, **dots)
    for row in known:
        x, y = row.tokens_mean or 0.0, value(row) or 0.0
        if row.tokens_low is not None and row.tokens_high is not None:
            axes.hlines(y, row.tokens_low, row.tokens_high, color=series.colour, linewidth=0.8, zorder=2)
        if row.bound:
            axes.plot(x, y, linestyle="none", zorder=4, **dots)
            axes.plot(x, y, linestyle="none", zorder=4, **_RING)
        if row.method in ("binning", "bspline"):
            axes.annotate(f"{row.bins:.4g}", (x, y), (5, 4), textcoords="offset points", fontsize=6.5, color=INK)
    return line


def _front(axes: Axes, rows: Sequence[SweepRow], places: Sequence[int]) -> None:
    """Through the rows that no other beats, from few tokens to many."""
    costs = sorted({(rows[index].tokens_mean or 0.0, rows[index].rmse or 0.0) for index in places})
    axes.plot([tokens for tokens, _ in costs], [rmse for _, rmse in costs], **_FRONT)


def _finish(axes: Axes, rows: Sequence[SweepRow]) -> None:
    chunks, dims = rows[0].chunks, rows[0].action_dim
    held = f", {chunks:,} held-out chunks" if chunks else ""
    axes.set_title(f"horizon {rows[0].horizon}: {rows[0].horizon} × {dims or '?'} values a chunk{held}", fontsize=9)
    axes.set_xlabel("tokens a chunk, mean (bar: 95 % interval)", fontsize=9)
    tidy(axes)


def _bins_at_the_side(axes: Axes, rows: Sequence[SweepRow]) -> None:
    """FAST's precisions at the right: all vocabularies of one make the same errors."""
    errors: dict[str, float] = {}
    for row in rows:
        if row.method == "fast" and row.rmse:
            errors.setdefault(bins_of(row), row.rmse)
    transform = axes.transData + axes.transAxes.inverted()
    axes.autoscale_view()
    taken: list[float] = []
    for text, error in errors.items():
        height = float(transform.transform((1.0, error))[1])
        if not math.isfinite(height) or any(abs(height - other) < _APART for other in taken):
            continue
        taken.append(height)
        axes.annotate(
            text, (1, error), (3, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
            fontsize=6.5, color=INK, annotation_clip=False,
        )  # fmt: skip


_TRADEOFF = (
    "Mean tokens of a held-out chunk against the error of its values, a curve a vocabulary through its numbers of bins "
    "(named at the right; other methods' beside their points). Bars: 95 % bootstrap interval over episodes. "
    "Down and to the left is better; no row beats those of the Pareto front."
)
_HEAT_MAP = (
    "Mean tokens of a held-out chunk by vocabulary and bins; darker is more. ★ recommended, • on the Pareto front; "
    "hatched cells were refused."
)
_LENGTHS = (
    "How the chunks' token counts are spread, the Pareto front's rows first. Line: mean; triangle: 99 of 100 chunks "
    "take no more; # is the row of the table."
)
_DIMENSIONS = (
    "RMS (filled) and largest error (hollow) of each action dimension, normalised units; dashed: the bound asked "
    "about. At the right, the largest error of the starred row in native units."
)
_LEARNABLE = (
    "Negative log-likelihood of held-out tokens under an n-gram model counted on fitted chunks, divided by the number "
    "of action values, so that vocabularies and methods can be compared. Finer bins hold more to foretell; at equal "
    "bins, lower is easier to learn."
)
_PROBE = (
    "Negative log-likelihood a value of held-out tokens under the probe, a tiny causal transformer that sees the "
    "chunk's starting state, after the same number of steps for every row."
)
