"""Dimension lists such as ``0:7,13``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from fastki.errors import UsageError

_INDEX = re.compile(r"[+-]?\d{1,9}")
_SLICE = re.compile(r"([+-]?\d{1,9})?:([+-]?\d{1,9})?(?::([+-]?\d{1,9})?)?")


def parse_dims(text: str, size: int, names: Sequence[str] = ()) -> tuple[int, ...]:
    """The dimensions that ``text`` names, in its order, each from 0 to ``size`` − 1.

    Parts, separated by commas, are indices and slices as in Python (negative counts from the end; a slice
    that reaches past the end is refused), or names out of ``names``.

    >>> parse_dims("0:3,-1", 8)
    (0, 1, 2, 7)
    >>> parse_dims("gripper, 0", 3, ("x", "y", "gripper"))
    (2, 0)

    Raises:
        UsageError: a part that is none of these, out of range or empty, or a dimension named twice.
    """
    result: list[int] = []
    for part in text.split(","):
        for dim in _parse_part(part.strip(), size, names):
            if dim in result:
                raise UsageError(f"dimension {dim} comes twice in {text!r}")
            result.append(dim)
    return tuple(result)


def _parse_part(part: str, size: int, names: Sequence[str]) -> Sequence[int]:
    if _INDEX.fullmatch(part):
        return [_in_range(int(part), part, size)]
    if match := _SLICE.fullmatch(part):
        return _parse_slice(part, match, size)
    matches = [i for i, name in enumerate(names) if name == part]
    if len(matches) == 1 and matches[0] < size:
        return matches
    if matches:
        raise UsageError(f"dimension name {part!r} is not unique: use one of the indices {matches}")
    raise UsageError(f"no dimension {part!r}{_hint(part, names)}: use {_valid(size)}, or slices such as 0:7")


def _parse_slice(part: str, match: re.Match[str], size: int) -> Sequence[int]:
    start, stop, step = (int(group) if group else None for group in match.groups())
    if step == 0:
        raise UsageError(f"dimensions {part!r}: the step of a slice cannot be 0")
    for bound in (start, stop):
        if bound is not None and not -size <= bound <= size:
            raise UsageError(f"dimensions {part!r} reach past the end: valid are {_valid(size)}")
    dims = range(size)[start:stop:step]
    if not dims:
        raise UsageError(f"dimensions {part!r} are none at all: valid are {_valid(size)}")
    return dims


def _in_range(index: int, part: str, size: int) -> int:
    if not -size <= index < size:
        raise UsageError(f"no dimension {part}: valid are {_valid(size)}")
    return index % size


def _valid(size: int) -> str:
    return f"0 to {size - 1}" if size > 1 else "0 alone"


def _hint(part: str, names: Sequence[str]) -> str:
    if not part:
        return " (an empty part between commas)"
    near = difflib.get_close_matches(part, names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
