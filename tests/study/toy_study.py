"""A study that knows nothing of robots: numbers times a factor, some of which misbehave."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastki.study.cells import Cell, Row, Shard, Study


def multiply(shard: Shard, cells: Sequence[Cell]) -> Iterator[tuple[int, Row]]:
    """Each cell's ``number`` times the shard's factor, noting in the context's folder that it was computed.

    ``mode`` of a cell: ``die`` kills its process, ``die once`` the first time only, ``raise`` raises, ``wait`` takes
    half a second, ``beat`` an hour, in which ``beats`` grows.
    """
    log = Path(shard.context)
    for place, cell in enumerate(cells):
        number, mode = cell.parameters["number"], cell.parameters.get("mode")
        with (log / "computed").open("a") as file:
            file.write(f"{number}\n")
        if mode == "die" or (mode == "die once" and not (log / f"died {number}").exists()):
            (log / f"died {number}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "raise":
            raise ZeroDivisionError(f"number {number} is cursed")
        if mode == "wait":
            time.sleep(0.5)
        for _ in range(36_000 if mode == "beat" else 0):
            time.sleep(0.1)
            with (log / "beats").open("a") as file:
                file.write(".")
        yield place, {"product": number * int(shard.arrays["factor"][0])}


def toy(log: Path, numbers: Sequence[Any], *, factor: int = 10, groups: int = 2, **settings: Any) -> Study:
    """A study of ``numbers``, each a number or (number, mode), in so many groups; shards are noted in ``log`` too."""

    def shard() -> Shard:
        with (log / "shards").open("a") as file:
            file.write("made\n")
        return Shard({"factor": np.array([factor])}, str(log))

    pairs = [number if isinstance(number, tuple) else (number, None) for number in numbers]
    cells = tuple(
        Cell({"number": number, **({"mode": mode} if mode else {})}, shard="all", group=str(index % groups))
        for index, (number, mode) in enumerate(pairs)
    )
    return Study("toy", {"factor": factor, **settings}, cells, {"all": shard}, multiply)


def computed(log: Path) -> list[int]:
    """The numbers computed so far, sorted."""
    path = log / "computed"
    return sorted(map(int, path.read_text().split())) if path.exists() else []


def shards_made(log: Path) -> int:
    path = log / "shards"
    return len(path.read_text().split()) if path.exists() else 0
