"""One frame as openpi's policies take it: the state, three camera slots with their masks, and the prompt.

Axes: S state dims, H action horizon, A action dims.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastki.data.episode import Episode
from fastki.data.pictures import as_picture
from fastki.data.robots import SLOTS
from fastki.errors import DataError, UsageError

ModelType = Literal["pi0", "pi05", "pi0_fast"]
_FAST_SLOTS = ("base_0_rgb", "base_1_rgb", "wrist_0_rgb")


@dataclass(frozen=True, eq=False)
class PolicyInputs:
    """What goes into a policy at one frame, before normalising; the names are openpi's.

    Attributes:
        state: ``[S]``, native units.
        image: slot → RGB uint8 ``[h, w, 3]``; black in a slot without a camera.
        image_mask: slot → whether the policy may look there. π0-FAST looks everywhere.
        prompt: the instruction.
        actions: ``[H, A]``, native units; None where there are none, as at inference.
    """

    state: NDArray[Any]
    image: Mapping[str, NDArray[np.uint8]]
    image_mask: Mapping[str, np.bool_]
    prompt: str
    actions: NDArray[Any] | None = None


def policy_inputs(
    *,
    state: Sequence[NDArray[Any] | float],
    cameras: Mapping[str, NDArray[Any] | None],
    prompt: str | bytes = "",
    actions: NDArray[Any] | None = None,
    model: ModelType = "pi05",
) -> PolicyInputs:
    """The inputs of a policy, as openpi's ``DroidInputs`` and its like make them.

    Args:
        state: the parts of the state in order, each ``[n]`` or a number, such as joints and gripper.
        cameras: of the slots ``base_0_rgb``, ``left_wrist_0_rgb`` and ``right_wrist_0_rgb`` those that have a
            picture, in any form that :func:`fastki.data.pictures.as_picture` takes.
        prompt: text, or UTF-8 bytes.
        actions: ``[H, A]``, passed on.
        model: π0-FAST calls its slots otherwise and masks none.

    Raises:
        UsageError: an unknown slot or model, or no camera at all.
        DataError: a picture of no known form.
    """
    if model not in ("pi0", "pi05", "pi0_fast"):
        raise UsageError(f"model {model!r} is unknown: use pi0, pi05 or pi0_fast")
    if stray := [slot for slot in cameras if slot not in SLOTS]:
        raise UsageError(f"there is no camera slot {stray[0]!r}: use {', '.join(SLOTS)}")
    seen = {slot: as_picture(np.asarray(c), where=slot) for slot, c in cameras.items() if c is not None}
    if not seen:
        raise UsageError("a policy needs a picture in at least one camera slot")
    black = np.zeros_like(next(iter(seen.values())))
    order: Sequence[tuple[str, str]] = tuple(zip(SLOTS, SLOTS, strict=True))
    if model == "pi0_fast":
        order = tuple(zip(_FAST_SLOTS, ("base_0_rgb", "right_wrist_0_rgb", "left_wrist_0_rgb"), strict=True))
    return PolicyInputs(
        state=np.concatenate([np.atleast_1d(np.asarray(part)) for part in state]),
        image={name: seen.get(slot, black) for name, slot in order},
        image_mask={name: np.bool_(model == "pi0_fast" or slot in seen) for name, slot in order},
        prompt=prompt.decode("utf-8") if isinstance(prompt, bytes) else prompt,
        actions=actions,
    )


def frame_inputs(
    episode: Episode,
    frame: int,
    slots: Mapping[str, str | None],
    *,
    horizon: int | None = None,
    model: ModelType = "pi05",
) -> PolicyInputs:
    """The inputs of a policy at ``frame`` of ``episode``.

    Args:
        episode: with its state and images.
        frame: from 0 to T − 1.
        slots: openpi's slot → camera, as :attr:`fastki.data.DatasetInfo.slots` has it.
        horizon: H, to add the actions of ``frame`` and after; the last one is repeated at the episode's end.
        model: see :func:`policy_inputs`.

    Raises:
        IndexError: no such frame.
        DataError: the episode has no state, or a picture cannot be read.
        UsageError: none of the slots has a camera in this episode.
    """
    if not 0 <= frame < len(episode):
        raise IndexError(f"frame {frame} of {len(episode)}")
    if episode.state is None:
        raise DataError(f"episode {episode.index} has no state, which a policy needs: choose one with --state-key KEY")
    actions = None
    if horizon is not None:
        actions = episode.actions[np.minimum(np.arange(frame, frame + horizon), len(episode) - 1)]
    pictures = {
        slot: episode.images[camera][frame] if camera is not None and camera in episode.images else None
        for slot, camera in slots.items()
    }
    return policy_inputs(
        state=[episode.state[frame]], cameras=pictures, prompt=episode.prompt, actions=actions, model=model
    )
