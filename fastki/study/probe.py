"""A probe of how learnable tokens are: a tiny transformer, trained for as many steps on every tokenizer's tokens.

Two columns come of it: nats per action value on held-out chunks, given the chunk's starting state, and the error of the
actions that it writes by itself, token by token under the tokenizer's grammar, from that state alone. The first says
what the tokens leave a policy to learn; the second catches tokens that are easy to score and fragile to write.

**The same budget for every cell**: the same network but for its embeddings, begun from the same numbers, the same
optimiser steps at the same rates, the same number of chunks a step, and for one dataset and horizon the very same
chunks in the same order. A method that writes longer chunks takes more arithmetic a step, which is its nature. The
loss is the reported figure, the sum of a chunk's −log p over tokens and end ÷ (H·A), so that the weight of a token does
not hang on how many there are.

**The starting state** is the dataset's state at the chunk's first frame where the caller has it, else the action just
before the chunk; standardised by the training chunks' mean and deviation, whatever the tokenizer's normaliser is, so
that every cell sees the same numbers.

Axis letters: N chunks, H horizon, A action dimensions, S state, B chunks of a batch, P places, V vocabulary.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastki.data import Chunks, Normalizer
from fastki.errors import UsageError
from fastki.study.probe_rollout import roll_out
from fastki.tokenizer.base import ActionTokenizer
from fastki.tokenizer.ragged import Ragged
from fastki.tokenizer.rules import rules_of

if TYPE_CHECKING:
    from fastki.study.probe_model import ModelShape, Params

SCORED_CHUNKS, ROLLED_OUT_CHUNKS = 1024, 64
"""Held-out chunks at most, evenly spread, for the nats and for the rollout."""

_SCORE_BATCH = 32
_PLACES = 16  # P is a multiple of it, so that cells of about one length share a compiled step.
_FARTHEST = 5.0


@dataclass(frozen=True)
class ProbeSettings:
    """The budget, the same for every cell that is to be compared.

    Attributes:
        steps: of the optimiser, at least 1.
        seed: of the parameters and of the order of chunks.
        batch_size: chunks a step.
        width: of the network, an even number for each head.
        layers: of the network.
        heads: of its attention.
        learning_rate: the highest; it rises over the first tenth of the steps and falls to zero over the rest.

    Raises:
        UsageError: a value out of range.
    """

    steps: int
    seed: int = 0
    batch_size: int = 16
    width: int = 64
    layers: int = 2
    heads: int = 2
    learning_rate: float = 0.007

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "width", "layers", "heads"):
            if getattr(self, name) < 1:
                raise UsageError(f"a probe's {name} must be at least 1, not {getattr(self, name)}")
        if self.seed < 0:
            raise UsageError(f"a probe's seed must be 0 or more, not {self.seed}")
        if self.width % (2 * self.heads):
            raise UsageError(f"a probe's width must be a multiple of twice its {self.heads} heads, not {self.width}")
        if not 0 < self.learning_rate < 1:
            raise UsageError(f"a probe's learning rate must lie between 0 and 1, not {self.learning_rate:g}")


@dataclass(frozen=True)
class ProbeResult:
    """What the probe found.

    Attributes:
        nats_per_value: the sum of −log p over held-out tokens and ends, ÷ (N·H·A).
        rollout_rmse: error of the actions that it wrote for held-out starting states, normalised units.
        rollout_max: the largest, normalised units.
        rollout_repaired: share of those chunks whose tokens needed a repair to decode, in [0, 1]; 0 under a grammar.
        parameters: of the network, embeddings included.
        seconds: in all, compilation included.
    """

    nats_per_value: float
    rollout_rmse: float
    rollout_max: float
    rollout_repaired: float
    parameters: int
    seconds: float


def run_probe(
    tokenizer: ActionTokenizer,
    train: Chunks,
    test: Chunks,
    settings: ProbeSettings,
    *,
    train_states: NDArray[np.floating] | None = None,
    test_states: NDArray[np.floating] | None = None,
) -> ProbeResult:
    """Train the probe on a tokenizer's tokens of ``train`` and measure it on ``test``.

    The same input on the same machine gives the same numbers, but for the seconds.

    Args:
        tokenizer: one with a normaliser, which defines the units of the errors.
        train: chunks in native units.
        test: held-out ones.
        settings: the budget.
        train_states: ``[N, S]``, the state at each training chunk's first frame; both sides' or neither's.
        test_states: likewise.

    Raises:
        UsageError: JAX is not installed, no chunk on a side, no normaliser, or states that don't fit the chunks.
        TokenizerError: a chunk that can't be encoded.
    """
    start = time.perf_counter()
    _require_jax()
    from fastki.study.probe_training import train_probe

    if not len(train) or not len(test):
        raise UsageError(f"the probe needs chunks on both sides: {len(train)} fitted and {len(test)} held out")
    normalizer = tokenizer.normalizer
    if normalizer is None:
        raise UsageError("the probe measures in normalised units: give the tokenizer a normaliser with with_normalizer")
    states = _standardised(_given_states(train, train_states), _given_states(test, test_states))
    test_picked, rolled = _spread(len(test), SCORED_CHUNKS), _spread(len(test), ROLLED_OUT_CHUNKS)
    tokens = _encode(tokenizer, train)
    held = _encode(tokenizer, test.take(test_picked))
    longest = max(int(side.lengths.max()) for side in (tokens, held))
    shape = _shape(
        settings,
        vocab_size=tokenizer.vocab_size,
        places=-(-(longest + 1) // _PLACES) * _PLACES,
        values=train.actions[0].size,
        state_dim=states[0].shape[1],
    )
    params, _ = train_probe(shape, tokens, states[0], settings)
    nats = _score(params, shape, held, states[1][test_picked]) / (len(held) * shape.values)
    written = roll_out(params, shape, states[1][rolled], rules_of(tokenizer, tokens.lengths))
    error, repaired = _errors(tokenizer, normalizer, written, test.take(rolled))
    return ProbeResult(
        nats_per_value=nats,
        rollout_rmse=float(np.sqrt(np.mean(error * error))),
        rollout_max=float(np.abs(error).max()),
        rollout_repaired=repaired,
        parameters=_count(params),
        seconds=time.perf_counter() - start,
    )


def _require_jax() -> None:
    try:
        import jax  # noqa: F401
        import optax  # noqa: F401
    except ImportError as error:
        raise UsageError("--probe trains a network and needs JAX and Optax: `pip install 'fastki[probe]'`") from error


def _given_states(chunks: Chunks, states: NDArray[np.floating] | None) -> NDArray[np.float64]:
    """float64 ``[N, S]``."""
    if states is None:
        return chunks.previous + chunks.reference
    given = np.asarray(states, dtype=np.float64)
    if given.ndim != 2 or len(given) != len(chunks) or not given.shape[1] or not np.isfinite(given).all():
        raise UsageError(f"states must be finite numbers [{len(chunks)}, S], one row a chunk, not {given.shape}")
    return given


def _standardised(
    train: NDArray[np.float64], test: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both by the first one's mean and deviation; what never moves there is zero."""
    if train.shape[1] != test.shape[1]:
        raise UsageError(f"training states have {train.shape[1]} dimensions, held-out ones {test.shape[1]}: give both")
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    moves = deviation > 1e-6
    by = np.where(moves, deviation, 1.0)

    def apply(states: NDArray[np.float64]) -> NDArray[np.float32]:
        near: NDArray[np.float64] = np.clip((states - mean) / by, -_FARTHEST, _FARTHEST) * moves
        return near.astype(np.float32)

    return apply(train), apply(test)


