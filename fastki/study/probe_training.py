"""The probe's training: its own network and chunks under the step and the loop that train policies.

What the step is compiled for is the shape of the network and the budget, so that cells of about one length share it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fastki.errors import TrainingError
from fastki.study.probe_model import Batch, ModelShape, Params, chunk_nll, init_params
from fastki.tokenizer.ragged import Ragged
from fastki.training.gradients import Metrics
from fastki.training.mesh import MeshOptions, make_mesh, replicated
from fastki.training.optimizer import AdamW
from fastki.training.order import Order
from fastki.training.recipe import Recipe
from fastki.training.schedule import Schedule
from fastki.training.state import create_state
from fastki.training.step import Step, compile_step, make_step
from fastki.training.stepping import Stepping

if TYPE_CHECKING:
    from fastki.study.probe import ProbeSettings

_WARM_UP = 0.1
# Adam's eps is small because the loss is one action value's: gradients are, too.
_ADAM = AdamW(b1=0.9, b2=0.99, eps=1e-12, weight_decay=0.0, clip_gradient_norm=None)


def train_probe(
    shape: ModelShape, tokens: Ragged, states: NDArray[np.float32], settings: ProbeSettings
) -> tuple[Params, float]:
    """Parameters after the budget's steps, and the loss of the last one before it, nats per action value.

    Args:
        shape: of the network.
        tokens: of N training chunks.
        states: float32 ``[N, S]``, standardised.
        settings: the budget.

    Raises:
        TrainingError: a loss or gradient is not finite.
    """
    counts = np.bincount(tokens.values, minlength=shape.vocab_size + 1)
    counts[shape.vocab_size] = len(tokens)
    recipe = recipe_of(settings)
    state = create_state(recipe, init_params(shape, settings.seed, counts), jax.random.key(settings.seed))
    losses: list[float] = []

    def note(number: int, numbers: dict[str, float], _: Batch) -> None:
        if not numbers["finite"]:
            raise TrainingError(f"the probe's loss at step {number} is not finite: sweep without --probe")
        losses.append(numbers["loss"])

    stepping = Stepping(_compiled(shape, recipe), state, note)
    for _ in stepping.through(chunk_batches(shape, tokens, states, settings), settings.steps):
        pass
    stepping.flush()
    return stepping.state.params, losses[-1]


def recipe_of(settings: ProbeSettings) -> Recipe:
    """Adam; the rate rises over the first tenth of the steps and falls to near zero over the rest."""
    warm_up = max(0, round(settings.steps * _WARM_UP) - 1)
    schedule = Schedule("linear", settings.learning_rate, warm_up, decay_steps=settings.steps, decay_lr=0.0)
    return Recipe(schedule, _ADAM, ema_decay=None)


def chunk_batches(
    shape: ModelShape, tokens: Ragged, states: NDArray[np.float32], settings: ProbeSettings
) -> Iterator[Batch]:
    """The chunks of each step: all of them in random order, again and again, the same for every tokenizer."""
    order = Order(len(tokens), seed=settings.seed)
    for step in range(settings.steps):
        _, picked = order.at(step * settings.batch_size, settings.batch_size)
        yield batch_of(shape, tokens, states, picked)


def batch_of(shape: ModelShape, tokens: Ragged, states: NDArray[np.float32], picked: NDArray[np.int64]) -> Batch:
    """The chunks ``picked``, int64 ``[B]``, for the network."""
    ids = np.full((len(picked), shape.places), shape.vocab_size, dtype=np.int32)
    lengths = tokens.lengths[picked].astype(np.int32)
    for row, (chunk, length) in enumerate(zip(picked.tolist(), lengths.tolist(), strict=True)):
        ids[row, :length] = tokens[chunk]
    return Batch(states[picked], ids, lengths)


@functools.lru_cache(maxsize=32)
def _compiled(shape: ModelShape, recipe: Recipe) -> Step:
    """The step, on one device."""
    options = MeshOptions()
    mesh = make_mesh(options, jax.local_devices()[:1])

    def objective(params: Params, batch: Batch, _: jax.Array) -> tuple[jax.Array, Metrics]:
        # The figure that is reported: all tokens weigh alike, and so do chunks of few tokens and of many.
        return jnp.mean(chunk_nll(params, batch, shape=shape)) / shape.values, {}

    return compile_step(make_step(objective, recipe, mesh, options), replicated(mesh), mesh)
