"""A comparison of layouts that never ran, for tables, figures and reports."""

from __future__ import annotations

import dataclasses

import numpy as np

from fastki.data import Normalizer
from fastki.sequence.layout import PRESETS
from fastki.sequence.sizes import SIZES
from fastki.study.layouts import Comparison, LayoutRow

ROW = LayoutRow(
    "images-prompt-fast",
    ("images", "prompt", "fast", "actions"),
    total_mean=650.56,
    total_p95=673.0,
    total_max=693,
    padded=949,
    padding=0.314,
    loss_mean=51.5,
    loss_share=0.079,
    text_mean=138.5,
    text_max=181,
    max_token_len=181,
    truncated=0.0,
    fast_lost=0.0,
    need_all=181,
    need_999=176,
    need_99=168,
    prefix=865,
    train_attention=405_227_225_088,
    train_flops=14_273_070_809_088,
    infer_attention=131_115_663_360,
    infer_flops=4_319_831_015_424,
    cache_bytes=15_943_680,
    usable=True,
    verdict="yes",
)
CUT = dataclasses.replace(
    ROW,
    layout="my [odd] one",
    max_token_len=160,
    truncated=0.0625,
    fast_lost=0.0056,
    usable=False,
    verdict="no: it [x]",
)
LATE = dataclasses.replace(CUT, layout="images-fast-prompt", fast_lost=0.0)
BROKEN = LayoutRow("images-fast", ("images", "fast", "actions"), error="no [state]")
TOTALS = np.array([600, 650, 660, 693])
COMPARISON = Comparison(
    rows=(ROW, CUT, LATE, BROKEN),
    layouts=(PRESETS["images-prompt-fast"], PRESETS["images-fast"]),
    totals={row.layout: TOTALS for row in (ROW, CUT, LATE)},
    chunks=4,
    episodes=1,
    horizon=16,
    cameras=2,
    size=SIZES["pi05"],
    text="byte",
    state_normalizer=Normalizer.fit(np.arange(6.0).reshape(3, 2)),
    notes=("a note",),
)