def _spread(count: int, most: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def _encode(tokenizer: ActionTokenizer, chunks: Chunks) -> Ragged:
    return Ragged.from_list(tokenizer.encode(chunks.actions, previous=chunks.previous))


def _shape(settings: ProbeSettings, **sizes: int) -> ModelShape:
    import jax

    from fastki.study.probe_model import ModelShape

    size = {name: getattr(settings, name) for name in ("width", "layers", "heads")}
    return ModelShape(**sizes, **size, by_product=jax.default_backend() != "cpu")


def _score(params: Params, shape: ModelShape, tokens: Ragged, states: NDArray[np.float32]) -> float:
    """The sum of −log p over all chunks; the last batch is filled up with chunks that don't count."""
    from fastki.study.probe_model import chunk_nll
    from fastki.study.probe_training import batch_of

    total = 0.0
    for first in range(0, len(tokens), _SCORE_BATCH):
        picked = np.minimum(np.arange(first, first + _SCORE_BATCH), len(tokens) - 1)
        losses = chunk_nll(params, batch_of(shape, tokens, states, picked), shape=shape)
        total += float(np.asarray(losses, dtype=np.float64)[: len(tokens) - first].sum())
    return total


def _errors(
    tokenizer: ActionTokenizer, normalizer: Normalizer, written: list[NDArray[np.int32]], chunks: Chunks
) -> tuple[NDArray[np.float64], float]:
    """Normalised errors ``[N, H, A]`` of written chunks, and the share of them that needed a repair."""
    decoded = tokenizer.decode_normalized_report(
        written,
        horizon=chunks.actions.shape[1],
        action_dim=chunks.actions.shape[2],
        previous=normalizer.normalize(chunks.previous),
    )
    error = decoded.actions - normalizer.normalize(chunks.actions, clip=False)
    return error, float((decoded.repairs.total > 0).mean())


def _count(params: Params) -> int:
    import jax

    return int(sum(leaf.size for leaf in jax.tree_util.tree_leaves(params)))
