"""LeRobot's ``meta`` folder: which episodes there are and in which file each lies. Axis: E episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.files import fill_template, stay_inside
from fastki.data.paths import AnyPath
from fastki.errors import DataError

INFO = "meta/info.json"


@dataclass(frozen=True, eq=False, kw_only=True)
class Index:
    """Where the episodes of a LeRobot dataset lie; all sequences have E entries.

    Attributes:
        version: such as "v2.1".
        info: ``meta/info.json``.
        ids: ``[E]`` int64, LeRobot's own episode_index, rising; it may have gaps.
        lengths: ``[E]`` int64, frames.
        data_files: the data file of each episode, relative to the dataset's folder.
        shared: whether a data file may hold several episodes.
        video_files: camera → the video file of each episode, relative; empty where none is named.
        video_starts: camera → ``[E]`` float64, seconds from the beginning of its video to each episode's first
            frame; without the cameras for which that is not known.
        prompts: each episode's first task, "" where none is given.
        tasks: task_index → task.
        meta_files: the files this was read from, relative.
    """

    version: str
    info: Mapping[str, Any]
    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    data_files: Sequence[str]
    shared: bool
    video_files: Mapping[str, Sequence[str]]
    video_starts: Mapping[str, NDArray[np.float64]]
    prompts: Sequence[str]
    tasks: Mapping[int, str]
    meta_files: Sequence[str]


def place_files(root: AnyPath, template: str, fields: Mapping[str, Sequence[int]], *, video_key: str = "") -> list[str]:
    """The path of each episode's file by ``template``, ``fields`` giving E numbers for each of its names."""
    where = str(root / INFO)
    if video_key:
        stay_inside(video_key, where=where)
    places = list(zip(*fields.values(), strict=True))
    filled = {
        numbers: fill_template(
            template, {**dict(zip(fields, numbers, strict=True)), "video_key": video_key}, where=where
        )
        for numbers in dict.fromkeys(places)  # Episodes of one file have the same numbers.
    }
    return [filled[numbers] for numbers in places]


def video_keys(info: Mapping[str, Any]) -> list[str]:
    """The cameras that ``info.json`` says are stored as videos."""
    features = info["features"].items()
    return [key for key, value in features if isinstance(value, dict) and value.get("dtype") == "video"]


def first_task(tasks: object) -> str:
    """The first of an episode's list of tasks, "" where there is none."""
    return str(tasks[0]) if isinstance(tasks, list) and tasks else ""


def whole_numbers(values: Sequence[Any], *, where: AnyPath, key: str) -> NDArray[np.int64]:
    """``values`` as int64, DataError where one is no whole number of at least 0."""
    for value in values:
        if type(value) is not int or not 0 <= value < 2**40:
            raise DataError(f"{where} is damaged: {key} is {value!r}, not a whole number of at least 0")
    return np.array(values, dtype=np.int64)


def seconds(values: Sequence[Any], *, where: AnyPath, key: str) -> NDArray[np.float64]:
    """``values`` as float64, DataError where one is no time of at least 0."""
    for value in values:
        if not isinstance(value, int | float) or not 0 <= value < 2**40:
            raise DataError(f"{where} is damaged: {key} is {value!r}, not seconds of at least 0")
    return np.array(values, dtype=np.float64)


def rising_order(ids: NDArray[np.int64], *, where: AnyPath) -> NDArray[np.intp]:
    """The order ``[E]`` that sorts the episodes; DataError where there are none or one comes twice."""
    if not len(ids):
        raise DataError(f"{where}: the dataset holds no episodes")
    order = np.argsort(ids, kind="stable")
    twice = np.flatnonzero(np.diff(ids[order]) == 0)
    if len(twice):
        raise DataError(f"{where} is damaged: episode {ids[order][twice[0]]} is listed twice")
    return order
