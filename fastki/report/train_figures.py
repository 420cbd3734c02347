"""Figures of a training run: losses and gradient norms over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastki.report.figures import ACCENT, INK
from fastki.training.metrics import HELDOUT, smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
_LOSSES = (
    ("flow_loss", "flow loss", "mean square error of the velocity"),
    ("fast_loss", "cross-entropy", "nats per FAST token"),
    ("nats_per_value", "nats per action value", "nats"),
    ("token_accuracy", "token accuracy", "share of tokens"),
)
_COLORS = {"tower": "#2471a3", "embedder": "#1e8449", "backbone": INK, "expert": ACCENT}


def loss_curves(rows: Sequence[Row]) -> Figure:
    """Each loss over steps, faint as it came and strong smoothed; points where held-out episodes were measured.

    Args:
        rows: of ``metrics.jsonl``, in order.
    """
    from matplotlib.figure import Figure

    shown = [entry for entry in _LOSSES if any(entry[0] in row for row in rows)]
    figure = Figure(figsize=(4.6 * max(1, len(shown)), 3.4), layout="constrained")
    axes = figure.subplots(1, max(1, len(shown)), squeeze=False)[0]
    for axis, (name, title, unit) in zip(axes, shown, strict=False):
        _curve(axis, rows, name, INK, "training, smoothed")
        if held := [(row["step"], row[HELDOUT + name]) for row in rows if HELDOUT + name in row]:
            axis.plot(*zip(*held, strict=True), color=ACCENT, marker="o", markersize=4, linewidth=1.2, label="held out")
            axis.legend(fontsize=8, frameon=False)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step")
        axis.set_ylabel(unit)
        _bare(axis)
    return figure


def gradient_norms(rows: Sequence[Row]) -> Figure:
    """The gradient's norm by part of the model, before clipping, on a logarithmic scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    for part, color in _COLORS.items():
        if any(row.get(f"grad_norm/{part}", 0) > 0 for row in rows):
            _curve(axis, rows, f"grad_norm/{part}", color, part)
    axis.set_yscale("log")
    axis.set_xlabel("step")
    axis.set_ylabel("L2 norm of the gradient")
    axis.legend(fontsize=8, frameon=False)
    _bare(axis)
    return figure


def _curve(axis: Axes, rows: Sequence[Row], name: str, color: str, label: str) -> None:
    points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    steps, values = [step for step, _ in points], [value for _, value in points]
    axis.plot(steps, values, color=color, alpha=0.2, linewidth=0.8)
    window = max(1, len(values) // 40)
    axis.plot(steps, list(smoothed(values, window)), color=color, linewidth=1.6, label=label)


def _bare(axis: Axes) -> None:
    axis.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
