"""The figure of `docs/precision.md`: tokens over error, fastki against the public FAST algorithm on real chunks.

    python -m benchmarks.precision [--data PATH] [--out FILE.png]

Left: tokens over RMS error, as the scale varies. Right: tokens over the bound that every held-out value keeps; the
reference gets the coarsest scale at which these very chunks happen to keep it. Curves end where the reference fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.cells import FULL, Shape, Split, default_data, identity, load_splits
from benchmarks.reference import RangeError, ReferenceFast
from benchmarks.speed import rmse
from benchmarks.timing import say
from benchmarks.tokens import coarsest_scale, mean_length
from fastki.data import open_dataset
from fastki.report.figures import ACCENT, INK, save
from fastki.tokenizer import FastTokenizer

SHAPE, VOCAB = Shape(16, 8), 1024
SCALES = (5, 7, 10, 14, 20, 28, 40, 57, 80, 113)
BOUNDS = (0.08, 0.04, 0.02, 0.01, 0.005)
Curve = list[tuple[float, float]]

VARIANTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "fastki": ({}, ACCENT, "o-"),
    "fastki --rdo 0.1": ({"rdo": 0.1}, ACCENT, "^:"),
    "fastki --order dim": ({"order": "dim"}, ACCENT, "s--"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, draw and print the curves."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=default_data(), help="dataset (default: %(default)s)")
    parser.add_argument("--out", default="docs/precision.png", help="figure (default: %(default)s)")
    options = parser.parse_args(arguments)
    split = load_splits(open_dataset(options.data), replace(FULL, shapes=(SHAPE,), study_shapes=(SHAPE,)))[SHAPE]
    rounding = {"reference": reference_by_scale(split)}
    rounding |= {name: ours_by_scale(split, **settings) for name, (settings, _, _) in VARIANTS.items()}
    bound = {"reference": reference_by_bound(split), "fastki --atol": ours_by_bound(split)}
    for title, curves in (("RMSE", rounding), ("bound", bound)):
        for name, curve in curves.items():
            print(title, name, " ".join(f"{error:.4g}:{tokens:.2f}" for error, tokens in curve))
    save(draw(rounding, bound), Path(options.out))
    return 0


def reference_by_scale(split: Split) -> Curve:
    """(RMSE, tokens) of the reference at each scale that it can do."""
    curve: Curve = []
    for scale in SCALES:
        say(f"reference at scale {scale}")
        try:
            tokenizer = ReferenceFast.fit(split.fitted, scale=scale, vocab_size=VOCAB)
        except RangeError:
            break
        ids = tokenizer.encode(split.heldout)
        curve.append((rmse(tokenizer.decode(ids), split.heldout), mean_length(ids)))
    return curve


def ours_by_scale(split: Split, **settings: Any) -> Curve:
    """(RMSE, tokens) of fastki at each scale."""
    curve: Curve = []
    for scale in SCALES:
        say(f"fastki at scale {scale} {settings or ''}")
        tokenizer = _fit(split, scale=scale, **settings)
        ids = tokenizer.encode_normalized(split.heldout)
        curve.append((rmse(tokenizer.decode_normalized(ids), split.heldout), mean_length(ids)))
    return curve


def reference_by_bound(split: Split) -> Curve:
    """(bound, tokens) of the reference at the coarsest scale that keeps it on the held-out chunks."""
    curve: Curve = []
    for atol in BOUNDS:
        scale = coarsest_scale(split.heldout, atol)
        say(f"reference within {atol}: scale {scale}")
        try:
            tokenizer = ReferenceFast.fit(split.fitted, scale=scale, vocab_size=VOCAB)
        except RangeError:
            break
        curve.append((atol, mean_length(tokenizer.encode(split.heldout))))
    return curve


def ours_by_bound(split: Split) -> Curve:
    """(bound, tokens) of fastki, which keeps it by construction."""
    curve: Curve = []
    for atol in BOUNDS:
        say(f"fastki within {atol}")
        tokenizer = _fit(split, atol=atol)
        curve.append((atol, mean_length(tokenizer.encode_normalized(split.heldout))))
    return curve


def _fit(split: Split, **settings: Any) -> FastTokenizer:
    return FastTokenizer.fit(split.fitted, normalizer=identity(SHAPE.action_dim), vocab_size=VOCAB, **settings)


def draw(rounding: dict[str, Curve], bound: dict[str, Curve]) -> Figure:
    """Both panels."""
    figure = Figure(figsize=(11, 4.4))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, curves, ticks in ((left, rounding, (0.02, 0.01, 0.005, 0.0025)), (right, bound, BOUNDS)):
        for name, curve in curves.items():
            _, colour, style = VARIANTS.get(name, ({}, ACCENT if name.startswith("fastki") else INK, "o-"))
            axes.plot(*zip(*curve, strict=True), style, color=colour, label=name, markersize=5)
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.invert_xaxis()
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="upper left")
    if len(bound["reference"]) < len(BOUNDS):
        last = bound["reference"][-1]
        right.annotate("fails beyond: more coefficients\nthan vocabulary", last, (0, 8), textcoords="offset points")
    left.set_xlabel("RMS error of held-out values, normalised units")
    right.set_xlabel("bound that every held-out value keeps, normalised units")
    left.set_ylabel("tokens a chunk")
    figure.suptitle(f"{SHAPE.horizon} actions × {SHAPE.action_dim} dimensions, vocabulary {VOCAB}", fontsize=11)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    sys.exit(main())
