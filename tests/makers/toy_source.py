"""A source of examples that are their own numbers, for tests of what lies around; worker processes import it."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastki.errors import DataError
from fastki.sequence.batch import Batch, Observation
from fastki.training.batch import TrainingBatch


@dataclass(frozen=True, eq=False)
class ToySource:
    """``size`` examples; ``trouble`` at number ``bad``: "error", "bug", "die", "die once" (``mark`` is a file then).

    With "slow" every read takes a tenth of a second; with "modules" the state tells whether JAX or Grain is loaded.
    """

    size: int = 100
    trouble: str = ""
    bad: int = -1
    mark: str = ""
    has_actions: bool = True

    @property
    def fingerprint(self) -> str:
        return f"toy {self.size}"

    def __len__(self) -> int:
        return self.size

    def read(self, places):
        if self.bad in places.tolist():
            self._fail()
        if self.trouble == "slow":
            time.sleep(0.1)
        count = len(places)
        state = np.repeat(places[:, None].astype(np.float32), 2, axis=1)
        if self.trouble == "modules":
            state[:, 0] = sum(name in sys.modules for name in ("jax", "grain", "flax"))
            state[:, 1] = os.getpid()
        nothing = np.zeros(count, np.int64)
        mask = np.zeros((count, 4), bool)
        seen = Observation({}, {}, state, mask.astype(np.int32), mask, mask.astype(np.int32), mask)
        batch = Batch(seen, np.zeros((count, 3, 2), np.float32), np.ones((count, 3, 2), bool))
        return TrainingBatch(batch, np.full(count, self.has_actions), places // 10, places % 10, nothing, nothing)

    def _fail(self) -> None:
        if self.trouble == "error":
            raise DataError(f"example {self.bad} is damaged: mend it")
        if self.trouble == "bug":
            raise ZeroDivisionError("a bug")
        once = Path(self.mark) if self.mark else None
        if self.trouble == "die" or (once is not None and not once.exists()):
            if once is not None:
                once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
