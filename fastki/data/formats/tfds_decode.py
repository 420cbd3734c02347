"""From the values of an example to arrays, pictures and texts. Axes: T steps, D numbers a step."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.formats.tf_example import Example, Values
from fastki.data.formats.tfds_features import NUMBERS, Feature
from fastki.data.pictures import LazyFrames, as_picture, decode_picture
from fastki.errors import DataError

_LARGEST_ELEMENT = 2**26  # Bytes that one element of unknown shape may unpack to,
_LARGEST_FEATURE = 2**28  # and all elements of an episode: zlib packs zeros a thousandfold.


def read_numbers(example: Example, feature: Feature, steps: int) -> NDArray[Any]:
    """``[T, D]`` in the type that ``features.json`` says; T is ``steps``.

    Raises:
        DataError: the feature is absent or damaged, or of another type, width or number of steps.
    """
    where, values = f"{example.where}, {feature.name}", example.values(feature.name)
    if not len(values):
        flat = np.empty(0, dtype=NUMBERS[feature.dtype])
    elif feature.encoding == "none":
        flat = _listed(values, feature, where)
    else:
        flat = _unpacked(_per_step(values, steps, where), feature, where)
    width = feature.size if feature.encoding == "none" else math.prod(feature.shape)
    if width is None or width < 0:
        width = len(flat) // max(steps, 1)
    if len(flat) != steps * width:
        raise DataError(
            f"{where} has {len(flat)} values, but {steps} steps of {width} need {steps * width}: the episode is "
            "damaged, or features.json is of another version; fetch both again"
        )
    return flat.reshape(steps, width)


def read_pictures(example: Example, feature: Feature, steps: int) -> LazyFrames:
    """T frames, decoded when they are asked for; they keep the record in memory.

    Raises:
        DataError: the feature is absent, damaged, or not one string of bytes a step.
    """
    where = f"{example.where}, {feature.name}"
    values = _per_step(example.values(feature.name), steps, where)

    def decode(frame: int) -> NDArray[np.uint8]:
        place = f"{where}, frame {frame}"
        if feature.encoding == "none":
            return decode_picture(values[frame], where=place)
        pixels = _unpacked([values[frame]], feature, place)
        return as_picture(pixels.reshape(feature.shape), where=place)

    return LazyFrames(steps, decode, held_bytes=sum(map(len, values)))


def read_text(example: Example, feature: Feature) -> str:
    """The first text of the feature that is not blank, stripped, else "".

    Language-Table spells texts as lists of bytes, zeros after the last: these count as well.
    """
    if feature.name not in example:
        return ""
    values = example.values(feature.name)
    if isinstance(values, list):
        texts = (bytes(value).decode("utf-8", errors="replace").strip() for value in values)
        return next((text for text in texts if text), "")
    if values.dtype.kind != "i" or ((values < 0) | (values > 255)).any():
        return ""
    first = values[: feature.size].astype(np.uint8).tobytes()
    return first.rstrip(b"\0").decode("utf-8", errors="replace").strip()


def _listed(values: Values, feature: Feature, where: str) -> NDArray[Any]:
    wanted = np.dtype(NUMBERS[feature.dtype])
    is_float = wanted.kind == "f"
    if isinstance(values, list) or (values.dtype.kind == "f") != is_float:
        held = "bytes" if isinstance(values, list) else "whole numbers" if is_float else "fractions"
        raise DataError(
            f"{where} holds {held}, but features.json says {feature.dtype}: they are not of the same version of the "
            "dataset; fetch both again"
        )
    if wanted == np.dtype("<u8"):
        return values.view(np.uint64)
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if values.min() < limits.min or values.max() > limits.max:
            raise DataError(f"{where} holds {values.min()} to {values.max()}, too much for {feature.dtype}")
    return values.astype(np.result_type(wanted, np.float32) if is_float else wanted)


def _per_step(values: Values, steps: int, where: str) -> list[memoryview]:
    if not isinstance(values, list):
        raise DataError(f"{where} holds numbers, but features.json says bytes: fetch both again")
    if len(values) != steps:
        raise DataError(f"{where} has {len(values)} elements for {steps} steps: the episode is damaged; fetch it again")
    return values


def _unpacked(values: list[memoryview], feature: Feature, where: str) -> NDArray[Any]:
    """The numbers of elements that are stored as bytes, one after the other."""
    dtype, expected = np.dtype(NUMBERS[feature.dtype]), math.prod(feature.shape)
    known = all(size >= 0 for size in feature.shape)
    limit = expected * dtype.itemsize if known else _LARGEST_ELEMENT
    packed, parts, room = feature.encoding == "zlib", [], _LARGEST_FEATURE
    for value in values:
        parts.append(_inflate(value, min(limit, room), where) if packed else bytes(value))
        room -= len(parts[-1])
    size = limit if known else len(parts[0])
    if any(len(part) != size for part in parts) or size % dtype.itemsize:
        lengths = sorted({len(part) for part in parts})
        raise DataError(f"{where} has elements of {lengths} bytes, not {size}: the episode is damaged; fetch it again")
    return np.frombuffer(b"".join(parts), dtype=dtype)


def _inflate(data: memoryview, limit: int, where: str) -> bytes:
    """What ``data`` was before zlib packed it; no more than ``limit`` bytes are ever unpacked."""
    engine = zlib.decompressobj()
    try:
        unpacked = engine.decompress(data, limit + 1)
    except zlib.error as error:
        raise DataError(f"{where} is damaged ({error}): fetch the file again") from error
    if len(unpacked) > limit or not engine.eof:
        raise DataError(
            f"{where} is damaged, its zlib data are cut or hold more than {limit} bytes: fetch the file again"
        )
    return unpacked
