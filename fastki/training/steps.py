"""The checkpoints of a run as they lie in its folder: which steps can be read, and why others can't.

RUN/checkpoints/STEP/params/        all parameters for inference, in openpi's layout
                     train_state/   what training goes on from besides
                     loader/        where each process was in the data
                     assets/        what else inference needs: the caller's
                     sizes.json     of the first three's files: one that is lost or cut off is found before it is read
                     checksums.json likewise: one that differs in a bit is found when training goes on from it
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastki.errors import CheckpointError
from fastki.files import write_text

PARAMS, TRAIN_STATE, LOADER, ASSETS = "params", "train_state", "loader", "assets"
_STEP_RECORD, _TREE_RECORD, _STORE = "_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt"
_UNFINISHED, _SET_ASIDE = ".orbax-checkpoint-tmp", ".damaged"
_SIZES = "sizes.json"
_MAX_RECORD = 1 << 26


@dataclass(frozen=True)
class Steps:
    """What :func:`find_steps` found.

    Attributes:
        usable: steps in ascending order whose records and sizes of files are as they should be.
        ignored: name of a folder → why it is no usable checkpoint, in one phrase.
    """

    usable: tuple[int, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)

    @property
    def latest(self) -> int | None:
        """The newest usable step."""
        return self.usable[-1] if self.usable else None


def find_steps(folder: Path, *, training: bool = True) -> Steps:
    """The steps under ``folder`` (``RUN/checkpoints``); nothing is loaded but small records.

    Args:
        folder: may be absent: no steps then.
        training: a step must have a ``train_state`` as well as ``params``.

    Raises:
        CheckpointError: ``folder`` is a file.
    """
    if not folder.exists():
        return Steps()
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is a file, not a folder of checkpoints")
    usable, ignored = [], {}
    for place in sorted(folder.iterdir()):
        if not place.is_dir():
            continue
        if reason := _why_not(place, training):
            ignored[place.name] = reason
        else:
            usable.append(int(place.name))
    return Steps(tuple(sorted(usable)), ignored)


def set_aside(place: Path) -> Path:
    """Rename a damaged step's folder, so that its number is free and its files are kept; the new path."""
    names = (place.with_name(f"{place.name}{_SET_ASIDE}{number or ''}") for number in itertools.count())
    target = next(name for name in names if not name.exists())
    return place.rename(target)


def record_sizes(place: Path) -> None:
    """Note the size of each file of a step that has just been saved whole."""
    write_text(place / _SIZES, json.dumps(_sizes(place, (PARAMS, TRAIN_STATE, LOADER))))


def _sizes(place: Path, items: Iterable[str]) -> dict[str, int]:
    """Bytes by path of all files of some items."""
    return {file.relative_to(place).as_posix(): file.stat().st_size for file in saved_files(place, items)}


def saved_files(place: Path, items: Iterable[str] = (PARAMS, TRAIN_STATE, LOADER)) -> list[Path]:
    """All files of some items of a step; assets are the caller's, who may change them."""
    return sorted(file for item in items for file in (place / item).rglob("*") if file.is_file())


def _why_not(place: Path, training: bool) -> str | None:
    """Why a folder is no checkpoint to be read, or None."""
    if _UNFINISHED in place.name:
        return "unfinished: its saving was cut off"
    if _SET_ASIDE in place.name:
        return "set aside as damaged"
    if not (place.name.isascii() and place.name.isdigit()):
        return "its name is no step"
    if str(int(place.name)) != place.name:
        return f"a step's name has no leading zeros: rename it to {int(place.name)}"
    record = read_record(place / _STEP_RECORD)
    if not isinstance(record, dict) or not record.get("commit_timestamp_nsecs"):
        return f"damaged: {_STEP_RECORD} is missing or broken"
    items = (PARAMS, TRAIN_STATE) if training else (PARAMS,)
    for item in items:
        if not isinstance(read_record(place / item / _TREE_RECORD), dict):
            return f"damaged: {item}/{_TREE_RECORD} is missing or broken"
        if not (place / item / _STORE).is_file() or not (place / item / _STORE).stat().st_size:
            return f"damaged: {item}/{_STORE} is missing or empty"
    return _wrong_size(place, (*items, LOADER) if training else items)


def _wrong_size(place: Path, items: tuple[str, ...]) -> str | None:
    """What is wrong with the sizes of files, where they were noted (openpi notes none, a killed run not always)."""
    sizes = read_record(place / _SIZES)
    if not isinstance(sizes, dict):
        return None
    present = _sizes(place, items)
    for name, size in sizes.items():
        if name.partition("/")[0] not in items:
            continue
        if name not in present:
            return f"damaged: {name} is missing"
        if present[name] != size:
            return f"damaged: {name} has {present[name]:,} of {size} bytes"
    return None


def read_record(path: Path) -> object:
    """The value in a small JSON file; None where there is no such file, it is too large, or it is none."""
    try:
        if path.stat().st_size > _MAX_RECORD:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
