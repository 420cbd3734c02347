"""All that a step of training depends on besides the model and its loss, as one configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fastki.errors import UsageError
from fastki.training.optimizer import AdamW, Rates
from fastki.training.schedule import Schedule
from fastki.training.selection import Selection


@dataclass(frozen=True)
class Recipe:
    """How parameters learn.

    Attributes:
        schedule: the learning rate by step.
        optimizer: AdamW's numbers.
        rates: multipliers of the learning rate by part of the model.
        select: which parameters learn.
        ema_decay: of the moving average of parameters that inference uses; above 0 and below 1. None keeps none.
            openpi: 0.99, and None in its LoRA presets.
        accumulate: micro-batches that a step's batch is cut into, at least 1, so that a batch larger than memory
            trains as it stands; openpi has none.
        frozen_dtype: what frozen parameters are kept in. openpi: always bfloat16, which halves their memory and rounds
            them to 8 bits of mantissa; here float32, unless asked for.

    Raises:
        UsageError: a value out of range.
    """

    schedule: Schedule = field(default_factory=Schedule)
    optimizer: AdamW = field(default_factory=AdamW)
    rates: Rates = field(default_factory=Rates)
    select: Selection = field(default_factory=Selection)
    ema_decay: float | None = 0.99
    accumulate: int = 1
    frozen_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise UsageError(f"ema_decay must be above 0 and below 1, or none, not {self.ema_decay}")
        if self.accumulate < 1:
            raise UsageError(f"accumulate must be at least 1, not {self.accumulate}")
