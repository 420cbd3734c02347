"""From what a client sends to what a policy looks at: under openpi's names, the dataset's, or those of the slots.

Axis letters: S state dimensions, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.robots import ROBOTS
from fastki.errors import DataError
from fastki.evaluation.live import LivePolicy

PROMPT, PREVIOUS = "prompt", "previous_action"
_STATES = ("state", "observation/state", "observation.state")
_FOLDERS = ("", "observation/", "images/", "observation/images/", "image/")
_SLACK = 1e-3  # By which a resized picture of floats may leave [0, 1].
_DEEPEST = 4


@dataclass(frozen=True)
class StateForm:
    """One way to send the state.

    Attributes:
        keys: whose numbers follow one another.
        widths: how many each has, where that is known.
    """

    keys: tuple[str, ...]
    widths: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Seen:
    """One observation.

    Attributes:
        images: camera of the dataset → picture, uint8, or floats within [0, 1].
        state: float64 ``[S]``, native units; None: the policy looks at none.
        prompt: the instruction.
        previous: float64 ``[A]``, the action before, where the policy needs it.
    """

    images: Mapping[str, NDArray[Any]]
    state: NDArray[np.float64] | None
    prompt: str
    previous: NDArray[np.float64] | None


class ObservationKeys:
    """The names under which a policy's observation may come.

    Args:
        policy: that looks at it.
        prompt: the instruction of observations without one; None: they are refused.
    """

    def __init__(self, policy: LivePolicy, prompt: str | None = None) -> None:
        self.policy, self.prompt = policy, prompt
        self.cameras = {camera: _picture_keys(policy, slot, camera) for slot, camera in policy.slots.items()}
        self.states = _state_forms(policy) if policy.state_dim else ()

    def read(self, message: Any) -> Seen:
        """The observation in a message; keys that no policy of this kind looks at are passed over.

        Raises:
            DataError: it is no map, a key is missing (those that would do are listed), or its value is no picture,
                no numbers or no text.
        """
        if not isinstance(message, dict):
            raise DataError(f"an observation is a map of {self.wanted}, not {_kind(message)}")
        found = dict(_flat(message))
        images = {camera: self._picture(found, camera) for camera in self.cameras}
        state = self._state(found) if self.states else None
        previous = None
        if self.policy.needs_previous:
            if PREVIOUS not in found:
                raise DataError(f"there is no {PREVIOUS}: this policy's actions are relative to the action before")
            previous = _numbers(found[PREVIOUS], PREVIOUS)
        return Seen(images, state, self._prompt(found), previous)

    @property
    def wanted(self) -> str:
        """The first name of everything, for people."""
        names = [*(keys[0] for keys in self.cameras.values()), *("+".join(form.keys) for form in self.states[:1])]
        names += [PREVIOUS] if self.policy.needs_previous else []
        return ", ".join([*names, PROMPT] if self.policy.needs_prompt else names)

    def plain(self) -> dict[str, Any]:
        """All names, for the server's metadata."""
        states = [list(form.keys) for form in self.states]
        return {"images": {camera: list(keys) for camera, keys in self.cameras.items()}, "state": states}

    def _picture(self, found: Mapping[str, Any], camera: str) -> NDArray[Any]:
        keys = self.cameras[camera]
        for folder in _FOLDERS:
            for key in keys:
                if folder + key in found:
                    return _picture(found[folder + key], folder + key)
        raise DataError(f"there is no picture {camera}: send it as {' or '.join(keys)}{_among(found)}")

    def _state(self, found: Mapping[str, Any]) -> NDArray[np.float64]:
        for form in self.states:
            if all(key in found for key in form.keys):
                return _joined(found, form)
        for form in self.states:
            missing = [key for key in form.keys if key not in found]
            if len(missing) < len(form.keys):
                there = ", ".join(key for key in form.keys if key in found)
                raise DataError(f"there is no {missing[0]}, which belongs to the state with {there}{_among(found)}")
        ways = " or ".join("+".join(form.keys) for form in self.states)
        raise DataError(f"there is no state: send it as {ways}{_among(found)}")

    def _prompt(self, found: Mapping[str, Any]) -> str:
        value = found.get(PROMPT, self.prompt)
        if value is None:
            if self.policy.needs_prompt:
                raise DataError(f"there is no {PROMPT}: send the instruction, a text{_among(found)}")
            return ""
        if isinstance(value, bytes):
            value = value.decode("utf-8", errors="replace")
        if not isinstance(value, str):
            raise DataError(f"the {PROMPT} is {_kind(value)}: send the instruction, a text")
        return value


