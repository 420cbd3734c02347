"""Which camera fills which of openpi's slots, where the user says so."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from fastki.data.robots import SLOTS
from fastki.errors import UsageError


def chosen_slots(text: str, cameras: Sequence[str]) -> dict[str, str | None]:
    """openpi's three slots, in order → the camera that ``text`` gives it, None for a masked slot.

    >>> chosen_slots("base_0_rgb=top, right_wrist_0_rgb=hand", ("hand", "side", "top"))
    {'base_0_rgb': 'top', 'left_wrist_0_rgb': None, 'right_wrist_0_rgb': 'hand'}

    Args:
        text: ``slot=camera``, joined by commas.
        cameras: that the data have.

    Raises:
        UsageError: a slot or camera that is not there, one named twice, or none at all.
    """
    chosen: dict[str, str | None] = dict.fromkeys(SLOTS)
    for part in text.split(","):
        slot, equals, camera = (piece.strip() for piece in part.partition("="))
        if not equals or slot not in chosen:
            raise UsageError(f"--slots {part.strip()!r} is unknown: give SLOT=CAMERA, of the slots {', '.join(SLOTS)}")
        if camera not in cameras:
            near = difflib.get_close_matches(camera, cameras, n=1)
            there = f"did you mean {near[0]}?" if near else f"there are {', '.join(cameras) or 'none'}"
            raise UsageError(f"--slots {slot}={camera}: the data have no such camera: {there}")
        if chosen[slot] is not None or camera in chosen.values():
            raise UsageError(f"--slots {text}: {slot} and {camera} can be given once only")
        chosen[slot] = camera
    return chosen
