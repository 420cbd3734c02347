"""The learning rate over the steps of a run: a linear warm-up, then constant, cosine, linear or inverse square root."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fastki.errors import UsageError

if TYPE_CHECKING:
    import jax

Rate = Callable[[Any], "jax.Array"]
"""Updates so far (an int32 scalar, traced or not) → learning rate, float32 scalar."""


@dataclass(frozen=True)
class Schedule:
    """A learning rate by step. The defaults are openpi's ``CosineDecaySchedule``.

    All kinds warm up alike: from ``peak_lr / (warmup_steps + 1)`` in equal strides to ``peak_lr``, reached after
    ``warmup_steps`` updates.

    Attributes:
        kind: what comes after the warm-up. ``cosine`` falls to ``decay_lr`` along half a cosine, ``linear`` in equal
            strides; ``constant`` stays; ``rsqrt`` falls as ``1 / √(1 + steps since / timescale)``.
        peak_lr: the highest rate, above 0. openpi: 2.5e-5 with ``cosine``, 5e-5 with ``rsqrt``.
        warmup_steps: 0 or more; openpi: 1000.
        decay_steps: of ``cosine`` and ``linear``, the step, counted from the start of the run and so warm-up included,
            from which the rate stays at ``decay_lr``; openpi: 30000.
        decay_lr: of ``cosine`` and ``linear``, 0 to ``peak_lr``; openpi: 2.5e-6.
        timescale: of ``rsqrt`` alone, steps, above 0; openpi: 10000.

    Raises:
        UsageError: a value out of range, or a decay that would end before the warm-up does.
    """

    kind: Literal["cosine", "linear", "constant", "rsqrt"] = "cosine"
    peak_lr: float = 2.5e-5
    warmup_steps: int = 1_000
    decay_steps: int = 30_000
    decay_lr: float = 2.5e-6
    timescale: float = 10_000.0

    def __post_init__(self) -> None:
        if not (0 < self.peak_lr < math.inf):
            raise UsageError(f"peak_lr must be above 0 and finite, not {self.peak_lr}")
        if self.warmup_steps < 0:
            raise UsageError(f"warmup_steps must be 0 or more, not {self.warmup_steps}")
        if self.spans and not 0 <= self.decay_lr <= self.peak_lr:
            raise UsageError(f"decay_lr must be from 0 to peak_lr ({self.peak_lr}), not {self.decay_lr}")
        if self.spans and self.decay_steps <= self.warmup_steps:
            raise UsageError(
                f"decay_steps ({self.decay_steps}) counts the warm-up too, so it must exceed"
                f" warmup_steps ({self.warmup_steps})"
            )
        if self.kind == "rsqrt" and not (0 < self.timescale < math.inf):
            raise UsageError(f"timescale must be above 0 and finite, not {self.timescale}")

    @property
    def spans(self) -> bool:
        """Whether it falls over a number of steps that is named."""
        return self.kind in ("cosine", "linear")

    def rate(self) -> Rate:
        """The function of steps, for Optax and for reports alike."""
        import optax

        first = self.peak_lr / (self.warmup_steps + 1)
        warm_up = optax.linear_schedule(first, self.peak_lr, self.warmup_steps)
        return optax.join_schedules([warm_up, self._after_warm_up()], [self.warmup_steps])  # type: ignore[no-any-return]

    def _after_warm_up(self) -> Rate:
        """The rate by the number of steps since the warm-up."""
        import jax.numpy as jnp
        import optax

        length = self.decay_steps - self.warmup_steps
        if self.kind == "linear":
            return optax.linear_schedule(self.peak_lr, self.decay_lr, length)  # type: ignore[no-any-return]
        if self.kind == "cosine":
            return optax.cosine_decay_schedule(  # type: ignore[no-any-return]
                self.peak_lr, length, alpha=self.decay_lr / self.peak_lr
            )
        if self.kind == "rsqrt":
            return lambda since: jnp.asarray(self.peak_lr / jnp.sqrt(1 + since / self.timescale))
        return lambda since: jnp.full_like(since, self.peak_lr, dtype=jnp.float32)
