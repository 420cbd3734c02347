"""Token sequences of a fixed length, as binning and spline coefficients have. Axis letters: N chunks, L tokens each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastki.tokenizer.base import Unknown, as_token_lists, split_unknown
from fastki.tokenizer.stream import Repairs

MISSING = -1


def read_fixed(
    tokens: Sequence[ArrayLike], length: int, vocab_size: int, on_unknown: Unknown
) -> tuple[NDArray[np.int64], Repairs]:
    """Ids int64 ``[N, L]`` of sequences that should have L, :data:`MISSING` where one is too short, and the repairs.

    Ids after the L-th are cut (``extra``), missing ones counted (``unfinished``).

    Raises:
        TokenizerError: an id outside [0, V), unless ``on_unknown="skip"``.
    """
    known, unknown = split_unknown(as_token_lists(tokens), vocab_size, on_unknown)
    ids = np.full((len(known), length), MISSING, dtype=np.int64)
    lengths = known.lengths
    present = np.arange(length) < lengths[:, None]
    kept = np.arange(len(known.values)) - np.repeat(known.offsets[:-1], lengths) < length
    ids[present] = known.values[kept]
    repairs = Repairs.none(
        len(known), extra=np.maximum(lengths - length, 0), unfinished=np.maximum(length - lengths, 0)
    )
    return ids, repairs if unknown is None else dataclasses.replace(repairs, unknown=unknown)
