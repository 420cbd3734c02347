"""What the conventions for robot data in HDF5 have in common. Axes: T frames, E episodes, D dimensions.

A convention says where a file's episodes lie and which keys a frame has; the rest is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastki.data.checks import as_floats
from fastki.data.episode import Dataset, DatasetInfo, Episode, FrameSource
from fastki.data.files import fingerprint
from fastki.data.formats.hdf5_file import Hdf5File, join, opened, reading
from fastki.data.options import OpenOptions, Progress
from fastki.data.paths import AnyPath, relative_name
from fastki.data.pictures import LazyFrames, as_picture, decode_picture
from fastki.data.select import Key, KeyKind, Selection, select_keys
from fastki.errors import DataError

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Place:
    """Where one episode lies, and what its file says of it.

    Attributes:
        file, group: its keys are paths from ``group`` in ``file``.
        format: for people.
        prompt: the instruction, "" where there is none.
        fps: frames per second, None where the file does not say.
        robot: the robot's name, None where the file does not say.
        hint: what else may tell the robot.
        notes: what a user should know.
        videos: camera → its video, None where that is absent; for images outside of the file.
        length: T.
        cameras: those with a picture for every frame.
        problem: why the episode cannot be read, "" where it can.
    """

    file: AnyPath
    group: str = ""
    format: str = ""
    prompt: str = ""
    fps: float | None = None
    robot: str | None = None
    hint: str = ""
    notes: tuple[str, ...] = ()
    videos: Mapping[str, AnyPath | None] = field(default_factory=dict)
    length: int = 0
    cameras: frozenset[str] = frozenset()
    problem: str = ""


class Hdf5Dataset(Dataset):
    """Episodes out of HDF5 files, each opened for one read and closed again."""

    title: ClassVar[str]
    """Whose convention it is."""
    layout: ClassVar[str]
    """What its files hold, for messages."""
    rate: ClassVar[float]
    """Frames per second where the files don't say."""
    per_frame: ClassVar[tuple[str, ...]]
    """Groups all of whose datasets have a row a frame."""
    left_out: ClassVar[tuple[str, ...]] = ()
    """Beginnings of keys that are bookkeeping."""
    actions: ClassVar[str] = ""
    """What every episode has; datasets as long as this one have a row a frame as well."""
    states: ClassVar[tuple[tuple[str, ...], ...]]
    """Keys that make up the state where no robot preset does, in order of preference."""

    def __init__(
        self,
        files: Sequence[AnyPath],
        root: AnyPath,
        *,
        uri: str,
        options: OpenOptions,
        progress: Progress | None = None,
    ) -> None:
        self._root, self._uri, self._options = root, uri, options
        files = self._chosen(files)
        notes: list[str] = []
        first, keys = self._first(files)
        self._selection = self._select(keys, first, notes)
        self._widths = {key.name: key.width or 0 for key in keys}
        self._places: list[Place] = []
        for done, file in enumerate(files, 1):
            self._places += self._measured(file)
            if progress is not None:
                progress(done, len(files))
        self.info = self._describe(notes)

    @classmethod
    @abstractmethod
    def matches(cls, file: Hdf5File) -> bool:
        """Whether ``file`` follows the convention."""

    @abstractmethod
    def _episodes(self, file: Hdf5File) -> list[Place]:
        """The episodes in ``file``, which follows the convention."""

    def _chosen(self, files: Sequence[AnyPath]) -> Sequence[AnyPath]:
        """Those of ``files`` that may hold episodes of the split asked for."""
        if self._options.split is not None:
            raise DataError(f"{self._uri}: {self.title} data have no splits: leave --split {self._options.split} out")
        return files

    def _read(self, index: int, *, state: bool) -> Episode:
        place = self._places[index]
        if place.problem:
            raise DataError(place.problem)
        with opened(place.file) as file:
            actions = _joined(file, place, self._selection.action_keys)
            states = self._selection.state_keys if state else ()
            return Episode(
                index=index,
                actions=actions,
                state=_joined(file, place, states) if states else None,
                fps=place.fps or self.rate,
                prompt=place.prompt,
                images={camera: self._frames(place, camera) for camera in self.info.cameras},
            )

    def _frames(self, place: Place, camera: str) -> FrameSource:
        return LazyFrames(place.length, partial(_picture, place, camera))

    def _has_camera(self, file: Hdf5File, place: Place, camera: str) -> bool:
        try:
            images = file.dataset(join(place.group, camera))
        except DataError:  # In another file.
            return False
        return images is not None and bool(images.shape) and bool(images.shape[0] == place.length)

    def _listed(self, file: Hdf5File) -> list[Place]:
        if not self.matches(file):
            raise DataError(
                f"{file.path} does not hold {self.title} data ({self.layout}) as the files beside it do, "
                f"but {outline(file)}: move it out of the folder"
            )
        return self._episodes(file)

    def _first(self, files: Sequence[AnyPath]) -> tuple[Place, list[Key]]:
        """The first readable episode, and what its frames hold."""
        problems: list[DataError] = []
        for path in files:
            with self._forgiving(problems), opened(path) as file:
                for place in self._listed(file):
                    with self._forgiving(problems), reading(f"{path}, {place.group or 'its root'}"):
                        return place, self._keys(file, place)
        raise problems[0] if problems else DataError(f"{self._uri}: the dataset holds no episodes")

    @contextmanager
    def _forgiving(self, problems: list[DataError]) -> Iterator[None]:
        """With ``skip_bad``, what is wrong inside ends up in ``problems`` and nowhere else."""
        try:
            yield
        except DataError as error:
            if not self._options.skip_bad:
                raise
            problems.append(error)

    def _keys(self, file: Hdf5File, place: Place) -> list[Key]:
        """All that a frame holds, but for bookkeeping."""
        rows = file.needed(join(place.group, self.actions)).shape[0] if self.actions else None
        keys = []
        for name, dataset in file.datasets(place.group):
            framewise = name.startswith(self.per_frame) or dataset.shape[0] == rows
            if framewise and not name.startswith(self.left_out):
                keys.append(self._key(file, name, dataset))
        return keys + [Key(camera, "image", (-1, -1, 3), "video") for camera in place.videos]

    def _key(self, file: Hdf5File, name: str, dataset: Any) -> Key:
        shape, dtype = dataset.shape[1:], dataset.dtype
        kind: KeyKind = "numbers" if dtype.kind in "fiub" else "text" if file.is_text(dataset) else "other"
        if dtype == np.uint8 and len(shape) == 3 and (shape[0] in (1, 3) or shape[2] in (1, 3)):
            kind = "image"
        return Key(name, kind, shape, str(dtype))

    def _select(self, keys: Sequence[Key], first: Place, notes: list[str]) -> Selection:
        options, hint = self._options, f"{first.hint} {self._root.name}"
        selection = select_keys(keys, options, where=self._uri, hint=hint, notes=[])
        names = {key.name for key in keys if key.width}
        usual = next((keys for keys in self.states if names.issuperset(keys)), None)
        if options.state_key is None and selection.state is None and usual is not None:
            options = replace(options, state_key=",".join(usual))
        return select_keys(keys, options, where=self._uri, hint=hint, notes=notes)

    def _measured(self, path: AnyPath) -> list[Place]:
        """The episodes in file ``path`` with their lengths; with ``skip_bad`` an unreadable file is a bad episode."""
        try:
            with opened(path) as file:
                return [self._measure(file, place) for place in self._listed(file)]
        except DataError as error:
            if not self._options.skip_bad:
                raise
            return [Place(path, problem=str(error))]

    def _measure(self, file: Hdf5File, place: Place) -> Place:
        try:
            with reading(f"{file.path}, {place.group or 'its root'}"):
                keys = (*self._selection.action_keys, *self._selection.state_keys)
                rows = [file.rows(join(place.group, key), self._widths[key]) for key in keys]
                for key, length in zip(keys, rows, strict=True):
                    if length != rows[0]:
                        raise DataError(
                            f"{file.path}: {join(place.group, key)} has {length} frames, but {keys[0]} has {rows[0]}: "
                            "the recording is damaged; leave it out"
                        )
                place = replace(place, length=rows[0])
                cameras = (camera for camera in self._selection.cameras if self._has_camera(file, place, camera))
                return replace(place, cameras=frozenset(cameras))
        except DataError as error:
            if not self._options.skip_bad:
                raise
            return replace(place, problem=str(error))

    def _describe(self, notes: list[str]) -> DatasetInfo:
        good = [place for place in self._places if not place.problem]
        if not good:
            reason = f"; the first: {self._places[0].problem}" if self._places else ""
            raise DataError(f"{self._uri}: the dataset holds no readable episodes{reason}")
        told = list(dict.fromkeys(note for place in good for note in place.notes))
        notes += told[:_SHOWN] + ([f"and {len(told) - _SHOWN} more such notes"] if len(told) > _SHOWN else [])
        cameras, missing = self._cameras(good, notes)
        selection = self._selection
        facts = (self.title, selection.action_keys, selection.state_keys, self._options.split)
        files = dict.fromkeys(relative_name(place.file, self._root) for place in good)
        return DatasetInfo(
            uri=self._uri,
            format=" and ".join(dict.fromkeys(place.format for place in good)),
            robot=next((place.robot for place in good if place.robot), None),
            fps=self._fps(good, notes),
            **selection.describe({}, notes),
            cameras=cameras,
            missing_cameras=missing,
            lengths=np.array([place.length for place in self._places], dtype=np.int64),
            notes=tuple(notes),
            fingerprint=fingerprint(facts, self._root, list(files)),
        )

    def _cameras(self, good: Sequence[Place], notes: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The cameras that all episodes have, and the others; ``notes`` says what is amiss."""
        counts = Counter(camera for place in good for camera in place.cameras)
        missing = [camera for camera in self._selection.cameras if counts[camera] < len(good)]
        for camera in missing:
            which = f"{len(good) - counts[camera]} of {len(good)}" if counts[camera] else "all"
            notes.append(f"the images of {camera} are absent, or too few, in {which} episodes: actions only")
        return tuple(camera for camera in self._selection.cameras if camera not in missing), tuple(missing)

    def _fps(self, good: Sequence[Place], notes: list[str]) -> float | None:
        if any(place.fps is None for place in good):
            notes.append(f"the files don't give their rate: {self.rate:g} Hz is taken, as {self.title} records")
        rates = {place.fps or self.rate for place in good}
        if len(rates) > 1:
            notes.append(f"the episodes have different rates ({', '.join(f'{r:g}' for r in sorted(rates))} Hz)")
        return rates.pop() if len(rates) == 1 else None


def outline(file: Hdf5File, shown: int = 8) -> str:
    """The keys in ``file``, for messages."""
    names = [name for name, _ in file.datasets("")]
    if not names:
        return "no arrays"
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _joined(file: Hdf5File, place: Place, keys: Sequence[str]) -> NDArray[Any]:
    """``[T, D]`` of all ``keys``, one after the other."""
    names = [join(place.group, key) for key in keys]
    parts = [as_floats(file.numbers(name, rows=place.length), where=f"{file.path}, {name}") for name in names]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _picture(place: Place, camera: str, frame: int) -> NDArray[np.uint8]:
    name = join(place.group, camera)
    where = f"{place.file}, {name}, frame {frame}"
    with opened(place.file) as file:
        row = file.row(name, frame, rows=place.length)
    if isinstance(row, bytes) or row.ndim == 1:  # An encoded picture, padded with zeros or not.
        return decode_picture(np.asarray(row).tobytes(), where=where)
    return as_picture(row, where=where)
