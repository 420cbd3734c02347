"""Rows of episodes out of LeRobot's data files. Axes: F rows of a file, T frames, D dimensions, G row groups."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.formats.parquet import group_starts, read_columns, read_footer
from fastki.data.paths import AnyPath
from fastki.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

BLOCK_BYTES = 2**24
"""How much is read at once of rows that are asked for in order, decoded."""
_EPISODE = "episode_index"


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a file.

    Attributes:
        first: where they begin in the file.
        columns: column → ``[T]`` or ``[T, D]``.
    """

    first: int
    columns: Mapping[str, NDArray[Any]]

    @property
    def end(self) -> int:
        """The row after the last."""
        return self.first + len(next(iter(self.columns.values()), ()))

    def part(self, first: int, end: int) -> dict[str, NDArray[Any]]:
        """Views of the rows ``first`` to ``end``, counted in the file."""
        return {name: column[first - self.first : end - self.first] for name, column in self.columns.items()}


class SharedFile:
    """A data file of several episodes, as LeRobot v3.0 has them; may be used by several threads.

    Where each episode lies is found by one look at the column ``episode_index``. Of the others only the row
    groups are read that hold the episode asked for; while episodes are asked for in order, ``block`` rows at once.
    """

    def __init__(self, path: AnyPath, *, block: int) -> None:
        self._path, self._block = path, block
        self._lock = threading.Lock()
        self._layout: _Layout | None = None
        self._held = Rows(0, {})

    def rows(self, episode: int, names: Sequence[str]) -> Rows:
        """The columns ``names`` of the rows whose ``episode_index`` is ``episode``.

        Raises:
            DataError: an unreadable file, an absent column, or no rows of the episode, or here and there.
        """
        with self._lock:
            self._layout = layout = self._layout or _Layout.read(self._path)
            first, end = layout.span(episode, self._path)
            if not self._held.columns.keys() >= set(names):
                self._held = Rows(0, {})
            if not self._held.first <= first <= end <= self._held.end:
                self._held = self._read(layout, first, end, names)
            # Copies, so that an episode that is kept does not keep all that is held.
            part = self._held.part(first, end)
            return Rows(first, {name: part[name].copy() for name in names})

    def close(self) -> None:
        """Forget what was read."""
        with self._lock:
            self._layout, self._held = None, Rows(0, {})

    def _read(self, layout: _Layout, first: int, end: int, names: Sequence[str]) -> Rows:
        """The rows ``first`` to ``end`` and more: what is held of them, and the row groups of the others."""
        held = self._held
        if not held.first <= first <= held.end:
            groups = layout.groups(first, end)
            return Rows(int(layout.starts[groups[0]]), self._columns(layout, groups, names))
        groups = layout.groups(held.end, max(end, held.end + self._block))
        new = self._columns(layout, groups, names)
        if first == held.end:
            return Rows(first, new)
        old = held.part(first, held.end)
        for name in names:
            if old[name].shape[1:] != new[name].shape[1:]:
                raise DataError(f"{self._path}, column {name}: its rows have unequal lengths")
        return Rows(first, {name: np.concatenate([old[name], new[name]]) for name in names})

    def _columns(self, layout: _Layout, groups: Sequence[int], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        return read_columns(self._path, names, groups=groups, footer=layout.footer)


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where the episodes and the row groups of a file begin.

    Attributes:
        footer: the file's own description.
        starts: ``[G + 1]``, the first row of each row group, and F.
        edges: ``[R + 1]``, the first row of each run of rows of one episode, and F.
        episodes: ``[R]``, the episode of each run.
    """

    footer: pq.FileMetaData
    starts: NDArray[np.int64]
    edges: NDArray[np.int64]
    episodes: NDArray[Any]

    @classmethod
    def read(cls, path: AnyPath) -> _Layout:
        footer = read_footer(path)
        numbers = read_columns(path, [_EPISODE], footer=footer)[_EPISODE]
        if numbers.ndim > 1:
            raise DataError(f"{path} is damaged: {_EPISODE} is no number: fetch it again")
        first = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1))
        return cls(footer, group_starts(footer), np.append(first, len(numbers)), numbers[first])

    def span(self, episode: int, path: AnyPath) -> tuple[int, int]:
        """The first row of ``episode``, and the one after its last."""
        runs = np.flatnonzero(self.episodes == episode)
        if not len(runs):
            raise DataError(f"{path} has no rows of episode {episode}: fetch the dataset again")
        if len(runs) > 1:
            raise DataError(f"{path}: rows of episode {episode} are scattered")
        return int(self.edges[runs[0]]), int(self.edges[runs[0] + 1])

    def groups(self, first: int, end: int) -> range:
        """The row groups of the rows ``first`` to ``end``, as far as there are any."""
        begin = int(np.searchsorted(self.starts, first, side="right")) - 1
        return range(begin, max(begin, int(np.searchsorted(self.starts[:-1], end))))
