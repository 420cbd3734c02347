"""The batches of a training run, for ever: shuffled, read ahead, resumed to the bit.

Every example of the run has a place, 0, 1, 2, …, and :class:`fastki.training.order.Order` says what stands there. Batch
``i`` of size B takes the places from ``i · B`` on; of P processes (hosts) each reads B / P of them in turn. What a
process is given therefore depends on the seed, the data and its share, and not on threads, workers, or restarts; and
the whole of a batch not on the number of hosts either.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastki.data import Dataset
from fastki.data.extras import need
from fastki.data.gather import Episodes
from fastki.data.options import Progress
from fastki.errors import FastkiError, UsageError
from fastki.sequence.assemble import Assembler
from fastki.training.batch import Tally, TrainingBatch
from fastki.training.cotrain import CotrainSource, open_cotrain
from fastki.training.loader_config import LoaderConfig
from fastki.training.order import Order
from fastki.training.reading import Plan, Reader, Workers
from fastki.training.source import WindowSource, open_windows


class Loader(Iterator[TrainingBatch]):
    """An endless iterator of batches that can be stopped, and goes on where it stopped.

    With workers, the program's main module must be importable without running it again (``if __name__ ==
    "__main__":``), as always where Python spawns processes.

    Args:
        windows: of the robot's data.
        config: sizes, order, workers.
        cotrain: pictures with questions and answers, None for none; ``config.cotrain_weight`` is their share.
        process_index, process_count: of the hosts, as JAX numbers them.

    Attributes:
        tally: what this process has been given.

    Raises:
        UsageError: a batch that can't be shared out among the processes.
        DataError: Grain is not installed.
    """

    def __init__(
        self,
        windows: WindowSource,
        config: LoaderConfig,
        *,
        cotrain: CotrainSource | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        need("grain", extra="train", what="training data")
        if not 0 <= process_index < process_count:
            raise UsageError(f"process {process_index} of {process_count}: count them from 0")
        if config.batch_size % process_count:
            raise UsageError(
                f"batch_size {config.batch_size} can't be shared out among {process_count} processes: use a multiple "
                f"of {process_count}"
            )
        self._windows, self._cotrain, self._config = windows, cotrain, config
        lines = 0 if cotrain is None else len(cotrain)
        self._order = Order(len(windows), lines, config.cotrain_weight if lines else 0.0, config.seed)
        self._share = config.batch_size // process_count
        self._offset = process_index * self._share
        self._reader = Reader((windows,) if cotrain is None else (windows, cotrain))
        self._end = 0
        self._pipeline: _Pipeline | None = None
        self.tally = Tally()

    def __next__(self) -> TrainingBatch:
        """The next batch of ``batch_size / process_count`` examples.

        Raises:
            FastkiError: an example can't be read; the message names it.
        """
        if self._pipeline is None:
            self._pipeline = _Pipeline(self, self._end)
        batch = next(self._pipeline)
        self._end = batch.end
        self.tally.add(batch)
        return batch

    def plan(self, first: int) -> Plan:
        """What this process reads of the batch that begins at place ``first``."""
        is_line, number = self._order.at(first + self._offset, self._share)
        return Plan(is_line.astype(np.int64), number, first + self._config.batch_size)

    @property
    def steps_per_epoch(self) -> float:
        """Batches in which every window comes once, on average; infinity where only co-training is read."""
        share = 1 - self._order.weight
        return len(self._windows) / (share * self._config.batch_size) if share else float("inf")

    def epoch(self, batch: TrainingBatch) -> int:
        """How often every window has come by the end of ``batch``."""
        return self._order.windows_before(batch.end) // len(self._windows)

    def get_state(self, batch: TrainingBatch | None = None) -> dict[str, Any]:
        """Where the run stands after ``batch``, by default the last one given out; JSON can hold it.

        Give the batch that was last trained on where others have been taken ahead of it, as by
        :func:`fastki.training.device.device_prefetch`.
        """
        return {"examples": self._end if batch is None else batch.end, **self._identity()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on after what :meth:`get_state` told; also with other workers, hosts, or another batch size.

        Raises:
            UsageError: no such state, or of a run with other data or another order; the message says what differs.
        """
        end = state.get("examples")
        if not isinstance(end, int) or isinstance(end, bool) or end < 0:
            raise UsageError("the state of the data is damaged: start the run anew, or resume an earlier checkpoint")
        for name, ours in self._identity().items():
            if state.get(name) != ours:
                raise UsageError(
                    f"the run was on {name} {state.get(name)} and this one is on {ours}: resume it with the same data "
                    "and options, or start a new run"
                )
        self.close()
        self._end = end

    def close(self) -> None:
        """End threads and workers; the next batch starts them again."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reader(self) -> Reader | Workers:
        """What carries out plans: this process, or workers."""
        return Workers(self._reader, self._config.num_workers) if self._config.num_workers else self._reader

    @property
    def config(self) -> LoaderConfig:
        """As given."""
        return self._config

    def _identity(self) -> dict[str, Any]:
        """What the order depends on."""
        return {
            "seed": self._config.seed,
            "data": self._windows.fingerprint,
            "cotrain": None if self._cotrain is None else self._cotrain.fingerprint,
            "cotrain_weight": self._order.weight,
        }


def open_loader(
    dataset: Dataset,
    assembler: Assembler,
    config: LoaderConfig,
    *,
    episodes: Episodes | None = None,
    progress: Progress | None = None,
    hosts: tuple[int, int] = (0, 1),
) -> Loader:
    """The loader of a dataset, and of the file of co-training that ``config`` names.

    Args:
        dataset, assembler: what is read, and what makes examples of it.
        config: sizes, order, workers.
        episodes: indices of those to take; None: all.
        progress: see :func:`fastki.training.source.open_windows`.
        hosts: index of this process and how many there are, as JAX numbers them.

    Raises:
        UsageError: an option that does not go with the data.
        DataError: no episode is long enough for a chunk, or the file of co-training can't be read.
    """
    windows = open_windows(
        dataset,
        assembler,
        episodes=episodes,
        images=config.images,
        cache_bytes=config.worker_bytes,
        progress=progress,
    )
    cotrain = None
    if config.cotrain is not None:
        file = open_cotrain(Path(config.cotrain))
        cotrain = CotrainSource(file, assembler, assembler.spec.horizon, config.images)
    return Loader(windows, config, cotrain=cotrain, process_index=hosts[0], process_count=hosts[1])


class _Pipeline:
    """Grain's threads at work on the batches after ``end`` examples."""

    def __init__(self, loader: Loader, end: int) -> None:
        import grain

        config = loader.config
        self._reader = reader = loader.reader()
        threads = min(config.prefetch, config.num_workers or 2)

        def batch(number: int) -> TrainingBatch | FastkiError:
            try:
                return reader.read(loader.plan(end + number * config.batch_size))
            except FastkiError as error:  # Grain adds a remark to what is raised through it.
                return error

        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=config.prefetch)
        self._batches = iter(grain.MapDataset.range(sys.maxsize // 2).map(batch).to_iter_dataset(options))

    def __next__(self) -> TrainingBatch:
        batch: TrainingBatch | FastkiError = next(self._batches)
        if isinstance(batch, FastkiError):
            raise batch
        return batch

    def close(self) -> None:
        self._reader.close()  # First: threads that wait for a worker hear of it.
        self._batches.close()
