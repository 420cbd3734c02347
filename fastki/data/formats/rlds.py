"""RLDS datasets as TFDS stores them (DROID, Open X-Embodiment, Bridge): an episode in each TFRecord record.

Axes: T steps, D dimensions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.checks import as_floats
from fastki.data.episode import Dataset, DatasetInfo, Episode, FrameSource
from fastki.data.files import fingerprint
from fastki.data.formats.rlds_index import Record, list_records, measuring_features
from fastki.data.formats.tf_example import Example
from fastki.data.formats.tfds_decode import read_numbers, read_pictures, read_text
from fastki.data.formats.tfds_features import Feature, find_steps, read_features
from fastki.data.formats.tfds_info import FEATURES, INFO, is_shard, locate, read_info, read_splits
from fastki.data.formats.tfds_splits import Part, choose_parts
from fastki.data.formats.tfrecord import count_records, read_record
from fastki.data.options import OpenOptions, Progress
from fastki.data.paths import AnyPath
from fastki.data.select import Key, Selection, select_keys
from fastki.errors import DataError

BOOKKEEPING = frozenset({"is_first", "is_last", "is_terminal"})
PROMPTS = (
    "language_instruction",
    "language_instruction_2",
    "language_instruction_3",
    "natural_language_instruction",
    "instruction",
    "language",
)
_SHORTEST_SPELT = 8  # An array of fewer numbers is no text that is spelt in them.


def claims(path: AnyPath) -> bool:
    """Whether ``path`` looks like a TFDS dataset's folder, one around it, or one of its shards."""
    try:
        return is_shard(path) or locate(path) is not None
    except OSError:
        return False


def open_path(path: AnyPath, *, uri: str, options: OpenOptions, progress: Progress | None = None) -> Dataset:
    """The RLDS dataset in folder ``path``, or in a folder of a version or a configuration within it."""
    root = locate(path)
    if root is None:
        raise DataError(f"{uri} is one file of a TFDS dataset: give its folder {path.parent}")
    return RldsDataset(root, uri=uri, options=options, progress=progress)


