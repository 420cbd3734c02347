"""``synthetic:reach``: the easiest task whose actions hang on picture, state and prompt alike, for small models.

A large plate lies on a grey table; the arm of ``synthetic:droid``, seen from above, goes to the side of it that the
prompt names and closes its gripper there. Only the picture shows where the plate is and only the prompt says which
side, and each action follows from the joints and that goal alone: there are no phases to remember, and nothing that
one must find in the picture before the prompt means anything. The picture is a drawing, and its background is the grey
that a model reads as zero, so that an untrained image tower sees little but the plate. The same seed gives the same
actions to the bit.

Axis letters: T frames, P pixels.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data.episode import Dataset, Episode
from fastki.data.select import Key
from fastki.data.synthetic_arm import forward, inverse
from fastki.data.synthetic_control import FPS
from fastki.data.synthetic_info import arm_info
from fastki.data.synthetic_scene import COLORS, Item, stream

CAMERA = "exterior_image_1_left"
KEYS = (
    Key("action", "numbers", (8,), "float32"),
    Key("observation.state", "numbers", (8,), "float32"),
    Key(CAMERA, "image", (-1, -1, 3), "uint8"),
)
FRAMES = 24
SIDES = {"left of": (0.0, -1.0), "right of": (0.0, 1.0), "above": (-1.0, 0.0), "below": (1.0, 0.0)}
"""Where each lies in the picture, as (x, y) on the table: the arm's base is beyond the upper edge."""
_VERSION = 2
_COLORS = ("red", "green", "blue", "purple")
_AREA = ((0.38, 0.58), (-0.20, 0.20))
_ASIDE = 0.14
_RADIUS, _ARM = 0.09, 0.02
_GREY, _WHITE = 127.5, 235.0
_WINDOW, _MIDDLE = 0.66, (0.48, 0.0)
_HOVER = 0.14
_GRID = 2.0**16  # Numbers are multiples of 1 / _GRID, so that no machine's rounding can add up.
_GAIN = 1.2
_NEAR = 0.08  # Radians from the goal, in the joint that is farthest, at which the gripper closes.
_NOISE = 0.01


@dataclass(frozen=True)
class ReachScene:
    """What lies on the table, and where the arm begins.

    Attributes:
        plate: the only thing on it.
        side: of :data:`SIDES`, which the prompt names.
        start: joints, radians.
    """

    plate: Item
    side: str
    start: tuple[float, ...]

    @property
    def prompt(self) -> str:
        """The instruction, such as "go left of the red plate"."""
        return f"go {self.side} the {self.plate.name}"

    @property
    def goal(self) -> tuple[float, float]:
        """Where the tool is to end, metres on the table."""
        x, y = SIDES[self.side]
        return self.plate.x + _ASIDE * x, self.plate.y + _ASIDE * y


class SyntheticReach(Dataset):
    """Reaching; images are ``[size, size, 3]``, from above."""

    def __init__(self, *, episodes: int = 512, seed: int = 0, size: int = 56, uri: str = "synthetic:reach") -> None:
        self.seed, self.size = seed, size
        lengths = np.full(episodes, FRAMES, np.int64)
        identity = f"synthetic:reach version={_VERSION} episodes={episodes} seed={seed} size={size}"
        self.info = arm_info(uri, identity, lengths, keys=KEYS, cameras=(CAMERA,))

    def _read(self, index: int, *, state: bool) -> Episode:
        scene = draw_reach(self.seed, index)
        actions, states = simulate_reach(scene, stream(self.seed, index, "noise"))
        return Episode(
            index=index,
            actions=actions,
            state=states if state else None,
            fps=FPS,
            prompt=scene.prompt,
            images={CAMERA: ReachFrames(scene, states, self.size)},
        )


class ReachFrames:
    """The camera's frames of one episode, drawn when they are asked for."""

    def __init__(self, scene: ReachScene, states: NDArray[np.float32], size: int) -> None:
        self._scene, self._states, self._size = scene, states, size

    def __len__(self) -> int:
        """T."""
        return len(self._states)

    def __getitem__(self, frame: int, /) -> NDArray[np.uint8]:
        """Frame ``frame`` as RGB uint8 ``[size, size, 3]``; negative counts from the end."""
        if not -len(self) <= frame < len(self):
            raise IndexError(f"frame {frame} of {len(self)}")
        return draw(self._scene, self._states[frame, :7].astype(np.float64), self._size)


