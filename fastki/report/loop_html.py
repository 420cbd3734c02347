"""A policy in a simulator, out of the files that ``fastki eval --env`` wrote, as sections of a page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastki.report.closed_loop import FILMS, NAME, TITLES, loop_figures, loop_verdicts
from fastki.report.drawn import write_drawn
from fastki.report.html import Cell, Column, Command, Facts, Picture, Row, Section, Table, Words
from fastki.report.html_table import pictures
from fastki.report.runs import damaged, read_object
from fastki.report.tables import counted
from fastki.sim.closed_loop import ClosedLoop, Success
from fastki.sim.rollout import Rollout

MADE_BY = "fastki eval --env"
_GIF = (b"GIF87a", b"GIF89a")
_LARGEST_FILM = 4 * 2**20
_NOT_KEPT = np.zeros((0, 0))  # The actions of an episode.


@dataclass(frozen=True)
class Played:
    """What such a file says.

    Attributes:
        folder: that it lies in.
        env: such as ``metaworld:reach-v3``.
        found: what was measured, without films.
        document: all of the file.
    """

    folder: Path
    env: str
    found: ClosedLoop
    document: dict[str, Any]

    @property
    def task(self) -> str:
        """Of the simulator."""
        return self.env.partition(":")[2]


def played_in(run: Path) -> list[Played]:
    """All that was played by the policy of a training run, as ``fastki eval`` leaves it in the run's folder.

    Raises:
        DataError: a file is damaged.
    """
    return [read_loop(path) for path in sorted((run / "evaluation").glob(f"*/{NAME}"))]


def read_loop(path: Path) -> Played:
    """``closed_loop.json``.

    Raises:
        DataError: it is missing or damaged.
    """
    document = read_object(path, MADE_BY)
    try:
        heads, floors = (tuple(_success(*row) for row in document[kind].items()) for kind in ("heads", "floors"))
        if not heads:
            raise ValueError("it has no heads")
        counts = (int(document[name]) for name in ("replan", "horizon", "limit", "fps"))
        found = ClosedLoop(str(document["prompt"]), heads, floors, *counts)
        return Played(path.parent, str(document["env"]), found, document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, error, MADE_BY) from error


def loop_sections(folder: Path, scratch: Path) -> tuple[str, list[Section]]:
    """What was played in words, and what a page has of it: sentences, rates, the figure and the films.

    Args:
        folder: that ``closed_loop.json`` lies in.
        scratch: the figure is written into it.

    Raises:
        DataError: the file is missing or damaged.
    """
    played = read_loop(folder / NAME)
    parts = loop_parts(played, scratch, "success")
    command = played.document.get("command")
    asked = [Section("Command", (Command(command),))] if isinstance(command, str) else []
    what = f"{played.document.get('run') or played.document.get('checkpoint')} in {played.env}"
    return what, [Section("How often it is solved", parts), *asked]


def loop_parts(played: Played, scratch: Path, stem: str) -> tuple[Words | Facts | Table | Picture, ...]:
    """The same without headings; the figure is written as ``stem``, which nothing else on the page may have."""
    drawn = [replace(one, stem=stem) for one in loop_figures(played.task, played.found)]
    write_drawn(drawn, scratch, stems=())
    words = tuple(loop_verdicts(played.found))
    return (
        *((Words(words, listed=True),) if words else ()),
        _facts(played),
        _table(played.found),
        *pictures(drawn, scratch),
        *_films(played),
    )


def _success(name: str, plain: dict[str, Any]) -> Success:
    if name not in TITLES:
        raise ValueError(f"nothing acts by {name!r}")
    rollouts = tuple(
        Rollout(int(one["seed"]), bool(one["solved"]), int(one["frames"]), _NOT_KEPT) for one in plain["rollouts"]
    )
    if not rollouts:
        raise ValueError(f"{name} has no episodes")
    return Success(name, rollouts, {})


def _facts(played: Played) -> Facts:
    found = played.found
    acts = f"{found.replan} of a chunk's {found.horizon} actions, then anew; {found.limit} frames an episode"
    return Facts((("task", f"{played.env}, {found.prompt!r}"), ("acts", f"{acts}, {found.fps} a second")))


def _table(found: ClosedLoop) -> Table:
    columns = (
        Column("acts by", words=True),
        Column("solved", "episodes in which the task was solved in time"),
        Column("episodes"),
        Column("rate"),
        Column("from", "lower end of Wilson's 95 % interval"),
        Column("to", "upper end of Wilson's 95 % interval"),
    )
    rows = []
    for row in found.rows:
        low, high = row.interval
        counts = (Cell(f"{count:,}", count) for count in (row.solved, len(row.rollouts)))
        shares = (Cell(f"{share:.0%}", share) for share in (row.rate, low, high))
        rows.append(Row((Cell(TITLES[row.name]), *counts, *shares), best=row in found.heads))
    return Table(f"{counted(len(found.rows), 'way')} to act, in the same episodes", columns, tuple(rows))


def _films(played: Played) -> list[Picture]:
    """Those that lie beside the file and are what they should be."""
    films = []
    for row in played.found.heads:
        for kind in FILMS:
            path = played.folder / f"{row.name}-{kind}.gif"
            if path.is_file() and path.stat().st_size <= _LARGEST_FILM and path.read_bytes()[:6] in _GIF:
                films.append(Picture(f"{TITLES[row.name]}: a {kind}", "All cameras, side by side.", None, path))
    return films
