"""What follows from a layout: who sees whom, positions, flags, loss weights. The one place that derives them.

Two rules of knowledge insulation hold whatever the layout:

- The action expert's tokens and the FAST tokens never see each other. What stands after FAST has seen it, so the
  expert does not see that either: else it would read in training what it lacks at inference.
- The expert's positions go on from the context as though no FAST token stood there.

Axis letters: B batch, L tokens of the sequence, I tokens of all images, P those of the text, H of the actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastki.errors import UsageError
from fastki.sequence.layout import Layout

Array = Any
"""A NumPy array, or another library's with the same operators, such as JAX's."""


@dataclass(frozen=True, eq=False)
class Places:
    """What the rules need to know of each token of a sequence, in the order of the layout.

    Attributes:
        block: integers ``[..., L]``, never falling; a token sees its own block and those below.
        valid: bool ``[..., L]``, False for padding.
        fast: bool ``[..., L]``, tokens of the FAST segment.
        tainted: bool ``[..., L]``, tokens that see FAST: its own, and those after.
        expert: bool ``[..., L]``, the noisy actions.
    """

    block: Array
    valid: Array
    fast: Array
    tainted: Array
    expert: Array

    def attention(self) -> Array:
        """Who sees whom, bool ``[..., L, L]``; rows are queries. Padding neither sees nor is seen."""
        seen = self.block[..., None, :] <= self.block[..., :, None]
        real = self.valid[..., None, :] & self.valid[..., :, None]
        apart = (self.expert[..., :, None] & self.tainted[..., None, :]) | (
            self.tainted[..., :, None] & self.expert[..., None, :]
        )
        return seen & real & ~apart

    def positions(self, xp: Any = np) -> Array:
        """int32 ``[..., L]`` from 0; padding takes none, and has that of the token before it (−1 if none is).

        ``xp`` is the library of the arrays: ``numpy``, ``jax.numpy``.
        """
        backbone = self.valid & ~self.expert
        start = xp.sum(backbone & ~self.fast, axis=-1, keepdims=True)
        own = xp.cumsum(self.valid & self.expert, axis=-1) + start
        return (xp.where(self.expert, own, xp.cumsum(backbone, axis=-1)) - 1).astype(xp.int32)


def places(layout: Layout, lengths: Sequence[int], valid: ArrayLike | None = None) -> Places:
    """The places of a sequence.

    Args:
        layout: the segments.
        lengths: how many tokens each has.
        valid: bool ``[..., L]`` with L their sum; None: no padding.

    Raises:
        UsageError: the numbers do not fit.
    """
    segment, index = _segments(layout, lengths)
    mask = np.ones(len(segment), bool) if valid is None else np.asarray(valid, bool)
    if mask.shape[-1:] != segment.shape:
        raise UsageError(f"valid has shape {mask.shape}, but the segments have {len(segment)} tokens in all")
    kinds = np.array(layout.kinds)[segment]
    fast = layout.kinds.index("fast") if "fast" in layout.kinds else len(layout.kinds)
    expert = kinds == "actions"
    shape = mask.shape
    return Places(
        block=np.broadcast_to(_blocks(layout, segment, index), shape),
        valid=mask,
        fast=np.broadcast_to(kinds == "fast", shape),
        tainted=np.broadcast_to((segment >= fast) & ~expert, shape),
        expert=np.broadcast_to(expert, shape),
    )


def attention_mask(layout: Layout, lengths: Sequence[int], valid: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Who sees whom, bool ``[..., L, L]`` (rows are queries); see :func:`places`.

    >>> from fastki.sequence.layout import PRESETS
    >>> attention_mask(PRESETS["images-prompt-fast"], (1, 1, 2, 1)).astype(int)
    array([[1, 1, 0, 0, 0],
           [1, 1, 0, 0, 0],
           [1, 1, 1, 0, 0],
           [1, 1, 1, 1, 0],
           [1, 1, 0, 0, 1]])
    """
    mask: NDArray[np.bool_] = places(layout, lengths, valid).attention()
    return mask


def positions(layout: Layout, lengths: Sequence[int], valid: ArrayLike | None = None) -> NDArray[np.int32]:
    """The position of each token, int32 ``[..., L]``; see :func:`places`.

    >>> from fastki.sequence.layout import PRESETS
    >>> positions(PRESETS["images-prompt-fast"], (2, 1, 3, 2)).tolist()
    [0, 1, 2, 3, 4, 5, 3, 4]
    """
    result: NDArray[np.int32] = places(layout, lengths, valid).positions()
    return result


def ar_flags(layout: Layout, lengths: Sequence[int]) -> NDArray[np.int32]:
    """openpi's ``ar_mask`` of the whole sequence, int32 ``[L]``: 1 where a block begins, but for the very first.

    A causal segment that stands first has 1 throughout, as openpi writes it.
    """
    segment, index = _segments(layout, lengths)
    return _flags(_blocks(layout, segment, index), before=_before(layout))


def loss_weights(
    layout: Layout, lengths: Sequence[int], valid: ArrayLike | None = None, *, opening: int = 0
) -> NDArray[np.float32]:
    """How much each token counts in its loss, float32 ``[..., L]``.

    FAST tokens: one over their number, whichever it is, so that a long chunk weighs as much as a short one. Actions:
    1/H. All else, padding and the ``opening`` first tokens of FAST: 0.
    """
    where = places(layout, lengths, valid)
    begin = int(np.argmax(where.fast.reshape(-1, where.fast.shape[-1])[0])) if np.any(where.fast) else 0
    late = np.arange(where.fast.shape[-1]) >= begin + opening
    weights = np.zeros(where.valid.shape, np.float32)
    for chosen in (where.fast & where.valid & late, where.expert & where.valid):
        weights += chosen / np.maximum(chosen.sum(axis=-1, keepdims=True), 1)
    return weights


