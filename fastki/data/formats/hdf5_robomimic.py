"""robomimic and LIBERO: the episodes ``data/demo_*`` of a file, and lists of them by name (filter keys)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from fastki.data.formats.hdf5_dataset import Hdf5Dataset, Place
from fastki.data.formats.hdf5_file import Hdf5File
from fastki.data.paths import AnyPath
from fastki.data.select import Key, Selection
from fastki.errors import DataError

_DEMO = re.compile(r"demo_?\d+")
_SCENE = re.compile(r"^[A-Z0-9_]*SCENE\d+_")
_ROBOT_STATE = ("obs/robot0_eef_pos", "obs/robot0_eef_quat", "obs/robot0_gripper_qpos")


class RobomimicDataset(Hdf5Dataset):
    """The demonstrations in robomimic's files, of which LIBERO's are a kind with a task each."""

    title = "robomimic"
    layout = "data/demo_*/actions, data/demo_*/obs/…"
    rate = 20.0
    per_frame = ("obs/",)
    left_out = ("next_obs/",)
    actions = "actions"
    states = (
        ("obs/ee_states", "obs/gripper_states"),
        (*_ROBOT_STATE, *(key.replace("robot0", "robot1") for key in _ROBOT_STATE)),
        _ROBOT_STATE,
    )

    @classmethod
    def matches(cls, file: Hdf5File) -> bool:
        return bool(_demos(file))

    def _chosen(self, files: Sequence[AnyPath]) -> Sequence[AnyPath]:
        return files

    def _episodes(self, file: Hdf5File) -> list[Place]:
        demos = _demos(file)
        split = self._options.split
        if split is not None:
            wanted = _filter_key(file, split)
            if absent := wanted - set(demos):
                raise DataError(f"{file.path}: filter key {split} names {min(absent)}, which is not in data")
            demos = [demo for demo in demos if demo in wanted]
        place = _describe(file)
        return [replace(place, group=f"data/{demo}") for demo in demos]

    def _select(self, keys: Sequence[Key], first: Place, notes: list[str]) -> Selection:
        selection = super()._select(keys, first, notes)
        if selection.state_keys == ("states",) and self._options.state_key is None:
            notes.append("the state is the simulator's (states), not a robot's: choose another with --state-key KEY")
        return selection


def _demos(file: Hdf5File) -> list[str]:
    return [name for name in file.children("data") if _DEMO.fullmatch(name)]


def _filter_key(file: Hdf5File, name: str) -> set[str]:
    """The demonstrations that filter key ``name`` lists."""
    names = file.children("mask")
    if name not in names:
        there = f"there are {', '.join(names)}" if names else "there are none: leave --split out"
        raise DataError(f"{file.path}: no filter key {name!r}; {there}")
    return set(file.texts(f"mask/{name}"))


def _describe(file: Hdf5File) -> Place:
    """What the file says of all its demonstrations."""
    notes: list[str] = []
    problem = _json(file, "problem_info", notes)
    env = _json(file, "env_args", notes)
    given = env.get("env_kwargs")
    settings = given if isinstance(given, dict) else {}
    robots = settings.get("robots")
    robots = [robots] if isinstance(robots, str) else robots if isinstance(robots, list) else []
    bddl = file.text("data", "bddl_file_name", notes)
    libero = bool(problem or bddl)
    if libero and file.text("data", "macros_image_convention", notes) == "opengl":
        notes.append("images are given as they are stored: upside down (OpenGL's convention)")
    return Place(
        file.path,
        format="LIBERO HDF5" if libero else "robomimic HDF5",
        prompt=_instruction(problem) or _task_of(PurePosixPath(bddl).stem) or _task_of(file.path.stem, mark="_demo"),
        fps=_rate(settings.get("control_freq")),
        robot=", ".join(robot for robot in robots if isinstance(robot, str)) or None,
        hint="libero" if libero else "",
        notes=tuple(notes),
    )


def _json(file: Hdf5File, attribute: str, notes: list[str]) -> dict[str, Any]:
    """The JSON object in an attribute of ``data``, empty where there is none."""
    text = file.text("data", attribute, notes)
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        notes.append(f"{file.path.name}: {attribute} is no JSON object and is not used")
        return {}
    return value


def _instruction(problem: dict[str, Any]) -> str:
    """LIBERO's own words for the task, which older files keep in pieces."""
    words = problem.get("language_instruction")
    if isinstance(words, list):
        words = "".join(word for word in words if isinstance(word, str))
    return words.strip().strip('"') if isinstance(words, str) else ""


def _task_of(stem: str, *, mark: str = "") -> str:
    """The task in a LIBERO file's name, "" where it is not named like one.

    >>> _task_of("KITCHEN_SCENE3_turn_on_the_stove_demo", mark="_demo")
    'turn on the stove'
    """
    if not stem.endswith(mark):
        return ""
    return _SCENE.sub("", stem.removesuffix(mark)).replace("_", " ").strip()


def _rate(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    return None
