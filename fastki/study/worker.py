"""A worker process of the local engine: takes tasks from a pipe, sends rows back."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from fastki.orphans import end_with_parent
from fastki.study.cells import Shard, Work

ROW, DONE, FAILED = "row", "done", "failed"


def serve(pipe: Connection, work: Work) -> None:
    """Compute tasks until the pipe closes.

    A task comes as (folder of the shard's arrays, its context, its cells); what goes back is (ROW, place, row) for each
    cell, then (DONE,), or (FAILED, traceback), after which the process ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent decides.
    end_with_parent()
    while True:
        try:
            folder, context, cells = pipe.recv()
        except EOFError:
            return
        try:
            for place, row in work(load_shard(Path(folder), context), cells):
                pipe.send((ROW, place, row))
        except BrokenPipeError:  # The parent is gone, and with it whoever wanted the rows.
            return
        except Exception as error:  # Whatever it is, the parent must hear of it, or it waits for ever.
            pipe.send((FAILED, traceback.format_exc()))
            raise SystemExit(1) from error
        pipe.send((DONE,))


def save_shard(shard: Shard, folder: Path) -> None:
    """Write a shard's arrays to a folder, for :func:`load_shard` in any process."""
    folder.mkdir(parents=True)
    for name, array in shard.arrays.items():
        np.save(folder / f"{name}.npy", array)


def load_shard(folder: Path, context: Any) -> Shard:
    """A shard whose arrays are mapped from disk, read-only: all processes share one copy of them in memory."""
    arrays: Mapping[str, Any] = {
        path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))
    }
    return Shard(arrays, context)


def describe_loss(exit_code: int | None) -> str:
    """Why a worker went, in words."""
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else str(-exit_code)
        return f"signal {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"exit code {exit_code}"


def cores() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
