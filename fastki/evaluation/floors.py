"""What needs no policy, on the same frames: what a policy must beat, and what it can't.

Axis letters: B frames, H horizon, A action dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastki.evaluation.frames import Recorded
from fastki.tokenizer import ActionTokenizer

MEAN, HOLD, ROUND_TRIP = "mean action", "hold last action", "tokenizer"
FLOORS = (MEAN, HOLD, ROUND_TRIP)


def floors(tokenizer: ActionTokenizer, batch: Recorded) -> dict[str, NDArray[np.float64]]:
    """Floor → the chunks that it gives, float64 ``[B, H, A]``, normalised units.

    The mean action of the training data; the action before the frame, held; the recorded actions, written as tokens
    and read again: what the tokenizer itself loses.

    Args:
        tokenizer: with its normaliser.
        batch: B frames.

    Raises:
        TokenizerError: actions that the tokenizer can't write.
    """
    normalizer = tokenizer.normalizer
    assert normalizer is not None, "a policy's tokenizer has one"
    shape = batch.actions.shape
    before = np.stack([np.asarray(frame.previous, np.float64) for frame in batch.frames]) - batch.reference
    # As in training, where a tokenizer that clips is given clipped actions.
    previous = normalizer.normalize(before)
    tokens = tokenizer.encode_normalized(normalizer.normalize(batch.actions), previous=previous)
    decoded = tokenizer.decode_normalized_report(tokens, horizon=shape[1], action_dim=shape[2], previous=previous)
    held = normalizer.normalize(before, clip=False)
    return {
        MEAN: np.broadcast_to(normalizer.normalize(normalizer.stats.mean, clip=False), shape),
        HOLD: np.broadcast_to(held[:, None], shape),
        ROUND_TRIP: decoded.actions,
    }
