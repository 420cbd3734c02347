"""Per-dimension binning: one token for each step and dimension, as RT-2 and OpenVLA write actions.

RT-2 (Brohan et al. 2023, §3.2) cuts each dimension into 256 uniform bins; OpenVLA (Kim et al. 2024, §3.2) does so
between the 1st and the 99th percentile, which is [-1, 1] here under ``quantile`` normalisation. Values outside are
clipped, and what that loses counts as error. (OpenVLA's code spaces 256 bin edges, so that it has 255 bins; here
``bins`` bins are ``bins`` bins.)

Axis letters: N chunks, H horizon, A action dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastki.data import Normalizer
from fastki.errors import UsageError
from fastki.tokenizer.base import ActionTokenizer, Decoded, DecodeOptions, as_chunks
from fastki.tokenizer.codec import require_finite
from fastki.tokenizer.fixed import MISSING, read_fixed

MIN_BINS, MAX_BINS = 2, 1 << 16


@dataclass(frozen=True)
class BinningTokenizer(ActionTokenizer):
    """H·A tokens a chunk, step by step; ids 0 … bins − 1 are shared by all dimensions.

    >>> import numpy as np
    >>> tokenizer = BinningTokenizer(bins=4, fitted_horizon=1, fitted_action_dim=3)
    >>> tokenizer.encode_normalized(np.array([[-1.0, 0.1, 7.0]]))[0].tolist()
    [0, 2, 3]
    >>> tokenizer.decode_normalized([[0, 2, 3]]).tolist()
    [[[-0.75, 0.25, 0.75]]]

    Attributes:
        bins: over [-1, 1] in each dimension, 2 … 65,536; a value decodes to the middle of its bin.
        fitted_horizon: H.
        fitted_action_dim: A.
        normalizer: native ⇄ normalised units, or None.
    """

    bins: int
    fitted_horizon: int
    fitted_action_dim: int
    normalizer: Normalizer | None = None

    def __post_init__(self) -> None:
        require_bins(self.bins, MIN_BINS)

    @property
    def method(self) -> str:
        return "binning"

    @property
    def vocab_size(self) -> int:
        return self.bins

    @property
    def horizon(self) -> int:
        return self.fitted_horizon

    @property
    def action_dim(self) -> int:
        return self.fitted_action_dim

    def encode_normalized(self, actions: ArrayLike, *, previous: ArrayLike | None = None) -> list[NDArray[np.int32]]:
        chunks = as_chunks(actions)
        require_finite(chunks)
        ids = np.floor((np.clip(chunks, -1.0, 1.0) + 1) * (self.bins / 2)).astype(np.int32)
        return list(np.minimum(ids, self.bins - 1).reshape(len(chunks), -1))

    def decode_normalized_report(self, tokens: Sequence[ArrayLike], **options: Unpack[DecodeOptions]) -> Decoded:
        horizon = options.get("horizon") or self.horizon
        action_dim = options.get("action_dim") or self.action_dim
        ids, repairs = read_fixed(tokens, horizon * action_dim, self.bins, options.get("on_unknown", "error"))
        values = np.where(ids == MISSING, 0.0, (ids + 0.5) * (2 / self.bins) - 1)
        return Decoded(values.reshape(-1, horizon, action_dim), repairs)


def require_bins(bins: float, least: int) -> None:
    """Refuse a number of bins that is no whole number from ``least`` to 65,536.

    Raises:
        UsageError: it is not.
    """
    if not (math.isfinite(bins) and bins == int(bins) and least <= bins <= MAX_BINS):
        raise UsageError(f"bins must be a whole number in [{least}, {MAX_BINS}] for one token a bin, not {bins:g}")
