"""AdamW by part of the model, over the trainable parameters alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastki.errors import UsageError
from fastki.model.parts import PARTS, part_of
from fastki.model.trees import map_paths
from fastki.training.schedule import Schedule

if TYPE_CHECKING:
    import optax


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay after clipping. All defaults are openpi's, and so is the order of the two.

    Attributes:
        b1: decay of the mean of gradients, 0 up to below 1.
        b2: decay of the mean of their squares, likewise; 0.95, where Optax has 0.999.
        eps: added to the root of that, above 0.
        weight_decay: share of a weight that a step takes away, times the learning rate. Every leaf decays, biases and
            norms too, as with openpi; its 1e-10 is next to nothing.
        clip_gradient_norm: the gradient's global norm at most, over all trainable leaves; None clips nothing.

    Raises:
        UsageError: a value out of range.
    """

    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 1e-10
    clip_gradient_norm: float | None = 1.0

    def __post_init__(self) -> None:
        for name in ("b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be from 0 to below 1, not {getattr(self, name)}")
        if not (0 < self.eps < math.inf):
            raise UsageError(f"eps must be above 0 and finite, not {self.eps}")
        if not (0 <= self.weight_decay < math.inf):
            raise UsageError(f"weight_decay must be 0 or more and finite, not {self.weight_decay}")
        if self.clip_gradient_norm is not None and not self.clip_gradient_norm > 0:
            raise UsageError(f"clip_gradient_norm must be above 0, or none, not {self.clip_gradient_norm}")


@dataclass(frozen=True)
class Rates:
    """What the learning rate is multiplied by in each part of the model; 1, as with openpi, leaves it alone.

    They multiply the whole of a step, weight decay included, after clipping and Adam.

    Raises:
        UsageError: one is not above 0 (a part that is not to learn is frozen, which saves its memory as well).
    """

    tower: float = 1.0
    embedder: float = 1.0
    backbone: float = 1.0
    expert: float = 1.0

    def __post_init__(self) -> None:
        for part in PARTS:
            rate = getattr(self, part)
            if not (0 < rate < math.inf):
                raise UsageError(f"the rate of {part} must be above 0 and finite, not {rate}: freeze {part} to stop it")


def build_optimizer(adamw: AdamW, schedule: Schedule, rates: Rates) -> optax.GradientTransformation:
    """Clip, Adam, decay, the part's rate, the schedule's rate.

    Its state's tree depends on the parameters alone, so that a run may be resumed under other numbers. With every rate
    1 the updates are those of ``optax.chain(optax.clip_by_global_norm(…), optax.adamw(…))``, bit for bit.
    """
    import optax

    clip = adamw.clip_gradient_norm
    return optax.chain(
        optax.identity() if clip is None else optax.clip_by_global_norm(clip),
        optax.scale_by_adam(b1=adamw.b1, b2=adamw.b2, eps=adamw.eps),
        optax.add_decayed_weights(adamw.weight_decay),
        _scale_by_part(rates),
        optax.scale_by_learning_rate(schedule.rate()),
    )


def _scale_by_part(rates: Rates) -> optax.GradientTransformation:
    import optax

    def scale(path: str, update: Any) -> Any:
        rate = getattr(rates, part_of(path))
        return update if rate == 1 else update * rate

    return optax.stateless(lambda updates, _: map_paths(scale, updates))