class RldsDataset(Dataset):
    """Episodes out of TFRecord shards; each is read and checked whole when it is asked for, and none is kept."""

    def __init__(self, root: AnyPath, *, uri: str, options: OpenOptions, progress: Progress | None) -> None:
        info, features, self._root = read_info(root), read_features(root / FEATURES), root
        prefix, steps = find_steps(features, root / FEATURES)
        self._features = {feature.name.removeprefix(prefix): feature for feature in steps}
        notes: list[str] = []
        splits = read_splits(root, info)
        parts = choose_parts(splits, options.split, where=uri, count=lambda shard: count_records(root / shard))
        if options.split is None and len(splits) > 1:
            listed = ", ".join(map(str, splits.values()))
            notes.append(f"split {parts[0].split.name!r} is read of {listed}: choose with --split NAME")
        sizes = measuring_features(steps)
        self._records = list_records(root, parts, sizes, skip_bad=options.skip_bad, notes=notes, progress=progress)
        if not self._records:
            raise DataError(f"{uri}: no episodes of it can be read{''.join(f'; {note}' for note in notes)}")
        self._prompts, self._flags = _prompts(features), _flags(features, self._features)
        self._keys = {key.name: key for key in self._list_keys()}
        selection = select_keys(list(self._keys.values()), options, where=uri, hint=_name(info), notes=notes)
        self._action_keys, self._state_keys = selection.action_keys, selection.state_keys
        self.info = self._describe(uri, str(info.get("version") or "of unknown version"), selection, parts, notes)

    def _describe(
        self, uri: str, version: str, selection: Selection, parts: Sequence[Part], notes: list[str]
    ) -> DatasetInfo:
        fps = selection.robot.fps if selection.robot else None
        if selection.robot and fps is not None:
            notes.append(f"TFDS stores no rate: {fps:g} Hz is that of --robot {selection.robot.name}")
        if self._flags:
            flag = min(flag.name for flag in self._flags.values())
            notes.append(
                f"cameras that {flag} and its like deny are left out of an episode; where all are denied, those whose "
                "pictures change stay"
            )
        facts = ("RLDS", self._action_keys, self._state_keys, [(p.split.name, p.start, p.stop) for p in parts])
        shards = dict.fromkeys(record.shard for record in self._records)
        return DatasetInfo(
            uri=uri,
            format=f"RLDS (TFDS {version})",
            fps=fps,
            **selection.describe({}, notes),
            cameras=selection.cameras,
            lengths=np.array([record.steps for record in self._records], dtype=np.int64),
            notes=tuple(notes),
            fingerprint=fingerprint(facts, self._root, [FEATURES, INFO, *shards]),
        )

    def _list_keys(self) -> Iterator[Key]:
        """All that a step holds, but for RLDS's own bookkeeping; a width left open is the first episode's."""
        for name, feature in self._features.items():
            shape = feature.shape
            if feature.kind == "numbers" and shape == (-1,):
                shape = self._first_shape(feature)
            if name not in BOOKKEEPING:
                yield Key(name, feature.kind, shape, feature.dtype)

    def _first_shape(self, feature: Feature) -> tuple[int, ...]:
        for record in self._records:
            with contextlib.suppress(DataError):
                if record.steps and not record.damage:
                    return read_numbers(self._example(record), feature, record.steps).shape[1:]
        return feature.shape

    def _example(self, record: Record) -> Example:
        if record.damage:
            raise DataError(record.damage)
        path = self._root / record.shard
        return Example(read_record(path, record.place), where=record.place.within(path))

    def _read(self, index: int, *, state: bool) -> Episode:
        record = self._records[index]
        example = self._example(record)
        return Episode(
            index=index,
            actions=self._joined(example, self._action_keys, record.steps),
            state=self._joined(example, self._state_keys, record.steps) if state and self._state_keys else None,
            fps=self.info.fps,
            prompt=next(filter(None, (read_text(example, feature) for feature in self._prompts)), ""),
            images=self._images(example, record.steps),
        )

    def _joined(self, example: Example, keys: Sequence[str], steps: int) -> NDArray[Any]:
        """``[T, D]``, a copy: a view would keep the whole record in memory."""
        if not steps:
            return np.empty((0, sum(self._keys[key].width or 0 for key in keys)), dtype=np.float32)
        parts = [
            as_floats(read_numbers(example, self._features[key], steps), where=f"{example.where}, {key}")
            for key in keys
        ]
        return np.concatenate(parts, axis=1)

    def _images(self, example: Example, steps: int) -> dict[str, FrameSource]:
        cameras = [name for name in self.info.cameras if self._features[name].name in example]
        denied = {name for name, flag in self._flags.items() if _denies(example, flag)}
        if denied == self._flags.keys():
            # All flags false: no camera, or flags that were never set, as in some copies of Bridge. Pictures that
            # change are those of a camera.
            denied = {name for name in denied if name in cameras and _is_still(example, self._features[name])}
        kept = [name for name in cameras if name not in denied]
        return {name: read_pictures(example, self._features[name], steps) for name in kept}


def _prompts(features: Sequence[Feature]) -> list[Feature]:
    """Where an instruction may be, the likeliest first: those of each step, then those of the episode."""

    def is_text(feature: Feature) -> bool:
        spelt = feature.kind == "numbers" and len(feature.shape) == 1 and (feature.size or 0) > _SHORTEST_SPELT
        return feature.kind == "text" or spelt

    def rank(feature: Feature) -> tuple[bool, int, str]:
        return feature.depth == 0, PROMPTS.index(_leaf(feature)), feature.name

    return sorted((f for f in features if _leaf(f) in PROMPTS and f.depth < 2 and is_text(f)), key=rank)


def _flags(features: Sequence[Feature], steps: Mapping[str, Feature]) -> dict[str, Feature]:
    """Camera → the feature of the episode that says whether it has pictures, as Bridge's ``has_image_2``."""
    flags = {_leaf(feature): feature for feature in features if feature.depth == 0}
    cameras = {name: f"has_{_leaf(feature)}" for name, feature in steps.items() if feature.kind == "image"}
    return {name: flags[flag] for name, flag in cameras.items() if flag in flags}


def _denies(example: Example, flag: Feature) -> bool:
    if flag.name not in example:
        return False
    values = example.values(flag.name)
    return not isinstance(values, list) and not values.any()


def _is_still(example: Example, camera: Feature) -> bool:
    values = example.values(camera.name)
    return isinstance(values, list) and len({bytes(value) for value in values}) < 2


def _leaf(feature: Feature) -> str:
    return feature.name.rpartition("/")[2]


def _name(info: Mapping[str, Any]) -> str:
    return str(info.get("name") or "")
