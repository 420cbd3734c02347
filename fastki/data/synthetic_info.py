"""What the built-in datasets say of their arm: DROID's shape, whatever it does."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fastki.data.episode import DatasetInfo
from fastki.data.select import Key
from fastki.data.synthetic_control import FPS


def arm_info(
    uri: str, identity: str, lengths: NDArray[np.int64], *, keys: tuple[Key, ...], cameras: tuple[str, ...]
) -> DatasetInfo:
    """The description of a built-in dataset.

    Args:
        uri: as the user named it.
        identity: all that decides its content, in words.
        lengths: frames of each episode.
        keys, cameras: that a frame has.
    """
    joints = tuple(f"joint_{i}" for i in range(1, 8))
    return DatasetInfo(
        uri=uri,
        format="synthetic",
        robot="synthetic 7-joint arm",
        fps=FPS,
        action_key="action",
        state_key="observation.state",
        action_names=(*(f"{name} velocity" for name in joints), "gripper position"),
        state_names=(*(f"{name} position" for name in joints), "gripper position"),
        action_units=(*("rad/s" for _ in joints), "fraction"),
        state_units=(*("rad" for _ in joints), "fraction"),
        grippers=(7,),
        state_grippers=(7,),
        action_kind="velocity",
        preset="droid",
        preset_reason="the built-in data have DROID's shape",
        keys=keys,
        cameras=cameras,
        lengths=lengths,
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:32],
    )
