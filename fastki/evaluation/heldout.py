"""The losses on held-out windows, at times and noise that are the same every time.

Axis letters: N windows, B batch, H horizon, D action dimensions of the model.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from fastki.model.losses import FlowDraw, compute_losses
from fastki.model.params import Definition, Params
from fastki.training.batch import TrainingBatch
from fastki.training.objective import Given, keep_slots
from fastki.training.prepare import Setup
from fastki.training.source import WindowSource, open_windows

_BATCH = 32


class HeldOut:
    """Held-out windows of a run, drawn once.

    Args:
        setup: of the run.
        definition: of its model.
        examples: windows at most.
        seed: of the choice, of noise and of times.

    Raises:
        DataError: no held-out episode has a window.
    """

    def __init__(self, setup: Setup, definition: Definition, *, examples: int, seed: int = 0) -> None:
        self._setup, self._definition, self._seed = setup, definition, seed
        episodes = setup.heldout if len(setup.heldout) else setup.train
        self._windows: WindowSource = open_windows(
            setup.dataset, setup.assembler, episodes=episodes, images=setup.config.data.images
        )
        order = np.random.default_rng(seed).permutation(len(self._windows))[:examples]
        self._places = np.sort(order)
        self._measure = jax.jit(self._losses)

    def __call__(self, params: Params) -> dict[str, float]:
        """Each metric of :func:`fastki.model.losses.compute_losses` but ``loss``, the mean over all windows."""
        totals: dict[str, float] = {}
        for number, batch in enumerate(self._batches()):
            given = Given(batch.batch, batch.has_actions)
            for name, value in self._measure(params, given, self._draw(number, batch)).items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(batch)
        totals.pop("loss")
        return {name: value / len(self._places) for name, value in totals.items()}

    def _batches(self) -> Iterator[TrainingBatch]:
        for start in range(0, len(self._places), _BATCH):
            yield self._windows.read(self._places[start : start + _BATCH])

    def _draw(self, number: int, batch: TrainingBatch) -> FlowDraw:
        """Times evenly spread over (0, 1], which vary the mean less than drawn ones; noise by number of the batch."""
        rng = np.random.default_rng([self._seed, number])
        count = len(batch)
        times = rng.permutation((np.arange(count) + 0.5) / count) ** (1 / 1.5)
        noise = rng.normal(size=batch.batch.actions.shape)
        return FlowDraw(jnp.asarray(noise, jnp.float32), jnp.asarray(times, jnp.float32))

    def _losses(self, params: Params, given: Given, draw: FlowDraw) -> dict[str, jax.Array]:
        setup = self._setup
        observation = keep_slots(given.batch.observation, setup.slots)
        batch = type(given.batch)(observation, given.batch.actions, given.batch.actions_mask)
        return compute_losses(self._definition.merge(params), batch, draw, setup.mode).metrics
