"""The local engine: a pool of processes that outlives the loss of any of them.

``concurrent.futures`` gives up the whole pool when a process is killed, and hands results over a task at a time. Here a
lost worker is replaced, what it had not finished goes to another, and each row arrives as soon as it is there.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fastki.study.cells import Row, Study, StudyError, Task
from fastki.study.worker import DONE, FAILED, ROW, cores, describe_loss, save_shard, serve

MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class LocalEngine:
    """Processes on this machine.

    Attributes:
        workers: how many; None for the processors there are. Never more than there are tasks.
    """

    workers: int | None = None

    def run(self, study: Study, tasks: Sequence[Task]) -> Iterator[tuple[int, Row]]:
        """(index of the cell, its row), as they come.

        A task whose worker is lost :data:`MAX_ATTEMPTS` times gives rows with an ``error`` and ``lost`` true.

        Raises:
            StudyError: the study's function raised.
        """
        with tempfile.TemporaryDirectory(prefix="fastki-study-") as folder:
            pool = _Pool(study, deque(tasks), Path(folder))
            try:
                yield from pool.rows(min(self.workers or cores(), len(tasks)))
            finally:
                pool.close()


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection
    task: Task | None = None
    done: set[int] = field(default_factory=set)


class _Pool:
    """Workers, the tasks that wait for one, and the shards that are on disk."""

    def __init__(self, study: Study, waiting: deque[Task], folder: Path) -> None:
        self.study = study
        self.waiting = waiting
        self.folder = folder
        self.contexts: dict[str, Any] = {}
        self.workers: list[_Worker] = []

    def rows(self, count: int) -> Iterator[tuple[int, Row]]:
        for _ in range(count):
            self._hire()
        while busy := [worker for worker in self.workers if worker.task is not None]:
            ready = wait([item for worker in busy for item in (worker.pipe, worker.process.sentinel)])
            for worker in busy:
                if worker.pipe in ready or worker.process.sentinel in ready:
                    yield from self._listen(worker)

    def close(self) -> None:
        for worker in self.workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()

    def _hire(self) -> None:
        # A fork would copy threads' locks in an unknown state (Numba's, JAX's); a spawned process starts clean.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self.study.work), daemon=True, name="fastki-worker")
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self.workers.append(worker)
        self._give(worker)

    def _give(self, worker: _Worker) -> None:
        """Send the next task; a worker without one is left idle."""
        worker.task, worker.done = (self.waiting.popleft() if self.waiting else None), set()
        if worker.task is None:
            return
        folder = self._shard_folder(worker.task.shard)
        cells = [self.study.cells[index] for index in worker.task.cells]
        # Should it have died meanwhile, its sentinel says so, and `_listen` takes the task back.
        with contextlib.suppress(BrokenPipeError):
            worker.pipe.send((str(folder), self.contexts[worker.task.shard], cells))

    def _shard_folder(self, name: str) -> Path:
        folder = self.folder / f"shard{list(self.study.shards).index(name)}"
        if name not in self.contexts:
            shard = self.study.shards[name]()
            save_shard(shard, folder)
            self.contexts[name] = shard.context
        return folder

    def _listen(self, worker: _Worker) -> Iterator[tuple[int, Row]]:
        """What a worker has sent by now; then its end, if that is why it woke us."""
        assert worker.task is not None
        try:
            while worker.task is not None and worker.pipe.poll():
                message = worker.pipe.recv()
                if message[0] == ROW:
                    index = worker.task.cells[message[1]]
                    worker.done.add(index)
                    yield index, message[2]
                elif message[0] == DONE:
                    self._give(worker)
                elif message[0] == FAILED:
                    raise StudyError(f"a cell of the study {self.study.name!r} failed:\n{message[1]}")
        except (EOFError, OSError):  # Killed between two rows, or in the middle of one.
            yield from self._replace(worker)
            return
        if worker.task is not None and not worker.process.is_alive() and not worker.pipe.poll():
            yield from self._replace(worker)

    def _replace(self, lost: _Worker) -> Iterator[tuple[int, Row]]:
        assert lost.task is not None
        lost.process.join()
        reason = describe_loss(lost.process.exitcode)
        task = lost.task.without(lost.done, lost=True)
        self.workers.remove(lost)
        lost.pipe.close()
        lost.process.close()
        if task.attempts < MAX_ATTEMPTS and task.cells:
            self.waiting.appendleft(task)
        else:
            yield from itertools.product(task.cells, [lost_row(task.attempts, reason)])
        if self.waiting:
            self._hire()


def lost_row(attempts: int, reason: str) -> Row:
    """The row of a cell that took its worker down with it each time."""
    return {"error": f"its worker was lost {attempts} times, last by {reason}", "lost": True}
