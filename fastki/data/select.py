"""From the keys that a reader found to the actions, the state and the cameras. Axes: D numbers a frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fastki.data.keys import choose_action_keys, choose_state_keys, name_dimensions
from fastki.data.options import OpenOptions
from fastki.data.robots import Kind, Robot, Vector, guess_robot, robot_preset
from fastki.errors import DataError

KeyKind = Literal["numbers", "image", "text", "other"]


@dataclass(frozen=True)
class Key:
    """One thing that a dataset has for every frame.

    Attributes:
        name: with the format's own separators.
        kind: what it holds.
        shape: of one frame, () for a single number; -1 where it varies.
        dtype: as the format calls it.
    """

    name: str
    kind: KeyKind
    shape: tuple[int, ...] = ()
    dtype: str = ""

    @property
    def width(self) -> int | None:
        """D where a frame is a number or a flat list of D numbers, else None."""
        if self.kind != "numbers" or len(self.shape) > 1 or any(size < 0 for size in self.shape):
            return None
        return math.prod(self.shape)


@dataclass(frozen=True)
class Selection:
    """What was chosen among a dataset's keys.

    Attributes:
        keys: all of them.
        action_keys, state_keys: the chosen ones, in order; there may be no state.
        robot: the preset, if one was asked for or guessed.
        why: why that one, or why none.
        action, state: the preset's description, where its keys are the chosen ones.
    """

    keys: tuple[Key, ...]
    action_keys: tuple[str, ...]
    state_keys: tuple[str, ...]
    robot: Robot | None
    why: str
    action: Vector | None
    state: Vector | None

    @property
    def cameras(self) -> tuple[str, ...]:
        """The image keys."""
        return tuple(key.name for key in self.keys if key.kind == "image")

    def describe(self, given: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
        """The fields of ``DatasetInfo`` that follow from the choice.

        Args:
            given: key → names of its dimensions, where the dataset has some, in any of the usual forms; they
                count before the preset's.
            notes: takes what is doubtful.
        """
        widths = {key.name: key.width or 0 for key in self.keys}
        kind: Kind | None = self.action.kind if self.action else None
        return {
            "action_key": ",".join(self.action_keys),
            "state_key": ",".join(self.state_keys) or None,
            "action_names": _names(self.action_keys, self.action, widths, given, "action", notes),
            "state_names": _names(self.state_keys, self.state, widths, given, "state", notes),
            "action_units": self.action.units if self.action else (),
            "state_units": self.state.units if self.state else (),
            "grippers": self.action.grippers if self.action else (),
            "state_grippers": self.state.grippers if self.state else (),
            "action_kind": kind,
            "preset": self.robot.name if self.robot else None,
            "preset_reason": self.why,
            "keys": self.keys,
        }


def select_keys(
    keys: Sequence[Key], options: OpenOptions, *, where: str, hint: str = "", notes: list[str]
) -> Selection:
    """The actions and the state among ``keys``: those asked for, the robot's, or the usual names.

    Args:
        keys: all that a frame holds.
        options: the user's wishes.
        where: the dataset, for messages.
        hint: its robot type and name, as far as it has them.
        notes: takes what is doubtful.

    Raises:
        DataError: no key or several could be the actions, or one that was asked for is not there.
        UsageError: an unknown robot.
    """
    widths = {key.name: key.width for key in keys if key.width}
    robot, why = _robot(keys, options, hint)
    action = _pick(robot.actions if robot else (), options.action_key, widths)
    if robot is not None and options.robot == robot.name and action is None and options.action_key is None:
        wanted = " or ".join("+".join(vector.keys) for vector in robot.actions)
        raise DataError(
            f"{where}: it has no actions as --robot {robot.name} has them ({wanted}), but "
            f"{', '.join(widths) or 'no numbers'}: choose with --action-key KEY, or use --robot none"
        )
    action_keys = action.keys if action else choose_action_keys(list(widths), options.action_key, where=where)
    rest = [key for key in widths if key not in action_keys]
    state = _pick(robot.states if robot else (), options.state_key, widths)
    if state is not None:
        state_keys = state.keys
    else:
        candidates = list(widths) if options.state_key else rest
        state_keys = choose_state_keys(candidates, options.state_key, where=where, notes=notes)
    if robot is not None and robot.remark and action is not None:
        notes.append(f"{robot.title}: {robot.remark}")
    return Selection(tuple(keys), action_keys, state_keys, robot, why, action, state)


def _robot(keys: Sequence[Key], options: OpenOptions, hint: str) -> tuple[Robot | None, str]:
    if options.robot != "auto":
        return robot_preset(options.robot), "asked for by --robot"
    widths = {key.name: key.width for key in keys if key.width}
    return guess_robot(widths, [key.name for key in keys if key.kind == "image"], hint)


def _pick(vectors: Sequence[Vector], asked: str | None, widths: Mapping[str, int]) -> Vector | None:
    """The first of a robot's vectors that the data have, and that the user, if he asks, means."""
    wanted = None if asked is None else tuple(key.strip() for key in asked.split(","))
    return next((vector for vector in vectors if vector.fits(widths) and wanted in (None, vector.keys)), None)


def _names(
    keys: Sequence[str],
    vector: Vector | None,
    widths: Mapping[str, int],
    given: Mapping[str, Any],
    what: str,
    notes: list[str],
) -> tuple[str, ...]:
    if vector is not None and all(given.get(key) is None for key in keys):
        return vector.names
    return name_dimensions(keys, [widths[key] for key in keys], given, what=what, notes=notes)
