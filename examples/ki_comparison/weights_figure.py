"""The error of the flow head over the weight of the FAST loss, with insulation and without, of the files beside this.

``python examples/ki_comparison/weights_figure.py`` writes ``weights.png``; after a run of one's own, give the two
``comparison.csv`` of it: with insulation first.
"""

import csv
import sys
from pathlib import Path

from matplotlib.figure import Figure

from fastki.report.figures import save
from fastki.study.training import Estimate, estimate

HERE = Path(__file__).parent
FILES = [Path(name) for name in sys.argv[1:]] or [HERE / "weights_ki.csv", HERE / "weights_joint.csv"]
COLOURS = {"ki": "#1f2937", "joint": "#d9480f"}


def errors(path: Path) -> dict[float, Estimate]:
    """Weight → error of the flow head over the seeds."""
    found: dict[float, list[float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(float(row["variant"].partition("=")[2]), []).append(float(row["flow_error"]))
    return {weight: estimate(values) for weight, values in sorted(found.items())}


figure = Figure(figsize=(5.2, 3.6), layout="constrained")
axes = figure.subplots()
for shift, (mode, path) in zip((0.96, 1.04), zip(COLOURS, FILES, strict=True), strict=True):
    known = errors(path)
    places, means = [weight * shift for weight in known], [one.mean for one in known.values()]
    reach = [(one.high or one.mean) - one.mean for one in known.values()]
    axes.errorbar(places, means, reach, color=COLOURS[mode], marker="o", capsize=3, label=mode)
    for weight, one in known.items():
        axes.plot([weight * shift] * len(one.values), one.values, ".", color=COLOURS[mode], alpha=0.4)
        print(f"{mode}, weight {weight:g}: {one.mean:.3f}")
axes.set(xscale="log", xlabel="weight of the FAST loss", ylabel="flow head's error, of the mean action's")
axes.set_xticks(list(known), [f"{weight:g}" for weight in known])
axes.minorticks_off()
axes.legend(frameon=False)
print("wrote", save(figure, (HERE if len(sys.argv) == 1 else Path()) / "weights.png"))
