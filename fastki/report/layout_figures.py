"""Figures of layouts: who sees whom, and how long sequences are. As :mod:`fastki.report.figures`, no pyplot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastki.report.drawn import Drawn
from fastki.report.figures import ACCENT, INK
from fastki.report.glyphs import clean
from fastki.sequence.layout import Kind, Layout, Segment
from fastki.sequence.masks import attention_mask, positions
from fastki.study.layouts import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: dict[Kind, str] = {
    "images": "#4c78a8",
    "prompt": "#54a24b",
    "state": "#b279a2",
    "fast": "#e45756",
    "actions": "#f2a541",
}
SHOWN: dict[Kind, int] = {"images": 4, "prompt": 3, "state": 2, "fast": 4, "actions": 3}
"""Tokens that a picture of a mask has of each segment; the real ones have hundreds."""
STEMS = ("masks", "lengths")
_COLUMNS = 3
_BAND = 0.9
"""Width of the coloured bands beside a mask, in cells."""


def layout_figures(comparison: Comparison) -> list[Drawn]:
    """The masks of all layouts, and the lengths of those that were measured, if any was."""
    drawn = [Drawn("masks", "Who sees whom", _MASKS, attention_masks(comparison.layouts))]
    if comparison.totals:
        drawn.append(Drawn("lengths", "How long sequences are", _LENGTHS, length_histograms(comparison)))
    return drawn


def shown_lengths(layout: Layout) -> tuple[int, ...]:
    """Tokens of each segment in the picture of a layout's mask."""
    return tuple(1 if segment.continuous else SHOWN[segment.kind] for segment in layout.segments)


def attention_masks(layouts: Sequence[Layout]) -> Figure:
    """Each layout's mask side by side, a few tokens a segment: a row sees the columns that are coloured in it."""
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(layouts))
    rows = math.ceil(len(layouts) / columns)
    figure = Figure(figsize=(4.5 * columns, 4.3 * rows + 0.6))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, layout in zip(panels, layouts, strict=False):
        _draw_mask(axes, layout)
    for axes in panels[len(layouts) :]:
        axes.axis("off")
    figure.suptitle(
        "A token (row) sees what is coloured in its row, in the colour of what it sees. At the right: positions.\n"
        "Bold: segments with a loss. Of each segment only a few tokens are drawn.",
        fontsize=10,
    )
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.25 / figure.get_figheight()), h_pad=1.0, w_pad=1.0)
    return figure


