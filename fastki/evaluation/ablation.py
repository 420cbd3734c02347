"""What the error becomes when a policy is shown another frame's pictures, prompt or state.

Axis letters: N frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastki.data.bootstrap import inner, resampled_means
from fastki.evaluation.acting import Frame, Head
from fastki.evaluation.errors import FEWEST
from fastki.evaluation.frames import Recorded
from fastki.evaluation.policy import Policy

Ablation = Literal["images", "prompt", "state"]
ABLATIONS: tuple[Ablation, ...] = ("images", "prompt", "state")
_NAMES = {"flow": "flow", "fast": "FAST"}
_TINY = 1e-12
_LEAST = 0.02  # A smaller rise is none that a robot would notice, however sure.


@dataclass(frozen=True)
class AblationRow:
    """What one thing is worth to one head.

    Attributes:
        head: of the policy.
        what: was dealt out anew among the frames.
        mae: mean absolute error then, normalised units; None where it could not be told.
        rise: of the error, as a share of what it is without: 0.6 is 60 % more; None likewise.
        interval: 95 % of the rise, over episodes; None with few of them.
        why_not: it could not be told.
    """

    head: Head
    what: Ablation
    mae: float | None = None
    rise: float | None = None
    interval: tuple[float, float] | None = None
    why_not: str | None = None


def blind_to(policy: Policy, head: Head, what: Ablation) -> str | None:
    """Why a head can't depend on ``what``, or None if it can."""
    layout = policy.wording(head).layout
    if what == "images":
        return None if policy.card.slots else "the model is given no pictures"
    if what == "prompt":
        return None if "prompt" in layout.kinds else f"layout {layout.name} does not show it the prompt"
    if policy.assets.state_normalizer is None:
        return "the data that it was trained on have no state"
    shown = layout.state_form != "none" or (head == "flow" and policy.card.model.kind == "pi0")
    return None if shown else f"layout {layout.name} does not show it the state"


def donors(keys: NDArray[np.integer[Any]], rng: np.random.Generator) -> NDArray[np.int64] | None:
    """For each of N the place of one with another key, drawn at random; None where all keys are the same.

    >>> donors(np.array([7, 7, 9]), np.random.default_rng(0))[:2].tolist()
    [2, 2]
    """
    others = [np.flatnonzero(keys != key) for key in keys]
    if not all(map(len, others)):
        return None
    return np.array([rng.choice(places) for places in others], np.int64)


def dealt(batch: Recorded, what: Ablation, rng: np.random.Generator) -> list[Frame] | None:
    """The frames, each with another's ``what``: of another episode, or with another prompt; None if there is none.

    The frame's own state is what differences are undone with, and errors are measured before that.
    """
    if what == "prompt":
        keys = np.unique([frame.prompt for frame in batch.frames], return_inverse=True)[1].reshape(-1)
    else:
        several = len(np.unique(batch.episode)) > 1
        keys = batch.episode if several else np.arange(len(batch))
    chosen = donors(keys, rng)
    if chosen is None:
        return None
    return [
        dataclasses.replace(frame, **{what: getattr(batch.frames[donor], what)})
        for frame, donor in zip(batch.frames, chosen.tolist(), strict=True)
    ]


def ablation_row(
    head: Head,
    what: Ablation,
    errors: tuple[NDArray[np.float64], NDArray[np.float64]],
    episode: NDArray[np.int64],
    seed: int,
) -> AblationRow:
    """Of each frame's mean absolute error without and with, ``[N]`` each; NaN where nothing could be dealt."""
    told = np.isfinite(errors[1])
    if not told.any():
        same = "all frames measured have the same prompt" if what == "prompt" else "there is but one frame in a batch"
        return AblationRow(head, what, why_not=same)
    both = np.stack(errors, axis=1)[told]
    before, after = both.mean(axis=0).tolist()
    interval = None
    if len(np.unique(episode[told])) >= FEWEST:
        means = resampled_means(both, episode[told], seed=seed)
        low, high = inner(means[:, 1:] / np.maximum(means[:, :1], _TINY) - 1)[0].tolist()
        interval = low, high
    return AblationRow(head, what, after, after / max(before, _TINY) - 1, interval)


def ablation_words(rows: Sequence[AblationRow]) -> list[str]:
    """A sentence for each thing, over the heads."""
    said = []
    for what in dict.fromkeys(row.what for row in rows):
        mine = [row for row in rows if row.what == what]
        told = [row for row in mine if row.rise is not None]
        if not told:
            said.append(f"{what}: not told: {mine[0].why_not}")
            continue
        verb = "matter" if what == "images" else "matters"
        verdict = f"{what} {verb}" if any(map(_matters, told)) else f"{what}: no effect shown"
        said.append(f"{verdict}: " + ", ".join(f"{_NAMES[row.head]} {_rise(row)}" for row in told))
    return said


def _matters(row: AblationRow) -> bool:
    assert row.rise is not None
    return row.rise >= _LEAST and (row.interval is None or row.interval[0] > 0)


def _rise(row: AblationRow) -> str:
    assert row.rise is not None
    rise, ends = _percent(row.rise), [_percent(end) for end in row.interval or ()]
    return rise if set(ends) <= {rise} else f"{rise} ({' to '.join(ends)})"


def _percent(share: float) -> str:
    """
    >>> _percent(0.631), _percent(-0.001)
    ('+63 %', '±0 %')
    """
    points = round(100 * share)
    return f"{points:+,} %" if points else "±0 %"
