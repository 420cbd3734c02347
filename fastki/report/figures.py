"""Figures of tokenizers: each function takes results and returns a Matplotlib figure; :func:`save` writes it.

No pyplot: figures are objects, nothing is global, and no display is needed.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastki.data.contact import ContactSheet
from fastki.data.summary import DatasetSummary
from fastki.files import atomic_path
from fastki.report.glyphs import clean
from fastki.tokenizer import CorruptionRow, RoundTrip
from fastki.tokenizer.roundtrip import Example

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT = "#22313f", "#d35400"
MAX_PANELS = 8


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG or SVG, by the path's suffix; whole or not at all, and of the same data the same bytes."""
    from matplotlib import rc_context

    dateless = {"Date": None} if path.suffix == ".svg" else None
    with atomic_path(path) as temporary, rc_context({"svg.hashsalt": "fastki"}):
        figure.savefig(temporary, dpi=130, bbox_inches="tight", metadata=dateless)
    return path


def reconstruction(result: RoundTrip, *, fps: float | None = None) -> Figure:
    """The worst and a median chunk, decoded over original, for the dimensions that lose most in the worst one."""
    from matplotlib.figure import Figure

    names = [dim.name for dim in result.per_dim]
    units = [dim.unit or "" for dim in result.per_dim]
    shown = _worst_dimensions(result)
    figure = Figure(figsize=(10, 1.0 + 1.35 * len(shown)))
    axes = figure.subplots(len(shown), 2, squeeze=False, sharex=True)
    for column, (title, example) in enumerate((("worst", result.worst), ("median", result.median))):
        axes[0][column].set_title(
            f"{title} chunk: episode {example.episode}, frame {example.start}\n"
            f"{example.tokens} tokens, max error {example.max_abs_error:.4g} (normalised)",
            fontsize=10,
        )
        for row, dim in enumerate(shown):
            bound = None if result.atol is None else result.atol * result.per_dim[dim].unit_scale
            _draw_dimension(axes[row][column], example, dim, fps, bound)
            if column == 0:
                label = clean(names[dim]) + (f"\n[{clean(units[dim])}]" if units[dim] else "")
                axes[row][column].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        axes[-1][column].set_xlabel("time in the chunk [s]" if fps else "step in the chunk")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", ncols=1, frameon=False, fontsize=9)
    figure.align_ylabels()
    figure.tight_layout()
    return figure


