"""Which arrays of a dataset are the actions and the state, and what their dimensions are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastki.errors import DataError

ACTION_KEYS = ("action", "actions")
STATE_KEYS = (
    "observation.state",
    "state",
    "states",
    "observation/state",
    "observations/state",
    "observations/qpos",
    "qpos",
)
_MAX_WIDTH = 2**16


def choose_action_keys(candidates: Sequence[str], asked: str | None, *, where: str) -> tuple[str, ...]:
    """The keys that hold the actions: those asked for, a usual name, or the only one it can be.

    Raises:
        DataError: none or several, or one that was asked for is not there; lists the candidates.
    """
    if asked is not None:
        return _asked_for(candidates, asked, option="--action-key", where=where)
    for key in ACTION_KEYS:
        if key in candidates:
            return (key,)
    likely = [key for key in candidates if _has_word(key, "action")] or list(candidates)
    if len(likely) == 1:
        return (likely[0],)
    if not likely:
        raise DataError(f"{where}: it holds no numbers that could be actions: give data with an array [T, A] of them")
    problem = "several keys could be the actions"
    raise DataError(f"{where}: {problem} ({_listed(candidates)}): choose with --action-key KEY")


def choose_state_keys(candidates: Sequence[str], asked: str | None, *, where: str, notes: list[str]) -> tuple[str, ...]:
    """The keys that hold the state, empty if there is none; doubt goes into ``notes``."""
    if asked is not None:
        return _asked_for(candidates, asked, option="--state-key", where=where)
    for key in STATE_KEYS:
        if key in candidates:
            return (key,)
    likely = [key for key in candidates if _has_word(key, "state")]
    if len(likely) > 1:
        notes.append(f"several keys could be the state ({_listed(likely)}): choose with --state-key KEY")
    return tuple(likely) if len(likely) == 1 else ()


def _asked_for(candidates: Sequence[str], asked: str, *, option: str, where: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in asked.split(","))
    for key in keys:
        if key not in candidates:
            listed = _listed(candidates)
            raise DataError(f"{where}: no numeric key {key!r}; there are {listed}: use {option} KEY")
    if len(set(keys)) < len(keys):
        raise DataError(f"{where}: {option} {asked!r} names a key twice")
    return keys


def _has_word(key: str, word: str) -> bool:
    return any(part in (word, word + "s") for part in re.split(r"[^a-z]+", key.lower()))


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys) if keys else "none"


def flatten_names(names: Any, *, depth: int = 5) -> list[str] | None:
    """The dimension names in any of the forms that datasets use, None where they are not names.

    >>> flatten_names([["x", "y"]]), flatten_names({"motors": ["x", "y"]}), flatten_names({"y": 1, "x": 0})
    (['x', 'y'], ['x', 'y'], ['x', 'y'])
    """
    if isinstance(names, str):
        return [names]
    if isinstance(names, Mapping):
        if names and all(isinstance(value, int) for value in names.values()):
            return [str(key) for key in sorted(names, key=names.__getitem__)]
        names = list(names.values())
    if not isinstance(names, Sequence) or not names or depth == 0:
        return None
    parts = [flatten_names(part, depth=depth - 1) for part in names]
    return [name for part in parts if part for name in part] if all(parts) else None


def name_dimensions(
    keys: Sequence[str], widths: Sequence[int], given: Mapping[str, Any], *, what: str, notes: list[str]
) -> tuple[str, ...]:
    """A name for each dimension of the concatenated ``keys``; ``what`` is "action" or "state".

    Names from ``given`` (key → names in any form) count where their number fits; others are made up.
    """
    result: list[str] = []
    for key, width in zip(keys, widths, strict=True):
        if width > _MAX_WIDTH:
            raise DataError(f"{key} has {width} values a frame, too many for {what}s: choose another key")
        names = flatten_names(given.get(key))
        if names is not None and len(names) != width:
            notes.append(f"{key} has {width} dimensions but {len(names)} names, which are ignored")
            names = None
        stem = what if len(keys) == 1 else key
        result += names or [f"{stem}[{i}]" for i in range(width)]
    return tuple(result)
