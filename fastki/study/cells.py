"""What a study is made of: cells, the data that they share, and the rows that come of them.

Nothing here knows what is studied. A study is data (its cells' parameters and the arrays that they look at) and one
module-level function that turns cells into rows; an engine calls it in other processes.

>>> import numpy as np
>>> def square(shard, cells):
...     for place, cell in enumerate(cells):
...         yield place, {"square": cell.parameters["side"] ** 2 * int(shard.arrays["one"][0])}
>>> shard = Shard({"one": np.ones(1)}, None)
>>> cells = tuple(Cell({"side": side}, shard="all", group="a") for side in (2, 3))
>>> [(place, row["square"]) for place, row in square(shard, cells)]
[(0, 4), (1, 9)]
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


class StudyError(RuntimeError):
    """The study's own function failed: a mistake in fastki, with the worker's traceback."""


Row = dict[str, Any]
"""Plain JSON values by name. ``error`` is the reason where the cell has no result, else absent or None."""


@dataclass(frozen=True, eq=False)
class Shard:
    """Data that several cells look at, sent to the workers once.

    Attributes:
        arrays: by name; read-only for the cells.
        context: anything else, small, that can be pickled.
    """

    arrays: Mapping[str, NDArray[Any]]
    context: Any


@dataclass(frozen=True, eq=False)
class Cell:
    """One row to be.

    Attributes:
        parameters: plain JSON values: what tells this cell from the others.
        shard: name of the shard it looks at.
        group: cells of one shard and group are given to the function together, so that they may share work.
    """

    parameters: Mapping[str, Any]
    shard: str
    group: str


Work = Callable[[Shard, Sequence[Cell]], Iterator[tuple[int, Row]]]
"""A module-level function: yields (place of the cell among those given, its row), each as soon as it is there."""


@dataclass(frozen=True, eq=False)
class Study:
    """Cells, and how rows are made of them.

    Attributes:
        name: of the study, part of each row's key.
        settings: plain JSON values that hold for all cells: the data's fingerprint, how they are cut, a version.
        cells: in the order of the rows.
        shards: by name; each a function that makes the shard, called at most once and only if a cell needs it.
        work: cells → rows.
    """

    name: str
    settings: Mapping[str, Any]
    cells: tuple[Cell, ...]
    shards: Mapping[str, Callable[[], Shard]]
    work: Work

    def key(self, index: int) -> str:
        """What tells a cell's row from every other row of any study: hex, the same in every run."""
        whole = {"study": self.name, "settings": self.settings, "cell": self.cells[index].parameters}
        text = json.dumps(whole, sort_keys=True, ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Task:
    """Cells that one worker computes together.

    Attributes:
        cells: their indices in the study.
        shard: name of their shard.
        attempts: how many workers were lost over it.
    """

    cells: tuple[int, ...]
    shard: str
    attempts: int = 0

    def without(self, done: set[int], *, lost: bool = False) -> Task:
        """What is left of it, after a worker was lost or not."""
        return Task(tuple(cell for cell in self.cells if cell not in done), self.shard, self.attempts + lost)


def tasks_of(study: Study, wanted: Sequence[int]) -> list[Task]:
    """The wanted cells by shard and group, in the order of their first cells."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index in wanted:
        cell = study.cells[index]
        groups.setdefault((cell.shard, cell.group), []).append(index)
    return [Task(tuple(cells), shard) for (shard, _), cells in groups.items()]
