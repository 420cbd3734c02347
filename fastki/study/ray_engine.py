"""The Ray engine: the same cells on a cluster, or on a local Ray where no address is given."""

from __future__ import annotations

import importlib
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastki.errors import UsageError
from fastki.study.cells import Cell, Row, Shard, Study, StudyError, Task, Work
from fastki.study.local import MAX_ATTEMPTS, lost_row


@dataclass(frozen=True)
class RayEngine:
    """Tasks of a Ray cluster, a processor each.

    Attributes:
        address: of the cluster, such as ``auto`` or ``ray://head:10001``; None starts a Ray on this machine, which
            ends with the study.
        workers: processors of a Ray started here; None for all.
    """

    address: str | None = None
    workers: int | None = None

    def run(self, study: Study, tasks: Sequence[Task]) -> Iterator[tuple[int, Row]]:
        """(index of the cell, its row), as they come; a shard goes into the object store once.

        A task whose worker is lost :data:`MAX_ATTEMPTS` times gives rows with an ``error`` and ``lost`` true.

        Raises:
            UsageError: Ray isn't installed, or there is no cluster at the address.
            StudyError: the study's function raised.
        """
        ray = _import_ray()
        ours = not ray.is_initialized()
        if ours:
            self._connect(ray)
        try:
            yield from _Cluster(ray, study).rows(deque(tasks))
        finally:
            if ours:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        local = {} if self.address else {"num_cpus": self.workers, "include_dashboard": False}
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level="error", **local)
        except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
            raise UsageError(f"no Ray cluster answers at --ray-address {self.address} ({error})") from error


class _Cluster:
    def __init__(self, ray: Any, study: Study) -> None:
        self.ray = ray
        self.study = study
        self.shards: dict[str, Any] = {}
        # Lost workers are this engine's business: it asks again only for the rows that it has not got.
        self.remote = ray.remote(num_cpus=1, max_retries=0)(_serve)

    def rows(self, waiting: deque[Task]) -> Iterator[tuple[int, Row]]:
        running: dict[Any, tuple[Task, set[int]]] = {}
        while waiting or running:
            while waiting:  # Ray queues what has no processor yet.
                task = waiting.popleft()
                running[self._submit(task)] = task, set()
            ready, _ = self.ray.wait(list(running), num_returns=1)
            for stream in ready:
                task, done = running[stream]
                try:
                    place, row = self.ray.get(next(stream))
                except StopIteration:
                    del running[stream]
                except self.ray.exceptions.RayTaskError as error:
                    raise StudyError(f"a cell of the study {self.study.name!r} failed:\n{error}") from error
                except self.ray.exceptions.RayError as error:
                    del running[stream]
                    yield from self._lose(task.without(done, lost=True), type(error).__name__, waiting)
                else:
                    index = task.cells[place]
                    done.add(index)
                    yield index, row

    def _submit(self, task: Task) -> Any:
        if task.shard not in self.shards:
            self.shards[task.shard] = self.ray.put(self.study.shards[task.shard]())
        cells = [self.study.cells[index] for index in task.cells]
        return self.remote.remote(self.study.work, self.shards[task.shard], cells)

    def _lose(self, task: Task, reason: str, waiting: deque[Task]) -> Iterator[tuple[int, Row]]:
        if task.attempts < MAX_ATTEMPTS and task.cells:
            waiting.append(task)
        else:
            yield from itertools.product(task.cells, [lost_row(task.attempts, reason)])


def _serve(work: Work, shard: Shard, cells: Sequence[Cell]) -> Iterator[tuple[int, Row]]:
    """What a Ray worker runs: each row is sent as soon as it is there."""
    yield from work(shard, cells)


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: pip install 'fastki[ray]'") from error
