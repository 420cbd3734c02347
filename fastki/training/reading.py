"""Plans of batches, and the processes that carry them out. A worker imports neither JAX nor Grain.

A lost worker is replaced and its batch read again: reading depends on nothing but the plan.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import signal
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import numpy as np
from numpy.typing import NDArray

from fastki.errors import DataError, FastkiError
from fastki.orphans import end_with_parent
from fastki.training.batch import TrainingBatch, woven
from fastki.training.pipes import receive, send
from fastki.training.source import Source

MAX_ATTEMPTS = 3
_PATIENCE = 5.0
"""Seconds that a worker is given to end before it is killed."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What a batch is made of.

    Attributes:
        source: int64 ``[B]``, which source each example is from.
        number: int64 ``[B]``, and which of its examples.
        end: see :class:`fastki.training.batch.TrainingBatch`.
    """

    source: NDArray[np.int64]
    number: NDArray[np.int64]
    end: int


@dataclass(frozen=True)
class Reader:
    """Carries plans out in this process.

    Attributes:
        sources: numbered as in plans.
    """

    sources: Sequence[Source]

    def read(self, plan: Plan) -> TrainingBatch:
        """The batch of a plan; raises what the sources raise."""
        used = np.unique(plan.source).tolist()
        rows = [np.flatnonzero(plan.source == source) for source in used]
        parts = [self.sources[source].read(plan.number[row]) for source, row in zip(used, rows, strict=True)]
        return replace(woven(parts, rows), end=plan.end)

    def close(self) -> None:
        """Nothing is held."""


class Workers:
    """Carries plans out in other processes; as many at a time as there are, each asked by a thread of its own.

    Workers end when they are closed and when this process ends in whatever way: the pipe to it breaks.

    Args:
        reader: pickled to each worker.
        count: of workers, 1 or more.
    """

    def __init__(self, reader: Reader, count: int) -> None:
        self._reader, self._closed = reader, threading.Event()
        self._lock = threading.Lock()
        self._all: list[_Worker] = []
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(self._hire())

    def read(self, plan: Plan) -> TrainingBatch:
        """The batch of a plan.

        Raises:
            FastkiError: what the sources raise.
            DataError: a worker was lost :data:`MAX_ATTEMPTS` times over this plan.
            RuntimeError: anything else that went wrong in a worker, with its traceback; or the workers are closed.
        """
        worker = self._idle.get()
        try:
            for _ in range(MAX_ATTEMPTS):
                try:
                    worker.pipe.send(plan)
                    batch, error, trace = receive(worker.pipe)
                    break
                except (EOFError, OSError):
                    worker = self._replace(worker)
            else:
                raise DataError(
                    f"a process that reads data was lost {MAX_ATTEMPTS} times over one batch (out of memory?): use "
                    "fewer num_workers, or smaller cache_bytes"
                )
        finally:
            self._idle.put(worker)
        if error is not None:
            raise error
        if trace is not None:
            raise RuntimeError(f"a process that reads data failed:\n{trace}")
        assert isinstance(batch, TrainingBatch)
        return batch

    def close(self) -> None:
        """End all workers; may be called again."""
        self._closed.set()
        with self._lock:
            workers, self._all = self._all, []
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(timeout=_PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def _hire(self) -> _Worker:
        # A fork would copy threads' locks in an unknown state, and the GPU's context; a spawned process starts clean.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self._reader), daemon=True, name="fastki-data")
        worker = _Worker(process, ours)
        with self._lock:
            if self._closed.is_set():
                raise RuntimeError("the processes that read data are closed")
            process.start()
            self._all.append(worker)
        theirs.close()
        return worker

    def _replace(self, lost: _Worker) -> _Worker:
        with self._lock, contextlib.suppress(ValueError):  # It is no longer there where close() has taken it.
            self._all.remove(lost)
        lost.process.kill()
        lost.process.join()
        lost.pipe.close()
        return self._hire()


@dataclass(frozen=True, eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection


def serve(pipe: Connection, reader: Reader) -> None:
    """Carry out the plans that come through ``pipe`` until it closes: the main of a worker.

    What goes back is (batch, None, None), (None, error, None) for an error of fastki's, or (None, None, traceback);
    after that the process ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent decides.
    end_with_parent()
    while True:
        try:
            plan = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            _send(pipe, (reader.read(plan), None, None))
        except FastkiError as error:
            _send(pipe, (None, error, None))
        except Exception as error:  # Whatever it is, the parent must hear of it, or it waits for ever.
            _send(pipe, (None, None, traceback.format_exc()))
            raise SystemExit(1) from error


def _send(pipe: Connection, answer: tuple[TrainingBatch | None, FastkiError | None, str | None]) -> None:
    """Send, unless the parent is gone, and with it whoever wanted the batch: the next look at the pipe tells."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        send(pipe, answer)
