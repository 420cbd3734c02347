"""Learning curves of compared training runs, the mean over seeds with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastki.report.compare_tables import HEADINGS
from fastki.study.training import Compared, TrainingComparison, estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CURVES = {"flow_loss": "flow loss", "nats_per_value": "nats per action value"}
_BARS = ("flow_error", "fast_error")
# Told apart in greyscale too, by their marks.
_STYLES = (("#22313f", "o"), ("#d35400", "s"), ("#2471a3", "^"), ("#1e8449", "D"), ("#7d3c98", "v"), ("#7f8c8d", "x"))


def learning_curves(found: TrainingComparison) -> Figure:
    """Held-out losses over steps, and the final action errors, a colour a variant."""
    from matplotlib.figure import Figure

    curves = [name for name in _CURVES if any(_points(one, name) for one in found.variants)]
    bars = [name for name in _BARS if any(name in one.estimates for one in found.variants)]
    panels = max(1, len(curves) + len(bars))
    figure = Figure(figsize=(4.4 * panels, 3.6), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for axis, name in zip(axes, curves, strict=False):
        _draw_curves(axis, found, name)
    for axis, name in zip(axes[len(curves) :], bars, strict=False):
        _draw_errors(axis, found, name)
    return figure


def _draw_curves(axis: Axes, found: TrainingComparison, metric: str) -> None:
    for place, one in enumerate(found.variants):
        points = _points(one, metric)
        if not points:
            continue
        color, mark = _STYLES[place % len(_STYLES)]
        steps = sorted(points)
        estimates = [estimate(points[step]) for step in steps]
        axis.plot(steps, [value.mean for value in estimates], color=color, marker=mark, markersize=4, label=_name(one))
        if all(value.low is not None for value in estimates):
            low = [value.low or 0.0 for value in estimates]
            high = [value.high or 0.0 for value in estimates]
            axis.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
    axis.set_title(f"{_CURVES[metric]}, held out", fontsize=10)
    axis.set_xlabel("step")
    axis.legend(fontsize=8, frameon=False)
    _bare(axis)


def _draw_errors(axis: Axes, found: TrainingComparison, metric: str) -> None:
    shown = [(place, one) for place, one in enumerate(found.variants) if metric in one.estimates]
    for row, (place, one) in enumerate(shown):
        color, mark = _STYLES[place % len(_STYLES)]
        value = one.estimates[metric]
        axis.plot(value.values, [row] * len(value.values), linestyle="", marker=mark, color=color, alpha=0.35)
        reach = None if value.low is None else [[value.mean - value.low], [(value.high or 0.0) - value.mean]]
        axis.errorbar([value.mean], [row], xerr=reach, color=color, marker=mark, capsize=4)
    axis.set_yticks(range(len(shown)), [_name(one) for _, one in shown])
    axis.set_ylim(len(shown) - 0.5, -0.5)
    axis.axvline(1.0, color="#7f8c8d", linestyle=":", linewidth=1)
    axis.set_title(HEADINGS[metric], fontsize=10)
    axis.set_xlabel("mean absolute error; 1 knows nothing")
    _bare(axis)


def _points(one: Compared, metric: str) -> dict[int, list[float]]:
    """Step → the values of all seeds that have one there."""
    points: dict[int, list[float]] = {}
    for curve in one.curves:
        for point in curve:
            if metric in point:
                points.setdefault(int(point["step"]), []).append(point[metric])
    return points


def _name(one: Compared) -> str:
    """As it stands: a dollar sign would begin a formula."""
    return one.name.replace("$", r"\$")


def _bare(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
