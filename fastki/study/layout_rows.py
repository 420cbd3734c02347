"""One layout on a sample: how long its sequences get, what of them carries loss, and what they cost.

Axis letters: N chunks, S text segments of a layout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.errors import FastkiError
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import Layout
from fastki.sequence.sizes import Cost, cache_bytes, inference_cost, training_cost
from fastki.sequence.wording import Wording
from fastki.study.layout_options import LayoutOptions
from fastki.study.layout_sample import LayoutSample
from fastki.study.layout_usability import usability

CUTS = (0.0, 0.001, 0.01)
"""Shares of examples that may be truncated, for which the smallest ``max_token_len`` is told."""


@dataclass(frozen=True)
class LayoutRow:
    """One layout on the data. None: it has no such thing, or could not be measured.

    Lengths are of the backbone's tokens, pictures and text; the noisy actions come on top.

    Attributes:
        layout: its name; segments: its kinds, in order.
        total_mean, total_p95, total_max: tokens of an example, padding not counted, after any truncation.
        padded: tokens of an example with padding: every camera slot, and ``max_token_len``.
        padding: share of those that is padding, on average.
        loss_mean: tokens to be predicted; loss_share: of an example's tokens.
        text_mean, text_max: tokens of text before any truncation.
        max_token_len: text tokens that an example has room for.
        truncated: share of the examples that are longer.
        fast_lost: share of the tokens to be predicted that this costs.
        need_all, need_999, need_99: the smallest ``max_token_len`` that truncates none, 0.1 % and 1 % of the examples.
        prefix: tokens at inference, padded: pictures and the text before FAST.
        train_attention, train_flops: of a training step, per example, FLOPs.
        infer_attention, infer_flops: of one chunk by the flow.
        cache_bytes: of the key/value cache at inference, per example.
        usable: whether the expert can act as the layout stands; verdict: in words.
        error: why it could not be measured.
    """

    layout: str
    segments: tuple[str, ...]
    total_mean: float | None = None
    total_p95: float | None = None
    total_max: int | None = None
    padded: int | None = None
    padding: float | None = None
    loss_mean: float | None = None
    loss_share: float | None = None
    text_mean: float | None = None
    text_max: int | None = None
    max_token_len: int | None = None
    truncated: float | None = None
    fast_lost: float | None = None
    need_all: int | None = None
    need_999: int | None = None
    need_99: int | None = None
    prefix: int | None = None
    train_attention: int | None = None
    train_flops: int | None = None
    infer_attention: int | None = None
    infer_flops: int | None = None
    cache_bytes: int | None = None
    usable: bool | None = None
    verdict: str = ""
    error: str | None = None


def layout_row(
    layout: Layout, sample: LayoutSample, ids: FastIds, options: LayoutOptions
) -> tuple[LayoutRow, NDArray[np.int64] | None]:
    """The row of a layout, and the tokens of each example before any truncation."""
    if layout.state_form != "none" and sample.states is None:
        why = "it shows the state, and the data have none: choose one with --state-key KEY"
        return LayoutRow(layout.name, layout.kinds, error=why), None
    try:
        wording = Wording(layout, options.text, ids)
        _, lengths = wording.encode(sample.prompts, sample.states, sample.fast)
    except FastkiError as error:
        return LayoutRow(layout.name, layout.kinds, error=str(error)), None
    pictures = sample.cameras * options.size.vision.tokens * (layout.find("images") is not None)
    row = _row(layout, lengths, wording.opening, pictures, sample.horizon, options)
    return row, pictures + lengths.sum(axis=1)


def _row(
    layout: Layout,
    lengths: NDArray[np.int64],
    opening: int,
    pictures: NDArray[np.int64],
    horizon: int,
    options: LayoutOptions,
) -> LayoutRow:
    text = lengths.sum(axis=1)
    needs = [_need(text, share) for share in CUTS]
    room = options.max_token_len or max(1, needs[0])
    slots = options.size.cameras if layout.find("images") is not None else 0
    padded = slots * options.size.vision.tokens + room
    totals = pictures + np.minimum(text, room)
    wanted, kept = _learnt(layout, lengths, opening, room)
    prefix = min(room, int(_before_fast(layout, lengths).max(initial=0)))
    usable, verdict = usability(layout)
    train, infer = _costs(layout, slots, room, prefix, horizon, options)
    return LayoutRow(
        layout.name,
        layout.kinds,
        total_mean=float(totals.mean()),
        total_p95=float(np.percentile(totals, 95)),
        total_max=int(totals.max()),
        padded=padded,
        padding=float(1 - totals.mean() / padded),
        loss_mean=float(kept.mean()),
        loss_share=float(kept.sum() / max(1, totals.sum())),
        text_mean=float(text.mean()),
        text_max=int(text.max()),
        max_token_len=room,
        truncated=float((text > room).mean()),
        fast_lost=float(1 - kept.sum() / wanted.sum()) if wanted.any() else 0.0,
        need_all=needs[0],
        need_999=needs[1],
        need_99=needs[2],
        prefix=slots * options.size.vision.tokens + prefix,
        train_attention=train.attention,
        train_flops=train.total,
        infer_attention=None if infer is None else infer.attention,
        infer_flops=None if infer is None else infer.total,
        cache_bytes=cache_bytes(options.size, slots * options.size.vision.tokens + prefix),
        usable=usable,
        verdict=verdict,
    )


def _need(lengths: NDArray[np.int64], share: float) -> int:
    """The smallest length that at most ``share`` of the examples exceed.

    >>> _need(np.array([5, 7, 9, 9]), 0.0), _need(np.array([5, 7, 9, 9]), 0.5), _need(np.array([5, 7, 9, 9]), 0.25)
    (9, 7, 9)
    """
    ordered = np.sort(lengths)
    may_exceed = int(np.floor(share * len(ordered) + 1e-9))
    return int(ordered[len(ordered) - 1 - may_exceed])


def _learnt(
    layout: Layout, lengths: NDArray[np.int64], opening: int, room: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens to be predicted of each example, and how many of them truncation leaves."""
    kinds = [segment.kind for segment in layout.text]
    if "fast" not in kinds:
        none = np.zeros(len(lengths), np.int64)
        return none, none
    place = kinds.index("fast")
    end = lengths[:, : place + 1].sum(axis=1)
    start = np.minimum(end - lengths[:, place] + opening, end)
    return end - start, np.maximum(np.minimum(end, room) - start, 0)


def _before_fast(layout: Layout, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens of text that the expert sees."""
    seen = [segment.kind in layout.prompts_expert() for segment in layout.text]
    counts: NDArray[np.int64] = lengths[:, seen].sum(axis=1)
    return counts


def _costs(
    layout: Layout, slots: int, room: int, prefix: int, horizon: int, options: LayoutOptions
) -> tuple[Cost, Cost | None]:
    acts = layout.find("actions") is not None
    logits = room if layout.find("fast") is not None else 0
    train = training_cost(
        options.size,
        images=slots,
        text=room,
        horizon=horizon if acts else 0,
        logits=logits,
        vocab=options.text_vocab,
    )
    if not acts:
        return train, None
    return train, inference_cost(options.size, images=slots, text=prefix, horizon=horizon)
