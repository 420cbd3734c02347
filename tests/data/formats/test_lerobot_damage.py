"""Damaged LeRobot datasets: whatever a file holds, a DataError says so, or it is read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fastki.data import open_dataset
from fastki.errors import DataError

pytest.importorskip("av")

ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    2**70,
    "",
    "../..",
    "{nothing}",
    "\0",
    [],
    [1],
    {},
    {"a": 1},
    [[["x"]]],
)


@pytest.fixture(params=["v2.1", "v3.0"])
def dataset(request, make_lerobot, some_episodes):
    """A dataset with a camera in videos and one in the data files."""
    return make_lerobot(some_episodes[:3], version=request.param, videos=("cam.video",), embedded=("cam.image",))


def read_all(root) -> list[str]:
    """Read each episode and the last frame of each camera; the messages of what fails."""
    messages = []
    for skip_bad in (False, True):
        try:
            episodes = open_dataset(root, skip_bad=skip_bad)
        except DataError as error:
            messages.append(str(error))
            continue
        for index in range(len(episodes)):
            try:
                for frames in episodes[index].images.values():
                    assert frames[-1].ndim == 3
            except DataError as error:
                messages.append(str(error))
    return messages


def damage(good: bytes, rng: np.random.Generator, *, footer: bool) -> bytes:
    """``good`` with bytes changed, cut off, taken out or put in; with ``footer`` near its end."""
    bad = bytearray(good)
    lowest = max(0, len(bad) - 2000) if footer else 0
    at, count = int(rng.integers(lowest, len(bad))), int(rng.integers(1, 32))
    kind = rng.integers(6)
    if kind == 0:
        del bad[at:]
    elif kind == 1:
        del bad[at : at + count]
    elif kind == 2:
        bad[at:at] = rng.bytes(count)
    else:
        for place in rng.integers(lowest, len(bad), size=4):
            bad[place] = rng.integers(256)
    return bytes(bad)


def test_fuzzed_files_give_data_errors_only(dataset):
    rng = np.random.default_rng(0)
    files = sorted(path for path in dataset.rglob("*") if path.is_file())
    messages = []
    for trial in range(200):
        file = files[trial % len(files)]
        good = file.read_bytes()
        file.write_bytes(damage(good, rng, footer=bool(trial % 2)))
        messages += read_all(dataset)
        file.write_bytes(good)
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)
    assert read_all(dataset) == []


@pytest.mark.parametrize(
    ("dataset", "name"),
    [("v2.1", "info.json"), ("v3.0", "info.json"), ("v2.1", "episodes.jsonl")],
    indirect=["dataset"],
)
def test_values_of_any_kind_in_the_metadata_give_data_errors_only(dataset, name):
    file = dataset / "meta" / name
    first, *others = file.read_text().splitlines()
    content = json.loads(first)
    messages = []
    for place in list(places(content))[1:]:
        for value in ODD[:: 1 if name != "info.json" else 3]:
            file.write_text("\n".join([json.dumps(replaced(content, place, value)), *others]))
            messages += read_all(dataset)
    assert messages
    assert not any("\n" in message for message in messages)


def places(value: Any, here: tuple[Any, ...] = ()) -> Any:
    """The way to each value inside ``value``, outermost first."""
    yield here
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*here, key))


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = replaced(value[place[0]], place[1:], new)
    return copy
