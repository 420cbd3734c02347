"""A task that no simulator is needed for: bring a point to a goal that is drawn into the picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastki.sim.world import Seen, Setting

STEP = 0.1


class ToyWorld:
    """A point that moves by a tenth of the action; solved within 0.15 of the goal. Every third seed can't be solved."""

    def __init__(self, task: str, setting: Setting) -> None:
        self.setting = setting
        self.prompt, self.limit, self.action_dim = f"do {task}", 40, 4
        self.place, self.goal, self.closed = np.zeros(4), np.zeros(4), False
        self.looked = 0

    def __enter__(self) -> ToyWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def reset(self, seed: int) -> None:
        self.place = np.zeros(4)
        self.goal = np.append(np.random.default_rng(seed).uniform(-1, 1, 3), 0)
        self.barred = seed % 3 == 2

    def step(self, action) -> bool:
        self.place = self.place + STEP * np.clip(action, -1, 1)
        near = bool(np.abs(self.place - self.goal).max() < 0.15)
        return near and not self.barred

    def expert(self) -> NDArray[np.float32]:
        return np.clip((self.goal - self.place) / STEP, -1, 1).astype(np.float32)

    def look(self) -> Seen:
        self.looked += 1
        size = self.setting.size
        picture = np.full((size, size, 3), 90, np.uint8)
        for place, colour in ((self.place, (20, 60, 180)), (self.goal, (240, 30, 20))):
            row, column = ((np.clip(place[:2], -1, 1) + 1) / 2 * (size - 8)).astype(int)
            picture[row : row + 8, column : column + 8] = colour
        return Seen(dict.fromkeys(self.setting.cameras, picture), self.place.astype(np.float32))
