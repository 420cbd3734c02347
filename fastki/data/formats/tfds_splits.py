"""What ``--split train[:10%]+val`` means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastki.data.formats.tfds_info import Split
from fastki.errors import DataError, UsageError

_PART = re.compile(r"(?P<name>[^\[\]]+)(\[(?P<slice>[^\]]*)\])?")
_BOUND = re.compile(r"(?P<value>-?\d{1,12})?(?P<unit>%|shard)?")


@dataclass(frozen=True)
class Part:
    """Examples ``start`` to ``stop`` of a split, counted over its shards; ``stop`` None: to its end."""

    split: Split
    start: int = 0
    stop: int | None = None


def choose_parts(
    splits: Mapping[str, Split], asked: str | None, *, where: str, count: Callable[[str], int]
) -> list[Part]:
    """What to read: as ``asked`` in TFDS's notation, else the split "train", else the first that is there.

    Args:
        splits: all of them.
        asked: such as ``train``, ``train+val``, ``train[100:200]``, ``train[:10%]``, ``train[-1shard:]``, ``all``.
        where: the dataset, for messages.
        count: the number of examples in a shard, asked where a slice needs it and no one says it.

    Raises:
        DataError: none of the files of a split are there.
        UsageError: another notation, an unknown split, or a slice beyond its end.
    """
    there = [split for split in splits.values() if not split.is_absent] or list(splits.values())
    if asked is None:
        parts = [Part(splits["train"] if splits.get("train") in there else there[0])]
    elif asked.strip() == "all":
        parts = [Part(split) for split in there]
    else:
        parts = [_part(splits, text.strip(), where, count) for text in asked.split("+")]
    for split in (part.split for part in parts):
        if split.is_absent:
            raise DataError(
                f"{where}: the files of split {split.name!r} are not there ({split.shards[0]} …); its splits are "
                f"{_listed(splits)}: fetch them, or choose another with --split NAME"
            )
    return parts


def _part(splits: Mapping[str, Split], text: str, where: str, count: Callable[[str], int]) -> Part:
    match = _PART.fullmatch(text)
    if match is None:
        raise UsageError(f"--split {text!r} cannot be understood: write such as train, train[:10%] or train+val")
    name = match["name"]
    if name not in splits:
        raise UsageError(f"{where}: there is no split {name!r}, but {_listed(splits)}: choose with --split NAME")
    if match["slice"] is None or splits[name].is_absent:
        return Part(splits[name])
    return _slice(splits[name], match["slice"], text, count)


def _listed(splits: Mapping[str, Split]) -> str:
    return ", ".join(map(str, splits.values()))


def _slice(split: Split, text: str, asked: str, count: Callable[[str], int]) -> Part:
    bounds = [_BOUND.fullmatch(bound.strip()) for bound in text.split(":")]
    units = {bound["unit"] for bound in bounds if bound and bound["unit"]}
    if None in bounds or len(bounds) != 2 or len(units) > 1:
        raise UsageError(f"--split {asked!r} cannot be understood: write such as train[10:20], train[:10%] or train")
    unit = units.pop() if units else ""
    lengths = split.lengths or tuple(count(shard) for shard in split.shards)
    total, most = sum(lengths), len(lengths) if unit == "shard" else 100 if unit == "%" else sum(lengths)
    ends = [0, total]
    for i, bound in enumerate(bounds):
        if bound is None or not bound["value"]:
            continue
        value = int(bound["value"])
        if abs(value) > most:
            raise UsageError(f"--split {asked!r}: {value}{unit} is beyond the end, {most}{unit}: choose less")
        if unit == "shard":
            value = sum(lengths[: value + most if value < 0 else value])
        elif unit == "%":
            value = round(value * total / 100)
        ends[i] = value + total if value < 0 else value
    if ends[0] >= ends[1]:
        raise UsageError(f"--split {asked!r} selects none of {total} episodes: choose more")
    return Part(Split(split.name, split.shards, lengths, split.missing), *ends)
