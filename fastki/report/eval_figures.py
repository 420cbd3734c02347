"""Figures of an evaluation. As :mod:`fastki.report.figures`, no pyplot."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastki.evaluation.errors import ErrorRow
from fastki.evaluation.floors import HOLD, MEAN, ROUND_TRIP
from fastki.evaluation.open_loop import OpenLoop
from fastki.report.drawn import Drawn
from fastki.report.eval_tables import TITLES
from fastki.report.figures import ACCENT, INK
from fastki.report.glyphs import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEMS = ("trace", "errors", "steps")
MAX_PANELS = 16
_COLOURS = {"flow": ACCENT, "fast": "#2471a3", MEAN: "#8a8a8a", HOLD: "#8a8a8a", ROUND_TRIP: "#8a8a8a"}
_STYLES = {"flow": "-", "fast": "--", MEAN: "-", HOLD: "--", ROUND_TRIP: ":"}
_MARKS = {"flow": "o", "fast": "s", MEAN: "", HOLD: "", ROUND_TRIP: ""}


def eval_figures(measured: OpenLoop) -> list[Drawn]:
    """An episode, the errors beside the floors, and the error by step of the chunk."""
    return [
        Drawn("trace", "Predicted over true", _TRACE, episode_trace(measured)),
        Drawn("errors", "Errors beside the floors", _ERRORS, error_bars(measured)),
        Drawn("steps", "Error by step of the chunk", _STEPS, error_by_step(measured)),
    ]


def episode_trace(measured: OpenLoop) -> Figure:
    """What each head would do over what was done, a panel a dimension."""
    from matplotlib.figure import Figure

    trace = measured.trace
    dims = _worst(measured)
    columns = 1 if len(dims) <= 4 else 2
    rows = math.ceil(len(dims) / columns)
    figure = Figure(figsize=(6.2 * columns, 0.9 + 1.3 * rows))
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True)
    time = np.arange(len(trace.true)) / (trace.fps or 1)
    for place, dim in enumerate(dims):
        axes = panels[place % rows][place // rows]
        axes.plot(time, trace.true[:, dim], color=INK, linewidth=2.4, alpha=0.4, label="recorded")
        for head, path in trace.predicted.items():
            axes.plot(time, path[:, dim], color=_COLOURS[head], linestyle=_STYLES[head], linewidth=1.1)
            axes.plot([], [], color=_COLOURS[head], linestyle=_STYLES[head], label=TITLES[head])
        for start in range(0, len(time), trace.horizon):
            axes.axvline(time[start], color="#cccccc", linewidth=0.5, zorder=0)
        unit = measured.units[dim]
        axes.set_ylabel(
            clean(measured.names[dim]) + (f"\n[{clean(unit)}]" if unit else ""),
            rotation=0,
            ha="right",
            va="center",
            fontsize=8,
        )
        axes.tick_params(labelsize=7)
        _plain(axes)
    for axes in panels.T.ravel()[len(dims) :]:
        axes.axis("off")
    for axes in panels[-1]:
        axes.set_xlabel("time [s]" if trace.fps else "frame", fontsize=9)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=len(labels), frameon=False, fontsize=9)
    figure.suptitle(
        f"Episode {trace.episode}, one chunk of {trace.horizon} after the other", fontsize=10, x=0.02, ha="left"
    )
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.12 / figure.get_figheight()))
    return figure


def error_bars(measured: OpenLoop) -> Figure:
    """A bar a head, with what shuffling does to it, and a bar a floor; whiskers: 95 % intervals."""
    from matplotlib.figure import Figure

    bars = _bars(measured)
    figure = Figure(figsize=(7.5, 0.9 + 0.36 * len(bars)))
    axes = figure.subplots()
    for place, (_, value, interval, colour, faint) in enumerate(bars):
        axes.barh(place, value, color=colour, alpha=0.4 if faint else 1.0, height=0.7)
        right = value
        if interval is not None:
            low, high = interval
            axes.plot([low, high], [place, place], color="black", linewidth=1.2, marker="|", markersize=6)
            right = max(value, high)
        axes.annotate(
            f"{value:.3g}", (right, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(range(len(bars)), [bar[0] for bar in bars], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("mean absolute error, normalised units", fontsize=9)
    axes.set_title(f"{measured.frames:,} frames of {measured.episodes} episodes", fontsize=10)
    _plain(axes)
    figure.tight_layout()
    return figure


def error_by_step(measured: OpenLoop) -> Figure:
    """How the error grows along a chunk, a line a head and floor."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4))
    axes = figure.subplots()
    for row in measured.rows:
        steps = np.arange(1, len(row.by_step) + 1)
        heavy = 2.0 if row in measured.heads else 1.2
        axes.plot(
            steps,
            row.by_step,
            color=_COLOURS[row.name],
            linestyle=_STYLES[row.name],
            marker=_MARKS[row.name],
            markersize=3.5,
            linewidth=heavy,
            label=TITLES[row.name],
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step of the chunk", fontsize=9)
    axes.set_ylabel("mean absolute error, normalised units", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _plain(axes)
    figure.tight_layout()
    return figure


def _bars(measured: OpenLoop) -> list[tuple[str, float, tuple[float, float] | None, str, bool]]:
    """Label, length, interval, colour, and whether it is an ablation's, of each bar from the top."""
    bars: list[tuple[str, float, tuple[float, float] | None, str, bool]] = []
    for row in measured.rows:
        bars.append((TITLES[row.name], row.mae, row.interval, _COLOURS[row.name], False))
        for other in measured.ablations:
            if other.head == row.name and other.mae is not None:
                bars.append((f"{other.what} shuffled", other.mae, None, _COLOURS[row.name], True))
    return bars


def _worst(measured: OpenLoop) -> list[int]:
    """Dimensions in order, of many those in which the first head errs most against the mean action."""
    first: ErrorRow = measured.rows[0]
    ratio = first.mae_native / (measured.row(MEAN).mae_native + 1e-12)
    return sorted(np.argsort(-ratio, kind="stable")[:MAX_PANELS].tolist())


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


_TRACE = (
    "An episode with a middling error: what was recorded, and what each head would do, chunk after chunk; a chunk "
    "begins at each thin line."
)
_ERRORS = "Mean absolute error over all values; whiskers: 95 % of bootstrap draws of whole episodes."
_STEPS = "Mean absolute error at each step of a chunk, over all frames and dimensions."
