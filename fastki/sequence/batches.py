"""Batches over the windows of a dataset: shuffled, the same for the same seed, in memory that has a limit.

Axis letters: N windows, E episodes, B batch.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fastki.data import Dataset
from fastki.data.gather import Episodes, select_episodes
from fastki.errors import DataError, UsageError
from fastki.sequence.assemble import Assembler, Examples
from fastki.sequence.batch import Batch, Text

T = TypeVar("T")
POOL = 8192
"""Windows that are shuffled together, about: so many are tokenized and held at once."""


@dataclass(frozen=True)
class BatchOptions:
    """How windows become batches.

    Attributes:
        batch_size: B.
        seed: of the order.
        shuffle: episodes in a random order, and the windows of about ``pool`` of them mixed; else in order.
        images: decode the pictures too.
        workers: threads that put batches together; None: as many as there are processors, eight at most.
        pool: windows that are mixed, at least.

    Raises:
        UsageError: a number out of range.
    """

    batch_size: int = 32
    seed: int = 0
    shuffle: bool = True
    images: bool = True
    workers: int | None = None
    pool: int = POOL

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers", "pool"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} {value} is out of range: 1 or more is needed")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed} is negative: 0 or more is needed")


@dataclass
class Tally:
    """What a run has been given so far.

    Attributes:
        examples: how many.
        truncated: how many of them lost text.
        fast_lost: tokens to be predicted that were cut off.
        other_lost: other tokens that were.
    """

    examples: int = 0
    truncated: int = 0
    fast_lost: int = 0
    other_lost: int = 0

    def add(self, text: Text) -> None:
        lost = text.fast_lost + text.other_lost
        self.examples += len(lost)
        self.truncated += int(np.count_nonzero(lost))
        self.fast_lost += int(text.fast_lost.sum())
        self.other_lost += int(text.other_lost.sum())

    def report(self) -> str:
        """In words, for a log."""
        if not self.truncated:
            return f"{self.examples:,} examples, none truncated"
        return (
            f"{self.examples:,} examples, {self.truncated:,} truncated ({self.truncated / self.examples:.2%}): "
            f"{self.fast_lost:,} FAST tokens and {self.other_lost:,} others lost"
        )


@dataclass(frozen=True, eq=False)
class Batches:
    """The windows of a dataset's episodes as batches, an epoch at a time.

    Attributes:
        dataset: read an episode at a time.
        assembler: makes the batches.
        options: size, order, threads.
        episodes: indices of those to take; None: all.
        tally: what has been given out.

    Raises:
        UsageError: pictures are asked for and no camera fills a slot.
        DataError: no episode is long enough for a chunk.
    """

    dataset: Dataset
    assembler: Assembler
    options: BatchOptions = field(default_factory=BatchOptions)
    episodes: Episodes | None = None
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        info, spec = self.dataset.info, self.assembler.spec
        if self.options.images and not any((self.assembler.slots or {}).values()):
            raise UsageError(
                f"{info.uri} has no camera for any of openpi's slots: name the robot with --robot, or do without images"
            )
        if not any(spec.count(int(info.lengths[index])) for index in self._chosen.tolist()):
            raise DataError(f"{info.uri}: no episode is as long as the horizon {spec.horizon}: use a smaller one")

    @property
    def _chosen(self) -> NDArray[np.int64]:
        return select_episodes(self.dataset, self.episodes)

    def epoch(self, number: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch; windows that do not fill the last one are left out.

        Args:
            number: from 0; each has an order of its own, which depends on nothing but the seed and it.
            skip: batches to pass over, for a run that goes on where it stopped.

        Raises:
            UsageError, DataError, TokenizerError: as :class:`fastki.sequence.assemble.Assembler`.
        """
        workers = self.options.workers or min(8, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers) as threads:
            parts = itertools.islice(self._parts(number, threads), skip, None)
            jobs = (threads.submit(self.assembler.batch, part, images=self.options.images) for part in parts)
            for batch, text in _in_order(jobs, workers + 1):
                self.tally.add(text)
                yield batch

    def forever(self, *, skip: int = 0) -> Iterator[Batch]:
        """Epoch after epoch; ``skip`` batches are passed over first."""
        for number in itertools.count():
            given = 0
            for batch in self.epoch(number, skip=skip):
                given += 1
                yield batch
            total = given + skip if given else self._count(number)
            if not total:
                raise UsageError(
                    f"{self.dataset.info.uri} has fewer windows than a batch of {self.options.batch_size}: use a "
                    "smaller batch size"
                )
            skip = max(0, skip - total)

    def _count(self, number: int) -> int:
        with ThreadPoolExecutor(1) as threads:
            return sum(1 for _ in self._parts(number, threads))

    def _parts(self, number: int, threads: ThreadPoolExecutor) -> Iterator[Examples]:
        """The examples of each batch."""
        size = self.options.batch_size
        order = np.random.default_rng([self.options.seed, number])
        left: Examples | None = None
        for pool in self._pools(order, threads):
            whole = pool if left is None else Examples.concatenate([left, pool])
            # What is left of the pool before comes first, so that no window waits for ever.
            kept = 0 if left is None else len(left)
            places = np.arange(len(whole))
            if self.options.shuffle:
                places[kept:] = kept + order.permutation(len(pool))
            full = len(whole) // size * size
            for start in range(0, full, size):
                yield whole.take(places[start : start + size])
            left = whole.take(places[full:]) if full < len(whole) else None

    def _pools(self, order: np.random.Generator, threads: ThreadPoolExecutor) -> Iterator[Examples]:
        """Tokenized windows, at least ``pool`` of them but for the last, of episodes in this epoch's order."""
        chosen = order.permutation(self._chosen) if self.options.shuffle else self._chosen
        long_enough = (
            index for index in chosen.tolist() if self.assembler.spec.count(int(self.dataset.info.lengths[index]))
        )
        # Episodes are read one after the other, as not every format bears more, and tokenized on all threads.
        jobs = (threads.submit(self.assembler.examples, self.dataset.read(index)) for index in long_enough)
        parts: list[Examples] = []
        held = 0
        for part in _in_order(jobs, 2 * (os.cpu_count() or 1)):
            if not len(part):
                continue
            parts.append(part)
            held += len(part)
            if held >= self.options.pool:
                yield Examples.concatenate(parts)
                parts, held = [], 0
        if parts:
            yield Examples.concatenate(parts)


def _in_order(jobs: Iterator[Future[T]], ahead: int) -> Iterator[T]:
    """The results of jobs in their order, at most ``ahead`` of them under way or waiting."""
    waiting: deque[Future[T]] = deque()
    try:
        waiting.extend(itertools.islice(jobs, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(itertools.islice(jobs, 1))
            yield result
    finally:
        for job in waiting:
            job.cancel()
