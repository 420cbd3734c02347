"""How long a policy takes for one frame, as a robot would ask it: batch 1, after compilation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastki.evaluation.acting import Frame, Head
from fastki.evaluation.policy import Policy

CALLS = 20
_FRAMES = 5
_FEWEST, _PATIENCE = 3, 20.0  # Calls at least, and seconds after which no more are made.


@dataclass(frozen=True)
class Latency:
    """Of one head, in seconds.

    Attributes:
        head: of the policy.
        median, p90: from a frame with its pictures decoded to actions in native units.
        model: the median of the model's share of it.
        calls: that were timed.
    """

    head: Head
    median: float
    p90: float
    model: float
    calls: int


def measure_latency(policy: Policy, frames: Sequence[Frame], head: Head) -> Latency:
    """Of the first few of ``frames``, one or more, again and again."""
    # Pictures of a recording are decoded when they are looked at; a robot's are there.
    ready = [Frame(dict(frame.images), frame.state, frame.prompt, frame.previous) for frame in frames[:_FRAMES]]
    for frame in ready:  # Each length of text is compiled for.
        policy.act([frame], head)
    whole, model, began = [], [], time.perf_counter()
    for call in range(CALLS):
        start = time.perf_counter()
        if call >= _FEWEST and start - began > _PATIENCE:
            break
        acted = policy.act([ready[call % len(ready)]], head, draw=call)
        whole.append(time.perf_counter() - start)
        model.append(acted.seconds)
    median, p90 = np.percentile(whole, [50, 90]).tolist()
    return Latency(head, median, p90, float(np.median(model)), len(whole))
