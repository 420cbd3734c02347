"""``synthetic:droid``: a seeded dataset in DROID's shape, made as it is read.

An arm with 7 joints and a gripper, at 15 Hz, does what the prompt says with objects whose places only the
images show. The same seed gives the same actions to the bit; episode i is the same however many there are.
"""

from __future__ import annotations

import difflib
import functools
from dataclasses import replace
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from fastki.data.episode import Dataset, Episode
from fastki.data.options import OpenOptions
from fastki.data.select import Key, select_keys
from fastki.data.synthetic_control import FPS, Rollout, place_of, simulate
from fastki.data.synthetic_info import arm_info
from fastki.data.synthetic_reach import KEYS as REACH_KEYS
from fastki.data.synthetic_reach import SyntheticReach
from fastki.data.synthetic_render import Canvas, exterior_camera, paint_still, render, wrist_camera
from fastki.data.synthetic_scene import OBJECT_RADIUS, Item, Scene, draw_length, draw_scene, stream
from fastki.errors import DataError

SCHEME = "synthetic:"
CAMERAS = ("exterior_image_1_left", "wrist_image_left")
KEYS = (
    Key("action", "numbers", (8,), "float32"),
    Key("observation.state", "numbers", (8,), "float32"),
    *(Key(camera, "image", (-1, -1, 3), "uint8") for camera in CAMERAS),
)
_VERSION = 1
_PARAMETERS = {"episodes": (1, 10**6), "seed": (0, 2**32 - 1), "size": (16, 1024)}


def open_uri(uri: str, *, options: OpenOptions) -> Dataset:
    """The dataset of a ``synthetic:`` name with ``?episodes=20&seed=3&size=96``, each optional.

    Raises:
        DataError: another name, or a parameter that is unknown or out of range.
    """
    name, _, query = uri.removeprefix(SCHEME).partition("?")
    if name not in ("droid", "reach"):
        near = (difflib.get_close_matches(name, ("droid", "reach"), n=1) or ["droid"])[0]
        raise DataError(f"{uri}: there is no built-in dataset {name!r}: did you mean {SCHEME}{near}?")
    given = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        low, high = _PARAMETERS.get(key, (1, 0))
        if low > high:
            raise DataError(f"{uri}: unknown parameter {key!r}: use {', '.join(_PARAMETERS)}")
        if not (text.isascii() and text.isdigit() and len(text) < 12 and low <= int(text) <= high):
            raise DataError(f"{uri}: {key}={text} must be a whole number from {low} to {high}")
        given[key] = int(text)
    keys = KEYS if name == "droid" else REACH_KEYS
    select_keys(keys, replace(options, robot="none"), where=uri, notes=[])
    return SyntheticDroid(uri=uri, **given) if name == "droid" else SyntheticReach(uri=uri, **given)


class SyntheticDroid(Dataset):
    """Scripted pick-and-place; images are ``[size, size, 3]``."""

    def __init__(self, *, episodes: int = 64, seed: int = 0, size: int = 96, uri: str = "synthetic:droid") -> None:
        self.seed, self.size = seed, size
        lengths = np.array([draw_length(seed, i) for i in range(episodes)], dtype=np.int64)
        identity = f"synthetic:droid version={_VERSION} episodes={episodes} seed={seed} size={size}"
        self.info = arm_info(uri, identity, lengths, keys=KEYS, cameras=CAMERAS)

    def _read(self, index: int, *, state: bool) -> Episode:
        scene = draw_scene(self.seed, index)
        rollout = simulate(scene, stream(self.seed, index, "noise"))
        return Episode(
            index=index,
            actions=rollout.actions,
            state=rollout.state if state else None,
            fps=FPS,
            prompt=scene.prompt,
            images={name: RenderedFrames(scene, rollout, name, self.size) for name in CAMERAS},
        )


class RenderedFrames:
    """One camera's frames of one episode, drawn when they are asked for."""

    def __init__(self, scene: Scene, rollout: Rollout, camera: str, size: int) -> None:
        self._scene, self._rollout, self._camera, self._size = scene, rollout, camera, size

    def __len__(self) -> int:
        """T."""
        return len(self._rollout.state)

    def __getitem__(self, frame: int, /) -> NDArray[np.uint8]:
        """Frame ``frame`` as RGB uint8 ``[size, size, 3]``; negative counts from the end."""
        if not -len(self) <= frame < len(self):
            raise IndexError(f"frame {frame} of {len(self)}")
        frame %= len(self)
        scene, state = self._scene, self._rollout.state[frame].astype(np.float64)
        moved = (scene.objects[scene.task.object], place_of(scene, self._rollout, frame))
        if self._camera == CAMERAS[1]:
            return render(paint_still(wrist_camera(state[:7]), _resting(scene), size=self._size), [moved], state)
        return render(_still_exterior(scene, self._size), [moved], state)


@functools.lru_cache(maxsize=64)
def _still_exterior(scene: Scene, size: int) -> Canvas:
    """What the exterior camera sees all the time."""
    return paint_still(exterior_camera(), _resting(scene), size=size)


def _resting(scene: Scene) -> list[tuple[Item, NDArray[np.float64]]]:
    """The things that stay where they are, with their centres."""
    items = [(item, np.array([item.x, item.y, 0.004])) for item in scene.targets]
    rest = [item for place, item in enumerate(scene.objects) if place != scene.task.object]
    return items + [(item, np.array([item.x, item.y, OBJECT_RADIUS])) for item in rest]
