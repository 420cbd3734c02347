"""Normalised chunks ⇄ symbol streams: DCT, quantisation and stream, everything of FAST but its BPE.

Axis letters: N chunks, H horizon, A action dimensions.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastki.errors import TokenizerError, UsageError
from fastki.tokenizer.bound import quantize_within
from fastki.tokenizer.dct import dct, dct_matrix
from fastki.tokenizer.ragged import Ragged
from fastki.tokenizer.rounding import round_for_rate, round_with_dead_zone
from fastki.tokenizer.stream import (
    MAX_COEFFICIENT,
    Alphabet,
    Order,
    Repairs,
    read_stream,
    write_stream,
)

MAX_HORIZON = 4096
MAX_ACTION_DIM = 4096

Reference = Literal["none", "previous"]
REFERENCES: tuple[Reference, ...] = ("none", "previous")


@dataclass(frozen=True)
class Codec:
    """The parameters that fix which integers a chunk becomes.

    Attributes:
        horizon: H, actions in a chunk.
        action_dim: A, dimensions of an action.
        scale: γ > 0; a coefficient is ``rint(γ · DCT-II_ortho(chunk))`` (FAST, Pertsch et al. 2025, §IV-B), so
            that the quantisation step is 1/γ in normalised units and ``bins = 2γ`` steps span [-1, 1].
        literals: m, coefficients in [-m, m] are one symbol each, others are escaped.
        order: of the coefficients in the stream, ``freq`` (FAST's) or ``dim``.
        atol: a bound on every value's absolute error, normalised units, that the encoder verifies and keeps chunk
            by chunk; None rounds each coefficient to the nearest step and promises nothing.
        reference: ``previous`` writes a chunk relative to the action before it, which the decoder then needs too.
        deadzone: added to the half step below which a coefficient becomes 0, in steps, 0 to 0.5; not with ``atol``.
        rdo: squared error, in steps², that one bit is worth in rate–distortion-optimised rounding; 0 rounds to the
            nearest; not with ``atol`` or ``deadzone``.
        zero_share: H shares in (0, 1), what rdo's estimate of bits rests on; see ``rounding.zero_shares``.
    """

    horizon: int
    action_dim: int
    scale: float
    literals: int
    order: Order = "freq"
    atol: float | None = None
    reference: Reference = "none"
    deadzone: float = 0.0
    rdo: float = 0.0
    zero_share: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.horizon <= MAX_HORIZON:
            raise UsageError(f"the horizon must lie in [1, {MAX_HORIZON}], not {self.horizon}")
        if not 1 <= self.action_dim <= MAX_ACTION_DIM:
            raise UsageError(f"the action dimension must lie in [1, {MAX_ACTION_DIM}], not {self.action_dim}")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise UsageError(f"the scale must be a positive number, not {self.scale}")
        if self.atol is not None and not (math.isfinite(self.atol) and self.atol > 0):
            raise UsageError(f"atol must be a positive number, not {self.atol}")
        if self.reference not in REFERENCES:
            raise UsageError(f"--reference {self.reference!r} is unknown: use {' or '.join(REFERENCES)}")
        self._check_rounding()
        Alphabet(self.literals, self.order)

    def _check_rounding(self) -> None:
        if not 0 <= self.deadzone <= 0.5:
            raise UsageError(f"--deadzone must lie in [0, 0.5] steps, not {self.deadzone}")
        if not 0 <= self.rdo < math.inf:
            raise UsageError(f"--rdo must be 0 or more, not {self.rdo}: about 0.1 balances error and length")
        chosen = [
            name
            for name, used in (("--atol", self.atol is not None), ("--deadzone", self.deadzone), ("--rdo", self.rdo))
            if used
        ]
        if len(chosen) > 1:
            raise UsageError(
                f"{' and '.join(chosen)} round coefficients in different ways: give one of them"
                + (" (with --bins or --scale instead of --atol)" if "--atol" in chosen else "")
            )
        shares = self.zero_share
        if self.rdo and not (len(shares) == self.horizon and all(0 < share < 1 for share in shares)):
            raise UsageError(f"rdo needs {self.horizon} shares of zeros in (0, 1), not {len(shares)}")

    @property
    def bins(self) -> float:
        """Quantisation steps that span [-1, 1]: twice the scale."""
        return 2 * self.scale

    @functools.cached_property
    def alphabet(self) -> Alphabet:
        """The base symbols of this codec's streams."""
        return Alphabet(self.literals, self.order)

    def quantize(
        self, normalized: NDArray[np.floating], *, transformed: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int32] | None]:
        """Coefficients int64 ``[N, H, A]`` of normalised chunks ``[N, H, A]``, and refinements int32 ``[N, A]``.

        Without ``atol`` there is no refinement (None). ``transformed`` is the DCT of the chunks, where a caller has it
        already.

        Raises:
            TokenizerError: NaN, infinity or a magnitude that no stream can hold, with chunk, step and dimension.
        """
        chunks = np.asarray(normalized, dtype=np.float64)
        if self.atol is not None:
            require_finite(chunks)
            return quantize_within(chunks, self.scale, self.atol, transformed=transformed)
        scaled = dct(chunks) if transformed is None else transformed.copy()
        scaled *= self.scale
        # A NaN or infinity in a chunk is one in its sums, and no comparison with it holds.
        if scaled.size and not (scaled.max() <= MAX_COEFFICIENT and scaled.min() >= -MAX_COEFFICIENT):
            require_finite(chunks)
            _refuse_magnitude(chunks, scaled)
        return self._round(scaled), None

    def _round(self, scaled: NDArray[np.float64]) -> NDArray[np.int64]:
        if self.deadzone:
            return round_with_dead_zone(scaled, self.deadzone)
        if self.rdo:
            return round_for_rate(scaled, self.rdo, self.zero_share, self.order)
        return np.rint(scaled, out=scaled).astype(np.int64)

    def dequantize(
        self, coefficients: NDArray[np.int64], finer: NDArray[np.int32], *, out: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Normalised chunks float64 ``[N, H, A]`` of coefficients and refinements, in ``out`` if it is given."""
        from fastki.tokenizer.stream_kernels import synthesize

        chunks = np.empty(coefficients.shape) if out is None else out
        synthesize(coefficients, finer, float(self.scale), dct_matrix(coefficients.shape[1]), chunks)
        return chunks

    def write(self, normalized: NDArray[np.floating], *, transformed: NDArray[np.float64] | None = None) -> Ragged:
        """One symbol stream for each normalised chunk ``[N, H, A]``; arguments and errors as :meth:`quantize`."""
        coefficients, finer = self.quantize(normalized, transformed=transformed)
        return write_stream(coefficients, self.alphabet, finer=finer)

    def read(
        self,
        symbols: Ragged,
        *,
        horizon: int | None = None,
        action_dim: int | None = None,
        out: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.float64], Repairs]:
        """Normalised chunks float64 ``[N, H, A]`` of streams (in ``out`` if it is given), and what had to be mended."""
        coefficients, finer, repairs = read_stream(
            symbols,
            self.alphabet,
            horizon=horizon or self.horizon,
            action_dim=action_dim or self.action_dim,
        )
        return self.dequantize(coefficients, finer, out=out), repairs


def require_finite(chunks: NDArray[np.floating]) -> None:
    """Refuse NaN and infinity in chunks ``[N, H, A]``.

    Raises:
        TokenizerError: naming chunk, step and dimension of the first.
    """
    finite = np.isfinite(chunks)
    if finite.all():
        return
    chunk, step, dim = np.argwhere(~finite)[0]
    raise TokenizerError(
        f"chunk {chunk}, step {step}, dimension {dim} is {chunks[chunk, step, dim]}; only finite actions have "
        "tokens: drop or mend such frames first"
    )


def _refuse_magnitude(chunks: NDArray[np.floating], scaled: NDArray[np.float64]) -> None:
    chunk, _, dim = np.unravel_index(np.argmax(np.abs(scaled)), scaled.shape)
    step = int(np.argmax(np.abs(chunks[chunk, :, dim])))
    raise TokenizerError(
        f"chunk {chunk}, step {step}, dimension {dim} is {chunks[chunk, step, dim]:.4g} in normalised units, too "
        f"large to write at this scale (coefficients reach {MAX_COEFFICIENT:.3g}): check the units of the data "
        "against the normaliser's statistics"
    )