def length_histograms(comparison: Comparison) -> Figure:
    """How many examples have how many tokens, a panel a layout, all on one axis.

    Raises:
        ValueError: no layout was measured.
    """
    from matplotlib.figure import Figure

    shown = [row for row in comparison.rows if row.layout in comparison.totals]
    if not shown:
        raise ValueError("no layout was measured")
    figure = Figure(figsize=(8.5, 1.2 + 1.15 * len(shown)))
    panels = figure.subplots(len(shown), 1, squeeze=False, sharex=True)[:, 0]
    low = min(int(totals.min()) for totals in comparison.totals.values())
    high = max(int(totals.max()) for totals in comparison.totals.values())
    width = max(1, math.ceil((high - low + 1) / 80))
    edges = np.arange(low, high + width + 1, width) - 0.5
    for axes, row in zip(panels, shown, strict=True):
        totals = comparison.totals[row.layout]
        axes.hist(totals, bins=edges.tolist(), color=INK)
        assert row.max_token_len is not None
        pictures = comparison.cameras * comparison.size.vision.tokens if "images" in row.segments else 0
        limit = pictures + row.max_token_len
        label = f"room ends at {limit}" + (f": {row.truncated:.2%} truncated" if row.truncated else "")
        axes.axvline(limit + 0.5, color=ACCENT, linewidth=1.5, label=label)
        axes.axvline(float(totals.mean()), color=INK, linestyle="--", linewidth=1.2, label=f"mean {totals.mean():.1f}")
        axes.set_title(clean(row.layout), fontsize=9, loc="left")
        axes.legend(frameon=False, fontsize=7, loc="lower right", bbox_to_anchor=(1, 0.97), ncols=2)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(y=0.25)
    panels[len(shown) // 2].set_ylabel("examples", fontsize=8)
    panels[-1].set_xlabel("tokens of pictures and text")
    figure.tight_layout()
    return figure


def _draw_mask(axes: Axes, layout: Layout) -> None:
    from matplotlib.colors import ListedColormap

    lengths = shown_lengths(layout)
    mask = attention_mask(layout, lengths)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    colours = ["#ffffff", *(COLOURS[segment.kind] for segment in layout.segments)]
    size = len(owner)
    axes.imshow(np.where(mask, owner[None, :] + 1, 0), cmap=ListedColormap(colours), vmin=0, vmax=len(lengths))
    for edge in np.arange(size + 1) - 0.5:
        axes.axhline(edge, color="#d9d9d9", linewidth=0.4)
        axes.axvline(edge, color="#d9d9d9", linewidth=0.4)
    ends = np.cumsum(lengths)
    for edge in ends[:-1] - 0.5:
        axes.axhline(edge, color=INK, linewidth=1.0)
        axes.axvline(edge, color=INK, linewidth=1.0)
    _draw_bands(axes, layout, ends - np.array(lengths), np.array(lengths))
    for row, position in enumerate(positions(layout, lengths).tolist()):
        axes.text(size - 0.2, row, str(position), fontsize=6, ha="left", va="center", color="#666666", clip_on=False)
    axes.set_xlim(-0.5 - _BAND - 0.2, size + 0.6)
    axes.set_ylim(size - 0.5, -0.5 - _BAND - 0.2)
    axes.spines[:].set_visible(False)
    axes.set_title(clean(layout.name), fontsize=10, pad=4)


def _draw_bands(axes: Axes, layout: Layout, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
    """Coloured bands with the segments' names, above and at the left."""
    from matplotlib.patches import Rectangle

    for segment, start, length in zip(layout.segments, starts.tolist(), lengths.tolist(), strict=True):
        colour = COLOURS[segment.kind]
        place = -0.5 - _BAND - 0.1
        axes.add_patch(Rectangle((start - 0.5, place), length, _BAND, color=colour, linewidth=0, zorder=3))
        axes.add_patch(Rectangle((place, start - 0.5), _BAND, length, color=colour, linewidth=0, zorder=3))
    middles = starts + (lengths - 1) / 2
    names = [_name(segment) for segment in layout.segments]
    axes.set_yticks(middles.tolist(), names, fontsize=7.5)
    axes.set_xticks(
        middles.tolist(), [name.partition("\n")[0] for name in names], fontsize=7.5, rotation=30, ha="right"
    )
    axes.tick_params(length=0)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        for label, segment in zip(labels, layout.segments, strict=True):
            label.set_fontweight("bold" if segment.loss != "none" else "normal")


def segment_words(segment: Segment) -> tuple[str, str, str]:
    """What the segment is, how it attends, and its loss, empty where it has none."""
    what = {"fast": "FAST", "actions": "actions"}.get(segment.kind, segment.kind)
    if segment.kind == "state":
        what = "state token" if segment.continuous else "state text"
    if segment.kind == "prompt" and segment.state == "text":
        what = "prompt + state"
    loss = {"tokens": "next-token loss", "flow": "flow loss"}.get(segment.loss, "")
    return what, "causal" if segment.causal else "both ways", loss


def _name(segment: Segment) -> str:
    what, how, loss = segment_words(segment)
    return f"{what}\n({how})" + (f"\n{loss}" if loss else "")


_MASKS = (
    "The action expert and FAST never see each other, and the expert's positions, at the right, go on from the context "
    "as though no FAST token stood there."
)
_LENGTHS = (
    "Tokens of pictures and text of each example, before any truncation. The line is where the room for text ends: "
    "what lies to its right is cut."
)
