"""The losses on held-out windows, at times and noise that are the same every time.

Axis letters: N windows, B batch, H horizon, D action dimensions of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import jax
import numpy as np
from numpy.typing import NDArray

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
        examples: windows at most; more than a batch are whole batches.
        seed: of the choice, of noise and of times.
        episodes: int64, to draw them from; None: those held out, or all others where none is.

    Attributes:
        lost: windows whose text was cut off when last measured: only where the setup allows it.

    Raises:
        DataError: no held-out episode has a window.
    """

    def __init__(
        self,
        setup: Setup,
        definition: Definition,
        *,
        examples: int,
        seed: int = 0,
        episodes: NDArray[np.int64] | None = None,
    ) -> None:
        self._setup, self._definition, self._seed = setup, definition, seed
        if episodes is None:
            episodes = setup.heldout if len(setup.heldout) else setup.train
        self._windows: WindowSource = open_windows(
            setup.dataset, setup.assembler, episodes=episodes, images=setup.config.data.images
        )
        count = min(examples, len(self._windows))
        if count > _BATCH:  # A smaller batch at the end would be compiled for.
            count -= count % _BATCH
        order = np.random.default_rng(seed).permutation(len(self._windows))[:count]
        self._places = np.sort(order)
        self._measure = jax.jit(self._losses)
        self.lost = 0

    def __len__(self) -> int:
        """N."""
        return len(self._places)

    def __call__(self, params: Params, *, progress: Callable[[int, int], None] | None = None) -> dict[str, float]:
        """Each metric of :func:`fastki.model.losses.compute_losses` but ``loss``, the mean over all windows."""
        totals: dict[str, float] = {}
        self.lost = 0
        for number, batch in enumerate(self._batches()):
            given = Given(batch.batch, batch.has_actions)
            for name, value in self._measure(params, given, self._draw(number, batch)).items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(batch)
            self.lost += int(np.count_nonzero(batch.fast_lost + batch.other_lost))
            if progress is not None:
                progress(min((number + 1) * _BATCH, len(self)), len(self))
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
        # Of NumPy's: where several processes measure together, each gives the whole.
        return FlowDraw(noise.astype(np.float32), times.astype(np.float32))  # type: ignore[arg-type]

    def _losses(self, params: Params, given: Given, draw: FlowDraw) -> dict[str, jax.Array]:
        setup = self._setup
        batch = replace(given.batch, observation=keep_slots(given.batch.observation, setup.slots))
        return compute_losses(self._definition.merge(params), batch, draw, setup.mode).metrics
