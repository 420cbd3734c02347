"""What a model is given: ``Observation`` and ``Batch``, and the text padded to a fixed length with its masks.

Axis letters: B batch, P text tokens (``max_token_len``), S text segments of the layout, D action dimensions of the
model, H horizon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError
from fastki.sequence.layout import Layout
from fastki.sequence.masks import text_flags

STATE_TOKEN = -1
"""Stands in ``tokenized_prompt`` where the model puts the state as a continuous token: no tokenizer has such an id."""


@dataclass(frozen=True, eq=False)
class Observation:
    """What a policy looks at; fields and their names are openpi's, shapes the same in every batch.

    With 256 tokens of each of two cameras, 10 of a prompt, and 48 of FAST (its end included):

    >>> from fastki.sequence.layout import PRESETS
    >>> from fastki.sequence.batch import pad_and_mask
    >>> text = pad_and_mask(PRESETS["images-prompt-fast"], np.arange(58), np.array([[10, 48]]), max_token_len=64)
    >>> text.tokenized_prompt.shape, int(text.tokenized_prompt_mask.sum())
    ((1, 64), 58)
    >>> 2 * 256 + int(text.tokenized_prompt_mask.sum()), int(text.token_loss_mask.sum())
    (570, 48)
    >>> text.token_ar_mask[0].tolist() == [0] * 10 + [1] * 48 + [0] * 6
    True

    Attributes:
        images: slot → RGB uint8 ``[B, h, w, 3]``; black in a slot without a camera. Empty where none are wanted.
        image_masks: slot → bool ``[B]``, whether there is a camera.
        state: float32 ``[B, D]``, normalised, 0 in dimensions beyond the robot's.
        tokenized_prompt: int32 ``[B, P]``, all text in the layout's order; :data:`STATE_TOKEN` where the state goes
            in as a continuous token.
        tokenized_prompt_mask: bool ``[B, P]``, False for padding.
        token_ar_mask: int32 ``[B, P]``, 1 where a block begins: at every causal token.
        token_loss_mask: bool ``[B, P]``, True for tokens to be predicted: FAST's and their end.
    """

    images: Mapping[str, NDArray[np.uint8]]
    image_masks: Mapping[str, NDArray[np.bool_]]
    state: NDArray[np.float32]
    tokenized_prompt: NDArray[np.int32]
    tokenized_prompt_mask: NDArray[np.bool_]
    token_ar_mask: NDArray[np.int32]
    token_loss_mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Batch:
    """Observations with the actions to be learnt.

    Attributes:
        observation: what is seen.
        actions: float32 ``[B, H, D]``, normalised, 0 in dimensions beyond the robot's.
        actions_mask: bool ``[B, H, D]``, False there.
    """

    observation: Observation
    actions: NDArray[np.float32]
    actions_mask: NDArray[np.bool_]

    def __len__(self) -> int:
        """B."""
        return len(self.actions)


@dataclass(frozen=True, eq=False)
class Text:
    """The text of a batch; the first four fields are those of :class:`Observation`.

    Attributes:
        fast_lost: int64 ``[B]``, tokens to be predicted that were cut off.
        other_lost: int64 ``[B]``, other tokens that were.
    """

    tokenized_prompt: NDArray[np.int32]
    tokenized_prompt_mask: NDArray[np.bool_]
    token_ar_mask: NDArray[np.int32]
    token_loss_mask: NDArray[np.bool_]
    fast_lost: NDArray[np.int64]
    other_lost: NDArray[np.int64]


def pad_and_mask(
    layout: Layout,
    ids: NDArray[np.integer],
    lengths: NDArray[np.integer],
    *,
    max_token_len: int,
    pad_id: int = 0,
    opening: int = 0,
    truncate: bool = False,
) -> Text:
    """Text of any lengths as arrays of one shape, with its masks.

    Args:
        layout: whose text segments the ids are of.
        ids: of all examples end to end, int ``[sum of lengths]``.
        lengths: tokens of each example's text segments, ``[B, S]``.
        max_token_len: P.
        pad_id: fills an example up.
        opening: tokens at the head of the FAST segment that are given, not predicted.
        truncate: cut off at the end what is too long.

    Raises:
        UsageError: an example is too long, with the length needed; or the numbers do not fit.
    """
    segments = layout.text
    counts = np.asarray(lengths, np.int64)
    if counts.ndim != 2 or counts.shape[1] != len(segments) or counts.sum() != len(ids):
        raise UsageError(
            f"{len(ids)} ids do not fit lengths of shape {counts.shape}: layout {layout.name} has {len(segments)} "
            "text segments"
        )
    if max_token_len < 1:
        raise UsageError(f"--max-token-len {max_token_len} is out of range: 1 or more is needed")
    totals = counts.sum(axis=1)
    if not truncate and len(totals) and totals.max() > max_token_len:
        worst = int(totals.argmax())
        raise UsageError(
            f"example {worst} has {totals[worst]} text tokens and max_token_len is {max_token_len}: give "
            f"--max-token-len {totals.max()}, or --truncate to cut off what is too long"
        )
    width = max(max_token_len, int(totals.max(initial=0)))
    column = np.arange(width)
    ends = np.cumsum(counts, axis=1)
    place = (column >= ends[:, :-1, None]).sum(axis=1) if len(segments) else np.zeros((len(counts), width), np.int64)
    index = column - np.take_along_axis(ends - counts, place, axis=1) if len(segments) else column
    mask = column < totals[:, None]
    whole = np.full(mask.shape, pad_id, np.int32)
    whole[mask] = ids
    segment = layout.kinds.index(segments[0].kind) + place if segments else place
    is_fast = segment == (layout.kinds.index("fast") if "fast" in layout.kinds else -1)
    loss = mask & is_fast & (index >= opening)
    flags = text_flags(layout, segment, index) * mask
    kept, cut = np.s_[:, :max_token_len], np.s_[:, max_token_len:]
    return Text(
        whole[kept],
        mask[kept],
        flags[kept],
        loss[kept],
        fast_lost=loss[cut].sum(axis=1),
        other_lost=(mask & ~loss)[cut].sum(axis=1),
    )
