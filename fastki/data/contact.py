"""Frames out of a dataset for people to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data.episode import Dataset
from fastki.data.options import Progress
from fastki.errors import DataError

MAX_ROWS, COLUMNS = 8, 6


@dataclass(frozen=True, eq=False)
class Strip:
    """Frames of one camera, spread over one episode.

    Attributes:
        episode: its number; prompt: its instruction.
        camera: the key; slot: what openpi's policies call it, "" where they do not see it.
        frames: frame numbers.
        pictures: RGB uint8 ``[h, w, 3]`` for each of them.
    """

    episode: int
    prompt: str
    camera: str
    slot: str
    frames: tuple[int, ...]
    pictures: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, eq=False)
class ContactSheet:
    """Strips of a few episodes, and the reason for each camera whose frames can't be read."""

    strips: tuple[Strip, ...]
    failures: tuple[str, ...]


def contact_sheet(dataset: Dataset, *, progress: Progress | None = None) -> ContactSheet:
    """Six frames of each camera (eight at most) of one to four episodes that are spread over the dataset."""
    info = dataset.info
    slots = {camera: slot for slot, camera in info.slots.items() if camera is not None}
    cameras = [*slots, *(camera for camera in info.cameras if camera not in slots)][:MAX_ROWS]
    if not cameras:
        return ContactSheet((), ())
    count = min(len(dataset), 4, MAX_ROWS // len(cameras))
    strips, failures = [], {}
    chosen = chosen_episodes(len(dataset), count)
    for done, index in enumerate(chosen):
        if progress is not None:
            progress(done, len(chosen))
        episode = dataset.read(index, state=False)
        frames = tuple(np.unique(np.linspace(0, len(episode) - 1, COLUMNS).astype(int)).tolist())
        for camera in cameras:
            if camera not in episode.images:
                continue  # Not every episode has every camera.
            try:
                pictures = tuple(episode.images[camera][frame] for frame in frames)
            except DataError as error:
                failures[camera] = str(error)
                continue
            strips.append(Strip(index, episode.prompt, camera, slots.get(camera, ""), frames, pictures))
    return ContactSheet(tuple(strips), tuple(failures.values()))


def chosen_episodes(count: int, wanted: int) -> list[int]:
    """``wanted`` of ``count`` episodes, evenly spread."""
    places = np.linspace(0, count - 1, max(1, min(wanted, count)))
    return [int(index) for index in np.unique(places.astype(int))]
