"""Which record of which shard each episode is, and how many steps it has: found without reading the images.

Axis: T steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO

from fastki.data.formats.tf_example import count_values, find_features
from fastki.data.formats.tfds_features import Feature
from fastki.data.formats.tfds_info import INFO
from fastki.data.formats.tfds_splits import Part
from fastki.data.formats.tfrecord import Place, open_shard, walk
from fastki.data.options import Progress
from fastki.data.paths import AnyPath
from fastki.errors import DataError

_NARROW = 16  # Values a step: of features up to here, the first that a record has tells its T.
_THREADS = 8  # Shards of a remote file system are waited for together.


@dataclass(frozen=True)
class Record:
    """Where an episode lies.

    Attributes:
        shard: its file, relative to the dataset's folder.
        place: where in it.
        steps: T; 0 where it cannot be told.
        damage: why it cannot be read, "" where nothing is known against it.
    """

    shard: str
    place: Place
    steps: int
    damage: str = ""


@dataclass(frozen=True)
class _Job:
    """Records ``first`` to ``stop`` of a shard (None: to its end), which should hold ``declared`` of them."""

    shard: str
    first: int
    stop: int | None
    declared: int | None


@dataclass
class _Found:
    records: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def measuring_features(steps: Sequence[Feature]) -> dict[str, int]:
    """Features of which the number of values tells T → values a step; narrow ones where there are some."""
    sizes = {feature.name: feature.size for feature in steps if feature.depth == 1 and feature.kind != "other"}
    known = {name: size for name, size in sizes.items() if size}
    numbers = {feature.name for feature in steps if feature.kind == "numbers" and feature.encoding == "none"}
    narrow = {name: size for name, size in known.items() if name in numbers and size <= _NARROW}
    return narrow or known


def list_records(
    root: AnyPath,
    parts: Sequence[Part],
    sizes: Mapping[str, int],
    *,
    skip_bad: bool,
    notes: list[str],
    progress: Progress | None,
) -> list[Record]:
    """The episodes of ``parts``, in order.

    Args:
        root: the dataset's folder.
        parts: what to read.
        sizes: as of :func:`measuring_features`.
        skip_bad: note missing shards and damaged ends of them, and list damaged episodes as such.
        notes: takes what is amiss.
        progress: told the episodes found and expected (or shards, where no one says how many episodes there are).

    Raises:
        DataError: a shard is missing, damaged, truncated or too short, and ``skip_bad`` is not set.
    """
    jobs = list(_jobs(root, parts, skip_bad=skip_bad, notes=notes))
    by_shard = any(job.stop is None for job in jobs)
    total = len(jobs) if by_shard else sum((job.stop or 0) - job.first for job in jobs)
    records: list[Record] = []
    for i, found in enumerate(_scan_all(root, jobs, sizes, skip_bad=skip_bad), 1):
        records += found.records
        notes += found.notes
        if progress is not None:
            progress(i if by_shard else len(records), total)
    return records


def _jobs(root: AnyPath, parts: Sequence[Part], *, skip_bad: bool, notes: list[str]) -> Iterator[_Job]:
    for part in parts:
        split, begin = part.split, 0
        for i, shard in enumerate(split.shards):
            declared = split.lengths[i] if split.lengths is not None else None
            first, stop = 0, declared
            if declared is not None:
                first = max(part.start - begin, 0)
                stop = min(part.stop - begin, declared) if part.stop is not None else declared
                begin += declared
                if first >= stop:
                    continue
            if shard in split.missing:
                text = f"{root / shard} is missing ({len(split.missing)} of {len(split.shards)} shards are)"
                if not skip_bad:
                    raise DataError(
                        f"{text}: fetch it, choose what is there by such as --split {split.name}[:10%], or leave it "
                        "out with --skip-bad"
                    )
                notes.append(f"{text}: its episodes are left out")
                continue
            yield _Job(shard, first, stop, declared)


def _scan_all(root: AnyPath, jobs: Sequence[_Job], sizes: Mapping[str, int], *, skip_bad: bool) -> Iterator[_Found]:
    if len(jobs) < 2:
        yield from (_scan(root, job, sizes, skip_bad=skip_bad) for job in jobs)
        return
    pool = ThreadPoolExecutor(_THREADS)
    try:
        yield from pool.map(lambda job: _scan(root, job, sizes, skip_bad=skip_bad), jobs)
    finally:
        pool.shutdown(cancel_futures=True)


def _scan(root: AnyPath, job: _Job, sizes: Mapping[str, int], *, skip_bad: bool) -> _Found:
    found, path, reached = _Found(), root / job.shard, 0
    try:
        with open_shard(path, skim=True) as file:
            for place in walk(file, path):
                if job.stop is not None and place.number >= job.stop:
                    if job.stop == job.declared:
                        found.notes.append(f"{path} holds more episodes than the {job.stop} that {INFO} counts")
                    break
                reached = place.number + 1
                if place.number >= job.first:
                    found.records.append(_measure(file, path, job.shard, place, sizes, skip_bad=skip_bad))
    except DataError as error:
        if not skip_bad:
            raise
        found.notes.append(f"{error}; what follows in it is left out")
        return found
    if job.stop is not None and reached < job.stop:
        text = f"{path} holds {reached} episodes, but {INFO} counts {job.declared}"
        if not skip_bad:
            raise DataError(f"{text}: it is half downloaded; fetch it again, or read what there is with --skip-bad")
        found.notes.append(text)
    return found


def _measure(
    file: IO[bytes], path: AnyPath, shard: str, place: Place, sizes: Mapping[str, int], *, skip_bad: bool
) -> Record:
    try:
        return Record(shard, place, _count_steps(file, place, sizes, place.within(path)))
    except DataError as error:
        if not skip_bad:
            raise
        return Record(shard, place, 0, str(error))


def _count_steps(file: IO[bytes], place: Place, sizes: Mapping[str, int], where: str) -> int:
    for name, start, stop in find_features(file, place.start, place.stop, where=where):
        if name in sizes:
            steps, rest = divmod(count_values(file, start, stop, where=where), sizes[name])
            if rest:
                raise DataError(
                    f"{where}: {name} has {steps * sizes[name] + rest} values, no multiple of {sizes[name]} as "
                    "features.json says: they are not of the same version of the dataset; fetch both again"
                )
            return steps
    raise DataError(
        f"{where} has no feature that features.json names, such as {next(iter(sizes), 'steps')!r}: they are not of the "
        "same version of the dataset; fetch both again"
    )