def make_attention(valid: Array, flags: Array, xp: Any = np) -> Array:
    """Who sees whom by openpi's flags alone, without KI's rules, bool ``[..., L, L]``.

    Args:
        valid: bool ``[..., L]``.
        flags: ``[L]`` or ``[..., L]``, true where a block begins.
        xp: the library of the arrays.
    """
    block = xp.broadcast_to(xp.cumsum(flags, axis=-1), valid.shape)
    nobody = xp.zeros_like(valid)
    return Places(block, valid, nobody, nobody, nobody).attention()


def places_of_text(
    layout: Layout,
    *,
    image_valid: Array,
    text_valid: Array,
    text_flags: Array,
    text_loss: Array,
    horizon: int,
    xp: Any = np,
) -> Places:
    """The places of a batch's sequence, images | text | actions, from its own fields; works inside ``jax.jit``.

    Args:
        layout: that the batch was made by.
        image_valid: bool ``[B, I]``.
        text_valid, text_flags, text_loss: ``tokenized_prompt_mask``, ``token_ar_mask``, ``token_loss_mask``,
            ``[B, P]``.
        horizon: H, 0 for a layout without actions or to leave them out.
        xp: the library of the arrays.
    """
    images = layout.find("images")
    size, count = image_valid.shape
    actions = layout.find("actions")
    causal = actions is not None and actions.causal
    image_flags = xp.full((size, count), images is not None and images.causal, dtype=xp.int32)
    action_flags = xp.full((size, horizon), causal, dtype=xp.int32)
    first = (xp.arange(horizon) == 0).astype(xp.int32)
    flags = xp.concatenate([image_flags, text_flags.astype(xp.int32), xp.maximum(action_flags, first)], axis=1)
    learnt = text_loss.astype(xp.int32)
    tainted = xp.cumsum(learnt, axis=1) > 0
    if layout.opens_with_fast:
        tainted = xp.ones_like(tainted)
    still_fast = xp.cumsum(learnt[:, ::-1], axis=1)[:, ::-1] > 0
    text, none = xp.zeros((size, count), dtype=bool), xp.zeros((size, horizon), dtype=bool)
    return Places(
        block=xp.cumsum(flags, axis=1),
        valid=xp.concatenate([image_valid, text_valid, ~none], axis=1),
        fast=xp.concatenate([text, tainted & still_fast, none], axis=1),
        tainted=xp.concatenate([text, tainted, none], axis=1),
        expert=xp.concatenate([text, xp.zeros_like(tainted), ~none], axis=1),
    )


def text_flags(layout: Layout, segment: NDArray[np.integer], index: NDArray[np.integer]) -> NDArray[np.int32]:
    """``token_ar_mask`` of text tokens, int32 ``[..., P]``; what came before them is the images, or nothing.

    Args:
        layout: the segments.
        segment: place of each token's segment among the layout's, ``[..., P]``.
        index: of each token in its segment, ``[..., P]``.
    """
    return _flags(_blocks(layout, segment, index), before=_before(layout))


_STRIDE = 1 << 20
"""More than a segment's tokens: blocks of different groups do not mix."""


def _segments(layout: Layout, lengths: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each token its segment's place in the layout, and its own in the segment, ``[L]``."""
    if len(lengths) != len(layout.segments) or min(lengths, default=0) < 0 or max(lengths, default=0) >= _STRIDE:
        raise UsageError(
            f"layout {layout.name} has {len(layout.segments)} segments ({', '.join(layout.kinds)}): give as many "
            f"lengths from 0 to {_STRIDE - 1}, not {list(lengths)}"
        )
    segment = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    return segment, np.arange(len(segment)) - starts[segment]


def _groups(layout: Layout) -> NDArray[np.int64]:
    """For each segment the number of its group: neighbours that are bidirectional share one unless one begins its own.

    The expert is always a group of its own, as no segment before may see it.
    """
    groups = [0]
    for before, segment in zip(layout.segments, layout.segments[1:], strict=False):
        apart = segment.causal or before.causal or segment.own_block or segment.kind == "actions"
        groups.append(groups[-1] + apart)
    return np.array(groups)


def _blocks(layout: Layout, segment: NDArray[np.integer], index: NDArray[np.integer]) -> NDArray[np.int64]:
    causal = np.array([one.causal for one in layout.segments])
    blocks: NDArray[np.int64] = _groups(layout)[segment] * _STRIDE + index * causal[segment]
    return blocks


def _flags(blocks: NDArray[np.int64], *, before: int) -> NDArray[np.int32]:
    """1 where the block is another than that of the token before, int32 ``[..., L]``."""
    first = np.full((*blocks.shape[:-1], 1), before, np.int64)
    flags: NDArray[np.int32] = (np.diff(blocks, axis=-1, prepend=first) != 0).astype(np.int32)
    return flags


def _before(layout: Layout) -> int:
    """The block that flags start from: a causal segment that stands first has 1 at its first token too."""
    return -1 if layout.segments[0].causal else 0
