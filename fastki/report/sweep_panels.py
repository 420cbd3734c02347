"""Figures of a sweep that go cell by cell: heat maps, token lengths, errors by dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastki.report.figures import ACCENT, INK
from fastki.report.glyphs import clean
from fastki.report.sweep_series import bins_of, has_vocab, horizons_of, label_of, panels, scale_axis, tidy
from fastki.study.rows import SweepRow
from fastki.study.sweep import SweepResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CELLS, MOST_DIMENSIONS = 12, 40
_SLOTS = 80
_LABEL: dict[str, Any] = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none"}
_DOTS = (("o", ACCENT), ("s", INK), ("^", "#7a8ea3"), ("D", "#000000"), ("v", "#b0b0b0"))


def heat_maps(result: SweepResult) -> Figure | None:
    """Mean tokens by vocabulary and bins: a panel a horizon, order and method that takes a vocabulary.

    None where no panel has more than one cell.
    """
    grids: dict[tuple[Any, ...], list[int]] = {}
    for index, row in enumerate(result.rows):
        if has_vocab(row):
            grids.setdefault((row.method, row.horizon, row.order or ""), []).append(index)
    shown = [
        places
        for places in grids.values()
        if len(places) > 1 and any(result.rows[index].tokens_mean is not None for index in places)
    ]
    if not shown:
        return None
    vocabularies = max(len({result.rows[index].vocab_size for index in places}) for places in shown)
    precisions = max(len({bins_of(result.rows[index]) for index in places}) for places in shown)
    width, height = max(2.8, 1.5 + 0.62 * vocabularies), max(1.8, 1.0 + 0.42 * precisions)
    figure, grid = panels(len(shown), width=width, height=height, columns=max(1, int(13 / width)))
    for axes, places in zip(grid, shown, strict=True):
        _heat_map(axes, result, places)
    return figure


def token_lengths(result: SweepResult) -> Figure | None:
    """How the token counts of chunks are spread, for the Pareto front's rows and, where there is room, others."""
    rows = result.rows
    known = [index for index, detail in enumerate(result.details) if detail.get("token_lengths")]
    horizons = horizons_of([rows[index] for index in known])
    if not horizons:
        return None
    most = max(4, MOST_CELLS // len(horizons))
    best = [chosen.row for chosen in result.recommendations]
    kin = [index for index, row in enumerate(rows) if any(_alike(row, rows[chosen]) for chosen in best)]
    first = [*best, *result.pareto, *_other_methods(result, known), *kin, *range(len(rows))]
    picked = []
    for horizon in horizons:
        mine = [index for index in dict.fromkeys(first) if index in known and rows[index].horizon == horizon]
        picked.append(sorted(mine[:most], key=lambda index: rows[index].tokens_mean or 0.0))
    figure, grid = panels(len(horizons), width=6.4, height=0.9 + 0.42 * max(map(len, picked)))
    for axes, mine, horizon in zip(grid, picked, horizons, strict=True):
        _ridges(axes, result, mine)
        axes.set_title(f"horizon {horizon}", fontsize=9)
    return figure


def dimensions(result: SweepResult, *, atol: float) -> Figure | None:
    """RMS and largest error of each dimension, of the recommended row and a few others.

    Args:
        result: of the sweep.
        atol: drawn as a line, normalised units.
    """
    known = [index for index, detail in enumerate(result.details) if detail.get("per_dim")]
    horizons = horizons_of([result.rows[index] for index in known])
    if not horizons:
        return None
    count = max(len(result.details[index]["per_dim"]) for index in known)
    height = 1.5 + max(0.2 * min(count, MOST_DIMENSIONS), 0.6)
    figure, grid = panels(len(horizons), width=7.2, height=height, columns=2)
    for axes, horizon in zip(grid, horizons, strict=True):
        mine = [index for index in known if result.rows[index].horizon == horizon]
        _dots(axes, result, _a_few(result, mine), atol)
    return figure


def mark_of(result: SweepResult, index: int) -> str:
    """A star for a recommended row, a dot for one on the Pareto front."""
    if any(chosen.row == index for chosen in result.recommendations):
        return "★"
    return "•" if index in result.pareto else ""


def _heat_map(axes: Axes, result: SweepResult, places: Sequence[int]) -> None:
    from matplotlib.patches import Rectangle

    rows = result.rows
    vocabularies = sorted({rows[index].vocab_size or 0 for index in places})
    precisions = list(dict.fromkeys(bins_of(rows[index]) for index in places))
    at = {index: (precisions.index(bins_of(rows[index])), vocabularies.index(rows[index].vocab_size or 0))
          for index in places}  # fmt: skip
    tokens = np.full((len(precisions), len(vocabularies)), np.nan)
    for index, place in at.items():
        tokens[place] = np.nan if rows[index].tokens_mean is None else rows[index].tokens_mean
    shade = _shades(
        tokens, [row.tokens_mean for row in rows if has_vocab(row) and row.horizon == rows[places[0]].horizon]
    )
    across_edges, down_edges = np.arange(len(vocabularies) + 1) - 0.5, np.arange(len(precisions) + 1) - 0.5
    axes.pcolormesh(across_edges, down_edges, 0.08 + 0.72 * shade, cmap="Blues", vmin=0, vmax=1, edgecolors="face")
    axes.invert_yaxis()
    for index, (down, across) in at.items():
        if np.isnan(tokens[down, across]):
            corner = (across - 0.5, down - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor="#f4f4f4", edgecolor="#a0a0a0", hatch="////", linewidth=0))
            axes.text(across, down, "refused", ha="center", va="center", fontsize=6.5, color=INK, bbox=_LABEL)
            continue
        colour = "white" if shade[down, across] > 0.85 else "black"
        text = f"{mark_of(result, index)}{tokens[down, across]:.1f}"
        weight = "bold" if text.startswith("★") else "normal"
        axes.text(across, down, text, ha="center", va="center", fontsize=8, color=colour, weight=weight)
    axes.set_xticks(range(len(vocabularies)), [f"{vocab:,}" for vocab in vocabularies], fontsize=8)
    axes.set_yticks(range(len(precisions)), precisions, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    row = rows[places[0]]
    axes.set_xlabel("vocabulary", fontsize=8)
    order = f", order {row.order}" if row.order else ""
    axes.set_title(f"{row.method}, horizon {row.horizon}{order}: tokens a chunk", fontsize=9)


def _shades(tokens: NDArray[np.float64], among: Sequence[float | None]) -> NDArray[np.float64]:
    """Logarithms, from 0 for the fewest tokens of the horizon to 1 for the most."""
    known = [max(mean, 1e-3) for mean in among if mean is not None]
    low, high = np.log(min(known)), np.log(max(known))
    shades: NDArray[np.float64] = (np.log(np.maximum(tokens, 1e-3)) - low) / max(high - low, 1e-9)
    return shades


def _ridges(axes: Axes, result: SweepResult, places: Sequence[int]) -> None:
    """A histogram a row, one above the other, the row with the fewest tokens on top."""
    counts = {index: np.array(result.details[index]["token_lengths"], dtype=np.int64) for index in places}
    low = min(int(pairs[:, 0].min()) for pairs in counts.values())
    high = max(int(pairs[:, 0].max()) for pairs in counts.values())
    width = max(1, -(-(high - low + 1) // _SLOTS))
    edges = np.arange(low, high + width + 1, width) - 0.5
    for down, index in enumerate(places):
        row, pairs = result.rows[index], counts[index]
        heights, _ = np.histogram(pairs[:, 0], bins=edges, weights=pairs[:, 1])
        best = mark_of(result, index) == "★"
        tops = down + 0.4 - 0.78 * heights / heights.max()
        axes.stairs(tops, edges, baseline=down + 0.4, fill=True, color=ACCENT if best else "#8fa3b5", linewidth=0)
        axes.vlines(row.tokens_mean or 0.0, down - 0.38, down + 0.4, color=INK, linewidth=1.4)
        axes.plot(row.tokens_p99 or 0.0, down + 0.28, marker="^", color=INK, markersize=5, linestyle="none")
    labels = [f"{mark_of(result, index)} #{index}  {label_of(result.rows[index])}" for index in places]
    axes.set_yticks(range(len(places)), labels)
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.set_xlim(max(0, low - 0.03 * (high - low) - 1), high + 0.03 * (high - low) + 1)
    axes.set_xlabel("tokens a chunk (line: mean; triangle: 99 % take no more)", fontsize=9)
    axes.tick_params(axis="y", length=0)
    tidy(axes, lines="x")
    axes.spines["left"].set_visible(False)


def _a_few(result: SweepResult, known: Sequence[int]) -> list[int]:
    """The recommended row, the front's cheapest and its most exact one, and the most exact one of other methods."""
    rows = result.rows
    best = [chosen.row for chosen in result.recommendations if chosen.row in known]
    front = sorted(
        (index for index in result.pareto if index in known), key=lambda index: rows[index].tokens_mean or 0.0
    )
    others = _other_methods(result, known)
    middle = front[len(front) // 2 : len(front) // 2 + 1]
    return list(dict.fromkeys([*best, *front[:1], *others, *front[-1:], *middle]))[: len(_DOTS)]


def _other_methods(result: SweepResult, known: Sequence[int]) -> list[int]:
    """The most exact row of each method and horizon, of methods that no recommended row is of."""
    rows = result.rows
    best = {rows[chosen.row].method for chosen in result.recommendations}
    exact = sorted(known, key=lambda index: rows[index].rmse or 0.0)
    firsts: dict[tuple[str, int], int] = {}
    for index in exact:
        firsts.setdefault((rows[index].method, rows[index].horizon), index)
    return sorted(index for (method, _), index in firsts.items() if method not in best)


def _dots(axes: Axes, result: SweepResult, places: Sequence[int], atol: float) -> None:
    """A line a dimension, a dot a row and figure."""
    first = result.details[places[0]]["per_dim"]
    order = sorted(range(len(first)), key=lambda dim: -first[dim]["max_abs_error"])[:MOST_DIMENSIONS]
    shown = sorted(order)
    step = 0.7 / len(places)
    values = [atol]
    for number, (index, (marker, colour)) in enumerate(zip(places, _DOTS, strict=False)):
        per_dim = [result.details[index]["per_dim"][dim] for dim in shown]
        heights = np.arange(len(shown)) + (number - (len(places) - 1) / 2) * step
        rms, top = ([dim[name] for dim in per_dim] for name in ("rmse", "max_abs_error"))
        values += rms + top
        axes.hlines(heights, rms, top, color=colour, linewidth=0.7)
        axes.plot(top, heights, marker, color=colour, markerfacecolor="white", markersize=4.5)
        label = f"{mark_of(result, index)} #{index} {label_of(result.rows[index])}".strip()
        axes.plot(rms, heights, marker, color=colour, markersize=4.5, label=label)
    axes.axvline(atol, color=INK, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(shown)), [clean(first[dim]["name"]) for dim in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    scale_axis(axes, "x", values)
    for down, dim in enumerate(shown):
        unit = clean(first[dim]["unit"] or "", 12)
        axes.annotate(
            f"{first[dim]['max_abs_error_native']:.3g} {unit}", (1, down), (4, 0), fontsize=6.5, va="center",
            xycoords=("axes fraction", "data"), textcoords="offset points", annotation_clip=False,
        )  # fmt: skip
    axes.annotate(
        "max, native", (1, 1), (4, 2), fontsize=6.5, xycoords="axes fraction", textcoords="offset points",
        annotation_clip=False,
    )  # fmt: skip
    left = len(first) - len(shown)
    without = f" ({left} dimensions with smaller errors left out)" if left else ""
    heading = f"horizon {result.rows[places[0]].horizon}{without}"
    axes.set_xlabel(f"error, normalised units (filled: RMS; hollow: max; dashed: {atol:g})", fontsize=8)
    axes.tick_params(axis="y", length=0)
    tidy(axes)
    axes.spines["left"].set_visible(False)
    look: dict[str, Any] = {"ncols": 2, "frameon": False, "fontsize": 7, "title": heading, "title_fontsize": 9}
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), **look)


def _alike(row: SweepRow, other: SweepRow) -> bool:
    """Whether they differ in the vocabulary alone."""

    def precision(one: SweepRow) -> tuple[Any, ...]:
        return one.method, one.horizon, one.order, one.bound or one.bins

    return precision(row) == precision(other)