def _flat(message: Mapping[Any, Any], start: str = "", depth: int = 1) -> Iterable[tuple[str, Any]]:
    """Maps within maps by their path: ``{"images": {"top": …}}`` has ``images/top``."""
    for key, value in message.items():
        name = start + (key.decode("utf-8", errors="replace") if isinstance(key, bytes) else key)
        if isinstance(value, dict) and depth < _DEEPEST:
            yield from _flat(value, f"{name}/", depth + 1)
        else:
            yield name, value


def _picture_keys(policy: LivePolicy, slot: str, camera: str) -> tuple[str, ...]:
    """The camera's own name, its slot's, and those of the robot's preset, openpi's among them."""
    robot = ROBOTS.get(policy.policy.card.asset_id)
    preset = robot.cameras.get(slot, ()) if robot else ()
    taken = {other for other in policy.cameras if other != camera}
    return tuple(dict.fromkeys((camera, slot, *(name for name in preset if name not in taken))))


def _state_forms(policy: LivePolicy) -> tuple[StateForm, ...]:
    """One key for the whole, the dataset's own, and those of the robot's preset, openpi's among them."""
    robot, own = ROBOTS.get(policy.policy.card.asset_id), policy.arm.state_key
    forms = [StateForm((key,)) for key in _STATES]
    forms += [StateForm(tuple(own.split(",")))] if own else []
    for vector in robot.states if robot else ():
        if sum(vector.widths) == policy.state_dim:
            forms.append(StateForm(vector.keys, vector.widths))
    return tuple({form.keys: form for form in forms}.values())


def _joined(found: Mapping[str, Any], form: StateForm) -> NDArray[np.float64]:
    """``[S]``; whether S is right is the policy's to say."""
    parts = [_numbers(found[key], key) for key in form.keys]
    for key, part, width in zip(form.keys, parts, form.widths or (None,) * len(parts), strict=True):
        if width is not None and len(part) != width:
            raise DataError(f"{key} has {len(part)} numbers: {width} are needed")
    return np.concatenate(parts)


def _numbers(value: Any, key: str) -> NDArray[np.float64]:
    """``[n]``: a flat array or list, or one number."""
    if isinstance(value, list) and all(isinstance(one, (int, float)) for one in value):
        return np.array(value, np.float64)
    array = np.asarray(value) if isinstance(value, (np.ndarray, np.generic, int, float)) else None
    if array is None or array.dtype.kind not in "fiu" or array.ndim > 1:
        raise DataError(f"{key} is {_kind(value)}: send a flat array of numbers")
    return np.atleast_1d(array).astype(np.float64)


def _picture(value: Any, key: str) -> NDArray[Any]:
    """``[h, w, 3]`` or ``[3, h, w]``, uint8, or floats within [0, 1]."""
    wanted = "send uint8 [h, w, 3], or floats from 0 to 1"
    if not isinstance(value, np.ndarray) or value.ndim != 3 or not (value.dtype == np.uint8 or value.dtype.kind == "f"):
        raise DataError(f"{key} is {_kind(value)}: {wanted}")
    if 0 in value.shape or 3 not in (value.shape[0], value.shape[2]):
        raise DataError(f"{key} is no picture with its shape {list(value.shape)}: {wanted}")
    if value.dtype.kind == "f":
        least, most = float(value.min()), float(value.max())
        if not (least >= -_SLACK and most <= 1 + _SLACK):  # NaN is neither.
            raise DataError(f"{key} has floats from {least:.4g} to {most:.4g}: {wanted}")
        return np.clip(value.astype(np.float32), 0, 1)
    return value


def _kind(value: Any) -> str:
    """What it is, for messages."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} {list(value.shape)}"
    return f"of type {type(value).__name__}"


def _among(found: Mapping[str, Any]) -> str:
    """What there was instead, as far as it fits into a line."""
    names = sorted(found)
    shown = ", ".join(name[:60] for name in names[:8])
    return f" (there are {shown}{' …' if len(names) > 8 else ''})" if names else " (the observation is empty)"
