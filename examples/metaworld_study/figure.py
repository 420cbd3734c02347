"""The study's figure: success, open-loop error and nats over tokens a chunk, and what the tokenizers lose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from examples.metaworld_study.summary import FLOOR, Line
from fastki.report.figures import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart in greyscale too, by their marks; a FAST head's are open.
STYLES = {"ki": (INK, "o"), "joint": ("#d35400", "s"), "flow": ("#2471a3", "^"), "fast": ("#1e8449", "D")}
_FLOORS = {"random": ":", "replay": "--"}
_HEADS = {"flow": "flow head", "fast": "FAST head"}
_SPREAD = 0.011  # Of the axis, between marks that would lie on each other.


def draw(lines: Sequence[Line], title: str) -> Figure:
    """Four panels.

    Args:
        lines: a line a head of each combination, and the floors.
        title: what and how large.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8.4), layout="constrained")
    success, error, nats, tokenizers = figure.subplots(2, 2).flat
    _over_tokens(success, lines, "rate")
    for line in (line for line in lines if line.mode == FLOOR and line.rate is not None):
        success.axhline(line.rate, color="#7f8c8d", linestyle=_FLOORS.get(line.head, "-."), label=f"floor: {line.head}")
    success.set_ylim(-0.03, 1.03)
    success.set_title("Closed loop: share of episodes solved, 95 % intervals", fontsize=10)
    _over_tokens(error, lines, "error")
    error.axhline(1, color="#7f8c8d", linestyle=":")
    error.set_ylim(bottom=0)
    error.set_title("Open loop: error of held-out actions; 1 knows nothing", fontsize=10)
    _over_tokens(nats, [line for line in lines if line.head == "fast"], "nats")
    nats.set_ylim(bottom=0)
    nats.set_title("Nats per action value; compare within one precision only", fontsize=10)
    _tokenizers(tokenizers, lines)
    handles: dict[str, object] = {}
    for axes in (success, error, nats):
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def _over_tokens(axes: Axes, lines: Sequence[Line], what: str) -> None:
    """A mark a combination and head; a mode without tokens is a level across."""
    shown = [line for line in lines if line.mode != FLOOR and getattr(line, what) is not None]
    kinds = list(dict.fromkeys((line.mode, line.head) for line in shown if line.tokens is not None))
    tokens = [line.tokens for line in lines if line.tokens is not None]
    step = _SPREAD * ((max(tokens) - min(tokens)) or 1.0) if tokens else 0.0
    for line in shown:
        colour, mark = STYLES[line.mode]
        value = getattr(line, what)
        reach = line.interval if what == "rate" else None
        label = f"{line.mode}: {_HEADS[line.head]}"
        if line.tokens is None:
            axes.axhline(value, color=colour, linewidth=1.4, label=f"{label} (no tokens)")
            if reach is not None:
                axes.axhspan(*reach, color=colour, alpha=0.1, linewidth=0)
            continue
        place = line.tokens + step * (kinds.index((line.mode, line.head)) - (len(kinds) - 1) / 2)
        ends = None if reach is None else [[max(0.0, value - reach[0])], [max(0.0, reach[1] - value)]]
        face = colour if line.head == "flow" else "white"
        axes.errorbar(
            [place], [value], yerr=ends, color=colour, marker=mark, mfc=face, linestyle="", capsize=3, label=label
        )
    axes.margins(y=0.12)
    axes.set_xlabel("tokens a chunk, mean")
    _bare(axes)


def _tokenizers(axes: Axes, lines: Sequence[Line]) -> None:
    known = {(line.bins, line.vocab): line for line in lines if line.tokens is not None}
    for (bins, vocab), line in known.items():
        axes.plot([line.tokens], [line.rounding], marker="o", color=INK, linestyle="")
        axes.annotate(
            f"{bins} bins\n{vocab}",
            (line.tokens, line.rounding),
            xytext=(0, -8),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=8,
        )
    axes.margins(x=0.15, y=0.15)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tokens a chunk, mean")
    axes.set_title("The tokenizers: RMS error of rounding, normalised units", fontsize=10)
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
