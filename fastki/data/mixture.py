"""Mixtures: several datasets with weights, described in a TOML file. Axes: T frames, A dims, E episodes.

::

    [[dataset]]
    data = "recordings/kitchen"   # a path from this file's folder, or any name that open_dataset takes
    weight = 2.0                  # chunks are drawn 2 : 1
    dims = "0:7"

    [[dataset]]
    data = "lerobot/droid_100"
    fps = 30
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fastki.config import from_plain
from fastki.data.chunks import ChunkSpec
from fastki.data.dims import parse_dims
from fastki.data.episode import Dataset, DatasetInfo, Episode
from fastki.data.files import read_text, stay_inside
from fastki.data.hub import SCHEME, in_cache, parse_hub_name
from fastki.data.idle import IdleFilter
from fastki.data.options import OpenOptions
from fastki.data.paths import AnyPath, is_local, is_remote
from fastki.data.views import derived
from fastki.errors import DataError, UsageError

Opener = Callable[[str, OpenOptions], Dataset]
_OPENING = tuple(field.name for field in dataclasses.fields(OpenOptions))


@dataclass(frozen=True)
class MixturePart:
    """One ``[[dataset]]`` of a mixture's file.

    Attributes:
        data: a path from the file's folder, or any name that ``open_dataset`` takes.
        name: what it is called in tables and folders; by default the last part of ``data``.
        weight: chunks are drawn in proportion to it, above 0.
        dims, delta, delta_from, drop_idle: as ``fit`` takes them.
        action_key, state_key, split, robot, fps, hold, skip_bad, slots: see :class:`OpenOptions`.

    Raises:
        UsageError: a weight that is no positive number.
    """

    data: str
    name: str = ""
    weight: float = 1.0
    dims: str | None = None
    delta: str | None = None
    delta_from: Literal["state", "previous"] = "state"
    drop_idle: float | None = None
    action_key: str | None = None
    state_key: str | None = None
    split: str | None = None
    robot: str = "auto"
    fps: float | None = None
    hold: str | None = None
    skip_bad: bool = False
    slots: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise UsageError(f"{self.data}: weight {self.weight} is out of range: a number above 0 is needed")

    @property
    def opening(self) -> OpenOptions:
        return OpenOptions(**{name: getattr(self, name) for name in _OPENING})


@dataclass(frozen=True)
class MixtureFile:
    """The whole file."""

    dataset: tuple[MixturePart, ...]


@dataclass(frozen=True, eq=False)
class Member:
    """One dataset of a mixture.

    Attributes:
        name: unique in the mixture.
        share: of the chunks drawn, in (0, 1]; all members' add up to 1.
        dataset: opened.
        part: its entry in the file.
        dims: the action dimensions kept, as ``dataset`` numbers them.
    """

    name: str
    share: float
    dataset: Dataset
    part: MixturePart
    dims: tuple[int, ...]

    def spec(self, base: ChunkSpec) -> ChunkSpec:
        """How this member's chunks are cut: as ``base`` says, with the member's own dimensions."""
        info, part = self.dataset.info, self.part
        return replace(
            base,
            dims=self.dims,
            delta=() if part.delta is None else parse_dims(part.delta, info.action_dim, info.action_names),
            delta_from=part.delta_from,
            idle=base.idle if part.drop_idle is None else IdleFilter(part.drop_idle),
            idle_ignores=info.grippers,
        )


class Mixture(Dataset):
    """The members' episodes, one member after the other, with the dimensions that each keeps.

    Raises:
        DataError: members of unequal action dimensions.
    """

    def __init__(self, members: Sequence[Member], *, uri: str) -> None:
        self.members = tuple(members)
        self._ends = np.cumsum([len(member.dataset) for member in members])
        first, infos = members[0], [member.dataset.info for member in members]
        for member in members[1:]:
            if len(member.dims) != len(first.dims):
                raise DataError(
                    f"{uri}: {member.name} has {len(member.dims)} action dimensions, but {first.name} has "
                    f'{len(first.dims)}: choose equally many with dims = "…" in each [[dataset]]'
                )
        names, units = ({_kept(member, what) for member in members} for what in ("action_names", "action_units"))
        rates, states = {info.fps for info in infos}, {info.state_names for info in infos}
        self.info = DatasetInfo(
            uri=uri,
            format=f"mixture of {len(members)}",
            fps=rates.pop() if len(rates) == 1 else None,
            action_key=", ".join(f"{member.name}: {member.dataset.info.action_key}" for member in members),
            action_names=names.pop() if len(names) == 1 else tuple(f"action[{i}]" for i in range(len(first.dims))),
            action_units=units.pop() if len(units) == 1 else (),
            state_names=states.pop() if len(states) == 1 else (),
            cameras=tuple(dict.fromkeys(camera for info in infos for camera in info.cameras)),
            lengths=np.concatenate([info.lengths for info in infos]),
            preset_reason="each member has its own",
            notes=tuple(f"{member.name}: {note}" for member in members for note in member.dataset.info.notes),
            fingerprint=derived(
                "mixture", *((m.name, m.share, m.dims, m.part.delta, m.dataset.info.fingerprint) for m in members)
            ),
        )

    def _read(self, index: int, *, state: bool) -> Episode:
        place = int(np.searchsorted(self._ends, index, side="right"))
        member = self.members[place]
        local = index - int(self._ends[place]) + len(member.dataset)
        episode = member.dataset.read(local, state=state and bool(self.info.state_names))
        return replace(episode, index=index, actions=episode.actions[:, list(member.dims)])


def claims(path: AnyPath) -> bool:
    """Whether ``path`` is a TOML file."""
    return path.suffix == ".toml" and path.is_file()


def open_mixture(path: AnyPath, *, uri: str, options: OpenOptions, open_part: Opener) -> Mixture:
    """The mixture that the TOML file ``path`` describes; ``open_part`` opens each member.

    Raises:
        DataError: a file that is no such description, or a member that cannot be opened.
        UsageError: an unknown entry, one out of range, or options that belong into the file.
    """
    for name in _OPENING:
        if name != "skip_bad" and getattr(options, name) != getattr(OpenOptions(), name):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is ambiguous for a mixture: write {name} into {uri}, dataset by dataset")
    try:
        content = from_plain(MixtureFile, tomllib.loads(read_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} is no TOML file ({error}): mend it there") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    if not content.dataset:
        raise DataError(f'{path} names no dataset: give one or more [[dataset]] with data = "…"')
    total = sum(part.weight for part in content.dataset)
    members: list[Member] = []
    for part in content.dataset:
        if part.data.endswith(".toml"):
            raise DataError(f"{path}: {part.data} is a mixture itself: name its datasets instead")
        opening = replace(part.opening, skip_bad=part.skip_bad or options.skip_bad)
        dataset = open_part(_from_folder(part.data, path), opening)
        dims = ":" if part.dims is None else part.dims
        kept = parse_dims(dims, dataset.info.action_dim, dataset.info.action_names)
        name = _unique(part.name or part.data, [member.name for member in members])
        members.append(Member(name, part.weight / total, dataset, part, kept))
    return Mixture(members, uri=uri)


def _from_folder(data: str, path: AnyPath) -> str:
    """``data`` from the folder of ``path`` where it is there, else as it stands.

    A mixture of somewhere else, the hub or a URL, may name what lies beside it or below, where it came from itself,
    and datasets of the hub; nothing of this machine.
    """
    if not data or data.startswith((SCHEME, "synthetic:")):
        return data
    beside = path.parent / data
    if is_local(path) and not in_cache(path.parent):
        return str(beside) if ":" not in data and (beside.exists() or data.startswith(".")) else data
    scheme = str(path).partition("://")[0] + "://"
    if not is_local(path) and data.startswith(scheme):
        return data
    if is_remote(data):
        raise DataError(f"{path} names {data}, which lies elsewhere: copy the mixture here if that is meant")
    inside = stay_inside(data, where=str(path))
    return data if parse_hub_name(data) is not None and not beside.exists() else str(path.parent / inside)


def _unique(name: str, taken: Sequence[str]) -> str:
    """A short name, fit for a folder, that no other member has."""
    stem = name.rstrip("/").rpartition("/")[2].replace(":", "_").split("?")[0] or "data"
    return next(text for text in (stem, *(f"{stem}_{i}" for i in range(2, 10**6))) if text not in taken)


def _kept(member: Member, what: str) -> tuple[Any, ...]:
    values = getattr(member.dataset.info, what)
    return tuple(values[dim] for dim in member.dims)