def draw_reach(seed: int, index: int) -> ReachScene:
    """The scene of episode ``index``."""
    rng = stream(seed, index, "scene")
    low, high = np.array(_AREA).T
    x, y = low + rng.random(2) * (high - low)
    plate = Item(str(rng.choice(_COLORS)), "plate", float(x), float(y))
    side = str(rng.choice(list(SIDES)))
    above = np.array([0.46, 0.0, 0.30]) + rng.uniform(-1.0, 1.0, size=3) * (0.10, 0.24, 0.05)
    start = inverse(above, 0.0) + rng.uniform(-0.08, 0.08, size=7)
    return ReachScene(plate, side, tuple(map(float, start)))


def simulate_reach(scene: ReachScene, noise: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Actions ``[T, 8]`` (joint velocities in rad/s, gripper 0 to 1) and states ``[T, 8]`` before them."""
    goal = inverse(np.array([*scene.goal, _HOVER]), 0.0)
    position = _rounded(np.array(scene.start))
    goal = goal + np.rint((position - goal) / (2 * np.pi)) * 2 * np.pi  # The short way round.
    jitter = noise.uniform(-1.0, 1.0, size=(FRAMES, 7)) * _NOISE
    actions, states, grip = np.empty((FRAMES, 8)), np.empty((FRAMES, 8)), 0.0
    for frame in range(FRAMES):
        velocity = _rounded(np.clip(_GAIN * (goal - position), -1.0, 1.0) + jitter[frame])
        command = float(np.abs(goal - position).max() < _NEAR)
        actions[frame], states[frame] = (*velocity, command), (*position, grip)
        position = _rounded(position + velocity / FPS)
        grip = round((grip + 0.6 * (command - grip)) * _GRID) / _GRID
    return actions.astype(np.float32), states.astype(np.float32)


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.rint(values * _GRID) / _GRID)


def draw(scene: ReachScene, joints: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """The table from above, RGB uint8 ``[size, size, 3]``: the arm's base is beyond the upper edge.

    Args:
        scene: its plate.
        joints: ``[7]``, radians.
        size: pixels.
    """
    places = _places(size)
    picture = np.full((size * size, 3), _GREY)
    near = _cover(np.hypot(*(places - (scene.plate.x, scene.plate.y)).T), _RADIUS, size)
    picture += near * (np.array(COLORS[scene.plate.color], float) - picture)
    points, _ = forward(joints)
    wrist, tip = points[3, :2], points[4, :2]
    along = np.clip((places - wrist) @ (tip - wrist) / max(float((tip - wrist) @ (tip - wrist)), 1e-9), 0.0, 1.0)
    gap = np.hypot(*(places - wrist - along[:, None] * (tip - wrist)).T)
    picture += _cover(gap, _ARM, size) * (_WHITE - picture)
    whole: NDArray[np.uint8] = np.clip(np.rint(picture), 0, 255).astype(np.uint8).reshape(size, size, 3)
    return whole


def _cover(distance: NDArray[np.float64], radius: float, size: int) -> NDArray[np.float64]:
    """How much of each pixel a disc or rod covers, ``[P, 1]``: a pixel's width of soft edge."""
    pixel = _WINDOW / size
    return np.asarray(np.clip((radius - distance) / pixel + 0.5, 0.0, 1.0))[:, None]


@functools.lru_cache(maxsize=8)
def _places(size: int) -> NDArray[np.float64]:
    """Where on the table each pixel lies, metres ``[P, 2]``."""
    steps = ((np.arange(size) + 0.5) / size - 0.5) * _WINDOW
    down, right = np.meshgrid(steps, steps, indexing="ij")
    return np.column_stack([_MIDDLE[0] + down.ravel(), _MIDDLE[1] + right.ravel()])