def error_histogram(result: RoundTrip) -> Figure:
    """How many values have which error, with the quantiles, and the bound where there is one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6))
    axes = figure.subplots()
    counts, edges = _coarser(result.error_histogram, result.error_edges, 64)
    axes.stairs(counts / counts.sum() * 100, edges, fill=True, color=INK, alpha=0.85)
    marks = [("p99", result.p99_abs_error, INK, "--"), ("max", result.max_abs_error, INK, "-")]
    if result.atol is not None:
        marks.append(("atol", result.atol, ACCENT, "-"))
    for label, value, colour, style in marks:
        if value > 0:
            axes.axvline(value, color=colour, linestyle=style, linewidth=1.5, label=f"{label}: {value:.4g}")
    axes.set_xscale("log")
    axes.set_xlabel("absolute error of a value, normalised units")
    axes.set_ylabel("share of values [%]")
    axes.set_title(f"Round-trip error of {result.chunks:,} chunks", fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    _plain(axes)
    figure.tight_layout()
    return figure


def energy(result: RoundTrip) -> Figure:
    """Root mean square DCT coefficient by frequency and dimension, normalised units, on a logarithmic colour scale."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    power = np.sqrt(np.maximum(result.energy, 1e-12))
    horizon, dims = power.shape
    figure = Figure(figsize=(min(14, 3 + 0.18 * horizon), min(9, 1.6 + 0.28 * dims)))
    axes = figure.subplots()
    low = max(power.min(), power.max() * 1e-4)
    image = axes.imshow(power.T, aspect="auto", cmap="viridis", norm=LogNorm(low, max(power.max(), low * 10)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("frequency index of the DCT (0 = the chunk's mean)")
    axes.set_yticks(range(dims), [clean(dim.name) for dim in result.per_dim], fontsize=8)
    axes.set_title("Where the energy of a chunk lies", fontsize=11)
    figure.colorbar(image, ax=axes, label="RMS coefficient")
    figure.tight_layout()
    return figure


def token_lengths(result: RoundTrip) -> Figure:
    """How many chunks take how many tokens."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2))
    axes = figure.subplots()
    low, high = int(result.token_counts.min()), result.tokens_max
    width = max(1, math.ceil((high - low + 1) / 60))
    edges = np.arange(low, high + width + 1, width) - 0.5
    axes.hist(result.token_counts, bins=edges.tolist(), color=INK)
    axes.axvline(result.tokens_mean, color=ACCENT, linewidth=1.5, label=f"mean {result.tokens_mean:.1f}")
    axes.axvline(result.tokens_p99, color=ACCENT, linestyle="--", linewidth=1.5, label=f"p99 {result.tokens_p99:.0f}")
    axes.set_xlabel("tokens a chunk")
    axes.set_ylabel("chunks")
    fewer = f", {result.compression:.1f}× fewer tokens than values" if result.compression else ""
    axes.set_title(f"{result.chunks:,} chunks{fewer}", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    _plain(axes)
    figure.tight_layout()
    return figure


def corruption(rows: Sequence[CorruptionRow]) -> Figure:
    """Error over the rate of damage, a panel a kind of damage, a line a tokenizer."""
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(row.label for row in rows))
    damages = list(dict.fromkeys(row.damage for row in rows))
    figure = Figure(figsize=(3.6 * len(damages), 3.4))
    panels = figure.subplots(1, len(damages), squeeze=False, sharey=True)[0]
    for axes, damage in zip(panels, damages, strict=True):
        for label, style in zip(labels, ("o-", "s--", "^:"), strict=False):
            mine = [row for row in rows if row.label == label and row.damage == damage]
            colour = INK if style == "o-" else ACCENT
            rates, errors = [row.rate * 100 for row in mine], [row.rmse for row in mine]
            axes.plot(rates, errors, style, color=colour, label=clean(label))
        axes.set_title(damage, fontsize=11)
        axes.set_xlabel("tokens hit [%]" if damage != "truncation" else "tokens missing at the end [%]")
        axes.set_yscale("log")
        _plain(axes)
    panels[0].set_ylabel("RMS error, normalised units")
    panels[0].legend(frameon=False, fontsize=9)
    figure.tight_layout()
    return figure


def dataset_overview(summary: DatasetSummary) -> Figure:
    """The actions of the first episode by dimension, and how long the episodes are."""
    from matplotlib.figure import Figure

    info = summary.info
    dims = range(info.action_dim)
    columns = 2 if info.action_dim > 4 else 1
    rows = math.ceil(info.action_dim / columns)
    figure = Figure(figsize=(11, 1.8 + 0.85 * rows))
    grid = figure.add_gridspec(rows + 2, columns, height_ratios=[*([1] * rows), 0.35, 1.6])
    time = np.arange(len(summary.example)) / (info.fps or 1)
    for dim in dims:
        axes = figure.add_subplot(grid[dim % rows, dim // rows])
        axes.plot(time, summary.example[:, dim], color=INK, linewidth=1)
        axes.axhspan(summary.actions.q01[dim], summary.actions.q99[dim], color=ACCENT, alpha=0.12, linewidth=0)
        unit = clean(info.action_units[dim] or "")
        label = clean(info.action_names[dim]) + (f" [{unit}]" if unit else "")
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
        axes.tick_params(labelsize=6, labelbottom=dim % rows == rows - 1 or dim == info.action_dim - 1)
        _plain(axes)
    axes = figure.add_subplot(grid[rows + 1, :])
    axes.hist(info.lengths / (info.fps or 1), bins=min(40, max(5, len(info.lengths))), color=INK)
    axes.set_xlabel("episode length [s]" if info.fps else "episode length [frames]")
    axes.set_ylabel("episodes", fontsize=8)
    _plain(axes)
    figure.suptitle(
        f"{clean(info.uri)}: actions of episode 0 over {'seconds' if info.fps else 'frames'} (band: q01 to q99 of all)",
        fontsize=10,
    )
    figure.tight_layout()
    return figure


def contact(sheet: ContactSheet, *, title: str) -> Figure:
    """Camera frames: a row a camera and episode, time from left to right."""
    from matplotlib.figure import Figure

    columns = max(len(strip.pictures) for strip in sheet.strips)
    height, width = np.mean([strip.pictures[0].shape[:2] for strip in sheet.strips], axis=0)
    figure = Figure(figsize=(1.9 * columns + 1.8, 0.5 + len(sheet.strips) * (1.9 * height / width + 0.28)))
    grid = figure.subplots(len(sheet.strips), columns, squeeze=False)
    last = None
    for row, strip in zip(grid, sheet.strips, strict=True):
        for axes in row:
            axes.axis("off")
        for axes, picture, frame in zip(row, strip.pictures, strip.frames, strict=False):
            axes.imshow(picture, interpolation="nearest" if max(picture.shape) < 150 else None)
            axes.set_title(f"frame {frame}", fontsize=6, pad=2)
        words = [clean(strip.camera.rpartition("/")[2]), *([strip.slot] if strip.slot else [])]
        if strip.episode != last:
            prompt = [clean(line) for line in textwrap.wrap(strip.prompt, 26)[:3]]
            words = [f"episode {strip.episode}", *prompt, "", *words]
        last = strip.episode
        row[0].text(-0.05, 0.5, "\n".join(words), fontsize=7, ha="right", va="center", transform=row[0].transAxes)
    figure.suptitle(clean(title), fontsize=9)
    figure.tight_layout(pad=0.4, rect=(0, 0, 1, 1 - 0.2 / figure.get_figheight()))
    return figure


def _worst_dimensions(result: RoundTrip) -> list[int]:
    error = np.abs(result.worst.decoded - result.worst.original).max(axis=0)
    scale = np.array([dim.unit_scale for dim in result.per_dim])
    order = np.argsort(-error / scale, kind="stable")[:MAX_PANELS]
    return sorted(int(dim) for dim in order)


def _draw_dimension(axes: Axes, example: Example, dim: int, fps: float | None, bound: float | None) -> None:
    time = np.arange(len(example.original)) / (fps or 1)
    if bound is not None:
        low, high = example.original[:, dim] - bound, example.original[:, dim] + bound
        axes.fill_between(time, low, high, color=INK, alpha=0.1, linewidth=0, label="± atol")
    axes.plot(time, example.original[:, dim], color=INK, linewidth=2.2, alpha=0.45, label="original")
    axes.plot(time, example.decoded[:, dim], color=ACCENT, linewidth=1.1, linestyle="--", label="decoded")
    axes.tick_params(labelsize=7)
    # A dimension at rest would otherwise be drawn as its rounding noise, blown up to the whole panel.
    bottom, top = axes.get_ylim()
    middle, least = (bottom + top) / 2, 1e-3 * max(1.0, abs(bottom), abs(top))
    if top - bottom < least:
        axes.set_ylim(middle - least / 2, middle + least / 2)
    _plain(axes)


def _coarser(
    counts: NDArray[np.int64], edges: NDArray[np.float64], factor: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Neighbouring bins put together; those of errors too small to matter, below 1e-4 of the largest, are one."""
    merged, coarse = counts.reshape(-1, factor).sum(axis=1), edges[::factor]
    last = int(np.flatnonzero(merged)[-1])
    first = min(last, int(np.searchsorted(coarse, coarse[last] * 1e-4)))
    shown = merged[first : last + 1].copy()
    shown[0] += merged[:first].sum()
    return shown, coarse[first : last + 2]


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
