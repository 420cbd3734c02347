"""From numbers of windows to examples: each read only when asked for, and kept while there is room.

Axis letters: B examples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastki.data import Dataset, Episode
from fastki.data.episode import held_bytes
from fastki.data.gather import Episodes
from fastki.data.options import Progress
from fastki.data.views import derived
from fastki.errors import UsageError
from fastki.sequence.assemble import Assembler, Examples
from fastki.sequence.resize import resize_with_pad
from fastki.training.batch import TrainingBatch
from fastki.training.cache import ByteCache
from fastki.training.windows import Windows, find_windows


class Source(Protocol):
    """Examples by number. Pickled, it goes to worker processes; read by several threads."""

    @property
    def fingerprint(self) -> str:
        """Same examples, same numbers, same value."""
        ...

    def __len__(self) -> int: ...

    def read(self, places: NDArray[np.int64]) -> TrainingBatch:
        """The examples at ``places`` ``[B]``, in that order; ``end`` is not set."""
        ...


@dataclass(frozen=True, eq=False)
class WindowSource:
    """The windows of a dataset. By :func:`open_windows`.

    Attributes:
        dataset, assembler: what is read, and what makes examples of it.
        windows: their numbers.
        images: decode the pictures too.
        episodes: kept arrays of episodes, where not all of them fit as ``examples``.
        examples: kept examples of whole episodes, tokenized: only where those of all episodes fit.
        opened: kept episodes as they were read, with all that their pictures are made of.
        pictures: kept pictures, at the model's size.
    """

    dataset: Dataset
    assembler: Assembler
    windows: Windows
    images: bool
    episodes: ByteCache[Episode]
    examples: ByteCache[Examples] | None
    opened: ByteCache[Episode]
    pictures: ByteCache[NDArray[np.uint8]]

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def fingerprint(self) -> str:
        """Of the data and of which windows they are."""
        return derived(self.dataset.info.fingerprint, self.windows.fingerprint)

    def read(self, places: NDArray[np.int64]) -> TrainingBatch:
        """See :class:`Source`.

        Raises:
            UsageError, DataError, TokenizerError: as :class:`fastki.sequence.assemble.Assembler`.
        """
        episodes, starts = self.windows.at(places)
        used, owner = np.unique(episodes, return_inverse=True)
        rows = [np.flatnonzero(owner == place) for place in range(len(used))]
        parts = [self._examples(index, starts[row]) for index, row in zip(used.tolist(), rows, strict=True)]
        whole = Examples.concatenate(parts).take(np.argsort(np.concatenate(rows)))
        batch, text = self.assembler.batch(whole, images=self.images)
        return TrainingBatch(batch, np.ones(len(places), bool), episodes, starts, text.fast_lost, text.other_lost)

    def _examples(self, index: int, starts: NDArray[np.int64]) -> Examples:
        if self.examples is None:
            return self.assembler.examples(self._episode(index), starts)
        every = self.examples.get(index, lambda: self.assembler.examples(self._episode(index)))
        return every.take(np.searchsorted(every.frame, starts))

    def _episode(self, index: int) -> Episode:
        return self.episodes.get(index, lambda: self._light(index))

    def _light(self, index: int) -> Episode:
        """An episode whose pictures come through the caches: it holds nothing but its arrays."""
        episode = self._open(index)
        return replace(episode, images={name: _KeptFrames(self, index, name, len(episode)) for name in episode.images})

    def _open(self, index: int) -> Episode:
        return self.opened.get(index, lambda: self.dataset.read(index))

    def picture(self, index: int, camera: str, frame: int) -> NDArray[np.uint8]:
        """A camera's picture at the model's size, uint8 ``[h, w, 3]``."""
        return self.pictures.get((index, camera, frame), lambda: self._made(index, camera, frame))

    def _made(self, index: int, camera: str, frame: int) -> NDArray[np.uint8]:
        size = self.assembler.shape.image_size
        picture = resize_with_pad(self._open(index).images[camera][frame], size, size)
        # A view would keep all that it looks into.
        return picture if picture.base is None else picture.copy()


@dataclass(frozen=True, eq=False)
class _KeptFrames:
    """Frames of a camera at the model's size, by :meth:`WindowSource.picture`."""

    source: WindowSource
    index: int
    camera: str
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, frame: int, /) -> NDArray[np.uint8]:
        return self.source.picture(self.index, self.camera, frame)


def open_windows(
    dataset: Dataset,
    assembler: Assembler,
    *,
    episodes: Episodes | None = None,
    images: bool = True,
    cache_bytes: int = 2 << 30,
    progress: Progress | None = None,
) -> WindowSource:
    """The windows of a dataset as examples.

    Args:
        dataset: read an episode at a time; only the frames asked for are decoded.
        assembler: makes the examples.
        episodes: indices of those to take; None: all.
        images: decode the pictures too.
        cache_bytes: kept at most, arrays and pictures together.
        progress: told how far reading is, where a filter of idle frames needs to read all actions first.

    Raises:
        UsageError: pictures are asked for and no camera fills a slot.
        DataError: no episode is long enough for a chunk, or one can't be read.
    """
    if images and not any((assembler.slots or {}).values()):
        raise UsageError(
            f"{dataset.info.uri} has no camera for any of openpi's slots: say --slots base_0_rgb=CAMERA (it has "
            f"{', '.join(dataset.info.cameras) or 'none'}), name the robot with --robot, or train with --no-images"
        )
    windows = find_windows(dataset, assembler.spec, episodes=episodes, progress=progress)
    # With pictures: half of the room for them, a quarter for what they are made of.
    room = cache_bytes // 4 if images else cache_bytes
    fits = _examples_bytes(dataset, assembler, windows) <= room
    return WindowSource(
        dataset,
        assembler,
        windows,
        images,
        episodes=ByteCache(0 if fits else room, _array_bytes),
        examples=ByteCache(room, _kept_bytes) if fits else None,
        # Not every format bears two threads that read.
        opened=ByteCache(room if images else 0, _opened_bytes, serial=True),
        pictures=ByteCache(cache_bytes // 2 if images else 0, _nbytes),
    )


def _examples_bytes(dataset: Dataset, assembler: Assembler, windows: Windows) -> int:
    """What all examples take at most, tokenized, with the episodes that they are of."""
    dims = dataset.info.action_dim + dataset.info.state_dim
    text = 4 * assembler.shape.max_token_len + 8 * (len(assembler.wording.layout.text) + 1)
    window = 4 * assembler.spec.horizon * dataset.info.action_dim + 4 * dataset.info.state_dim + text + 8
    return len(windows) * window + 8 * dims * int(dataset.info.lengths[windows.episodes].sum())


def _array_bytes(episode: Episode) -> int:
    return int(episode.actions.nbytes + (0 if episode.state is None else episode.state.nbytes))


def _opened_bytes(episode: Episode) -> int:
    return _array_bytes(episode) + sum(map(held_bytes, episode.images.values()))


def _kept_bytes(examples: Examples) -> int:
    arrays = (examples.owner, examples.frame, examples.actions, examples.state, examples.lengths)
    text = examples.text.values.nbytes + examples.text.offsets.nbytes
    return int(sum(array.nbytes for array in arrays) + text + sum(map(_array_bytes, examples.episodes)))


def _nbytes(array: NDArray[np.uint8]) -> int:
    return array.nbytes
