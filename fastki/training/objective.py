"""What a step minimises, as a pure function of parameters, batch and key.

Axis letters: B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import jax

from fastki.model.config import Mode
from fastki.model.inputs import to_float
from fastki.model.losses import compute_losses, draw_flow
from fastki.model.params import Definition, Params
from fastki.sequence.batch import Batch, Observation
from fastki.training.augment import AugmentConfig, augment

Metrics = dict[str, jax.Array]
Array = TypeVar("Array")


class Given(NamedTuple):
    """What a step is given on the device.

    Attributes:
        batch: examples.
        has_actions: bool ``[B]``, False where there is nothing for the flow to learn.
    """

    batch: Batch
    has_actions: Any


def make_objective(
    definition: Definition, mode: Mode, slots: tuple[str, ...], augmentation: AugmentConfig | None
) -> Callable[[Params, Given, jax.Array], tuple[jax.Array, Metrics]]:
    """``(params, given, key) → (loss, metrics)``, see :func:`fastki.model.losses.compute_losses`.

    Args:
        definition: of the model.
        mode: which losses.
        slots: camera slots that the model is given.
        augmentation: how pictures are varied; None leaves them alone.
    """

    def objective(params: Params, given: Given, key: jax.Array) -> tuple[jax.Array, Metrics]:
        picture_key, flow_key = jax.random.split(key)
        batch = replace(given.batch, observation=keep_slots(given.batch.observation, slots))
        if augmentation is not None and batch.observation.images:
            floats = {slot: to_float(image) for slot, image in batch.observation.images.items()}
            varied = augment(picture_key, floats, augmentation)
            batch = replace(batch, observation=replace(batch.observation, images=varied))  # type: ignore[arg-type]
        draw = draw_flow(flow_key, batch.actions.shape)
        losses = compute_losses(definition.merge(params), batch, draw, mode, has_actions=given.has_actions)
        return losses.total, losses.metrics

    return objective


def keep_slots(observation: Observation, slots: tuple[str, ...]) -> Observation:
    """The observation without the cameras that the model is not given."""

    def kept(pictures: Mapping[str, Array]) -> dict[str, Array]:
        return {slot: pictures[slot] for slot in slots}

    return replace(observation, images=kept(observation.images), image_masks=kept(observation.image_masks))
