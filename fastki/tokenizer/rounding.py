"""From scaled DCT coefficients to integers, other than to the nearest.

Axis letters: N chunks, H horizon (frequencies), A action dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastki.tokenizer.stream import Order


def round_with_dead_zone(scaled: NDArray[np.float64], width: float) -> NDArray[np.int64]:
    """Nearest integers int64 ``[N, H, A]``, but 0 where the magnitude is below ``0.5 + width``."""
    rounded = np.rint(scaled)
    rounded[np.abs(scaled) < 0.5 + width] = 0
    return rounded.astype(np.int64)


def zero_shares(coefficients: NDArray[np.int64]) -> tuple[float, ...]:
    """Share of zeros at each of the H frequencies of plainly rounded coefficients ``[N, H, A]``.

    Kept away from 0 and 1 by one count each (Laplace's rule), so that either has a finite length in bits.
    """
    zeros = (coefficients == 0).sum(axis=(0, 2))
    total = coefficients.shape[0] * coefficients.shape[2]
    return tuple(((zeros + 1) / (total + 2)).tolist())


def round_for_rate(
    scaled: NDArray[np.float64], price: float, zero_share: tuple[float, ...], order: Order
) -> NDArray[np.int64]:
    """Integers int64 ``[N, H, A]`` of least ``squared error + price · bits`` (rate–distortion-optimised rounding).

    A zero at frequency k takes ``−log2 zero_share[k]`` bits, another value ``v`` takes
    ``−log2(1 − zero_share[k]) + 2 + 2·log2 |v|``: Elias' gamma code and a sign (Elias 1975, "Universal codeword
    sets"). Each coefficient is the best of the two integers around it and 0; where a stream ends, and so which zeros
    cost nothing, is then the best of all its prefixes, by a running sum over the stream's order.

    Args:
        scaled: float64 ``[N, H, A]``, in units of the quantisation step.
        price: squared error, in steps², that one bit is worth; 0.1 is about what a bit buys at high rate.
        zero_share: H shares in (0, 1).
        order: ``freq`` ends a chunk, ``dim`` each of its dimensions.
    """
    zero = np.asarray(zero_share)[:, None]
    best, cost = np.zeros(scaled.shape), scaled**2 - price * np.log2(zero)
    for candidate in (np.floor(scaled), np.ceil(scaled)):
        bits = 2 - np.log2(1 - zero) + 2 * np.log2(np.maximum(np.abs(candidate), 1))
        mine = np.where(candidate == 0, np.inf, (scaled - candidate) ** 2 + price * bits)
        best, cost = np.where(mine < cost, candidate, best), np.minimum(mine, cost)
    # What writing up to and including a place saves over leaving all of it zero for nothing.
    saved = scaled**2 - cost
    streams = saved.reshape(len(saved), -1) if order == "freq" else saved.swapaxes(1, 2).reshape(-1, saved.shape[1])
    totals = np.cumsum(streams, axis=1)
    ends = np.where(totals.max(axis=1) > 0, totals.argmax(axis=1), -1)
    written = np.arange(streams.shape[1]) <= ends[:, None]
    if order == "freq":
        written = written.reshape(scaled.shape)
    else:
        written = written.reshape(len(saved), saved.shape[2], saved.shape[1]).swapaxes(1, 2)
    return np.where(written, best, 0).astype(np.int64)
