"""What lies on the table of ``synthetic:droid``, and what the prompt asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastki.data.synthetic_arm import inverse

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (205, 45, 40),
    "green": (50, 155, 65),
    "blue": (45, 85, 200),
    "yellow": (230, 195, 45),
    "purple": (135, 60, 165),
    "orange": (235, 125, 35),
}
OBJECT_SHAPES = ("block", "ball", "can")
TARGET_SHAPES = ("bowl", "plate", "tray")
PLACE_VERBS = ("put", "place", "move")
LIFT_VERBS = ("pick up", "lift")
OBJECT_RADIUS = 0.025
TARGET_RADIUS = 0.065
_AREA = ((0.38, 0.57), (-0.25, 0.25))
_CLEARANCE = 0.135
_HOME = (0.44, 0.0, 0.26)
MIN_FRAMES, MAX_FRAMES = 90, 160


@dataclass(frozen=True)
class Item:
    """A thing on the table: its centre at (``x``, ``y``) in metres, turned by ``yaw`` radians."""

    color: str
    shape: str
    x: float
    y: float
    yaw: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class Task:
    """What to do: ``verb`` with ``Scene.objects[object]``, maybe towards ``Scene.targets[target]``."""

    verb: str
    object: int
    target: int | None = None


@dataclass(frozen=True)
class Scene:
    """The start of an episode, from which (and a noise seed) everything else follows.

    ``joints`` are the 7 joint positions at frame 0 in radians, ``frames`` the episode's length.
    """

    objects: tuple[Item, ...]
    targets: tuple[Item, ...]
    task: Task
    joints: tuple[float, ...]
    frames: int

    @property
    def prompt(self) -> str:
        """The instruction, such as "put the red block in the blue bowl"."""
        thing = self.objects[self.task.object].name
        if self.task.target is None:
            return f"{self.task.verb} the {thing}"
        target = self.targets[self.task.target]
        where = "to" if self.task.verb == "move" else "in" if target.shape == "bowl" else "on"
        return f"{self.task.verb} the {thing} {where} the {target.name}"


Stream = Literal["length", "scene", "noise"]
_STREAMS: dict[Stream, int] = {"length": 0, "scene": 1, "noise": 2}


def stream(seed: int, index: int, name: Stream) -> np.random.Generator:
    """Random numbers for one purpose in one episode, whatever else is drawn elsewhere."""
    return np.random.default_rng([seed, index, _STREAMS[name]])


def draw_length(seed: int, index: int) -> int:
    """Frames of episode ``index``."""
    return int(stream(seed, index, "length").integers(MIN_FRAMES, MAX_FRAMES + 1))


def draw_scene(seed: int, index: int) -> Scene:
    """The scene of episode ``index``: three objects, two targets, a task and the arm's pose."""
    rng = stream(seed, index, "scene")
    spots = _draw_spots(rng, 5)
    yaws = rng.uniform(-0.5, 0.5, size=5)
    names = _draw_names(rng, OBJECT_SHAPES, 3) + _draw_names(rng, TARGET_SHAPES, 2)
    items = [
        Item(color, shape, float(spot[0]), float(spot[1]), float(yaw))
        for (color, shape), spot, yaw in zip(names, spots, yaws, strict=True)
    ]
    lifts = rng.random() < 0.25
    verbs = LIFT_VERBS if lifts else PLACE_VERBS
    task = Task(verbs[rng.integers(len(verbs))], int(rng.integers(3)), None if lifts else int(rng.integers(2)))
    home = np.array(_HOME) + rng.uniform(-1.0, 1.0, size=3) * (0.05, 0.15, 0.06)
    joints = inverse(home, float(rng.uniform(-0.4, 0.4))) + rng.uniform(-0.12, 0.12, size=7)
    return Scene(tuple(items[:3]), tuple(items[3:]), task, tuple(map(float, joints)), draw_length(seed, index))


def _draw_names(rng: np.random.Generator, shapes: tuple[str, ...], count: int) -> list[tuple[str, str]]:
    """Different (color, shape) pairs; the first two share a colour or a shape, so that both words matter."""
    colors = rng.permutation(len(COLORS))[:count]
    kinds = rng.integers(len(shapes), size=count)
    if rng.random() < 0.5:
        kinds[1] = kinds[0]
    else:
        colors[1], kinds[1] = colors[0], (kinds[0] + 1) % len(shapes)
    names = list(COLORS)
    return [(names[color], shapes[kind]) for color, kind in zip(colors, kinds, strict=True)]


def _draw_spots(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """``[count, 2]`` places on the table, apart from each other; a few tries always suffice."""
    low, high = np.array(_AREA).T
    spots: list[NDArray[np.float64]] = []
    while len(spots) < count:
        tries = 0
        spots = []
        while len(spots) < count and tries < 60:
            spot = low + rng.random(2) * (high - low)
            tries += 1
            if all(np.hypot(*(spot - other)) > _CLEARANCE for other in spots):
                spots.append(spot)
    return np.stack(spots)
