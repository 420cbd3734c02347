"""``norm_stats.json``, the file of normalisation statistics that openpi writes and reads. Axis: A dims."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.files import read_json_object
from fastki.errors import DataError, UsageError
from fastki.files import write_text

FILE_NAME = "norm_stats.json"
_FIELDS = ("mean", "std", "q01", "q99")


@dataclass(frozen=True, eq=False)
class NormStats:
    """Statistics by dimension in native units, each ``[A]`` float64 and finite; q01 and q99 may be absent.

    Raises:
        UsageError: arrays of unequal shapes, only one of the quantiles, or NaN or Inf.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    q01: NDArray[np.float64] | None = None
    q99: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if (self.q01 is None) != (self.q99 is None):
            raise UsageError("normalisation statistics need both q01 and q99, or neither")
        for name in _FIELDS:
            value = getattr(self, name)
            if value is None:
                continue
            array = np.array(value, dtype=np.float64)
            if array.ndim != 1 or array.shape != np.shape(self.mean) or not np.isfinite(array).all():
                raise UsageError(f"normalisation statistics: {name} must be finite numbers [A], as many as mean has")
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        """A."""
        return len(self.mean)


def save_norm_stats(folder: str | os.PathLike[str], stats: Mapping[str, NormStats]) -> Path:
    """Write ``folder``/norm_stats.json, byte for byte as openpi does; keys such as "actions" and "state"."""
    path = Path(folder) / FILE_NAME
    tree = {"norm_stats": {key: {name: getattr(one, name) for name in _FIELDS} for key, one in stats.items()}}
    write_text(path, _to_json(tree))
    return path


def load_norm_stats(folder: str | os.PathLike[str]) -> dict[str, NormStats]:
    """The statistics in ``folder``/norm_stats.json, by key.

    Raises:
        DataError: no such file, or a damaged one.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise DataError(f"{path} is missing: give a folder with normalisation statistics")
    tree = read_json_object(path).get("norm_stats")
    if not isinstance(tree, dict):
        raise DataError(f"{path} is damaged: it has no 'norm_stats'")
    return {key: _parse(value, f"{path}, {key}") for key, value in tree.items()}


def _parse(value: Any, where: str) -> NormStats:
    if not isinstance(value, dict):
        raise DataError(f"{where} is damaged: an object with mean and std is expected")
    try:
        mean, std = _numbers(value, "mean", where), _numbers(value, "std", where)
        quantiles = [None if value.get(name) is None else _numbers(value, name, where) for name in ("q01", "q99")]
        return NormStats(mean, std, *quantiles)
    except UsageError as error:
        raise DataError(f"{where} is damaged: {error}") from error


def _numbers(value: dict[str, Any], name: str, where: str) -> NDArray[np.float64]:
    numbers = value.get(name)
    if not isinstance(numbers, list) or any(type(number) not in (int, float) for number in numbers):
        raise DataError(f"{where} is damaged: {name} must be a list of numbers")
    try:
        return np.array(numbers, dtype=np.float64)
    except OverflowError:
        raise DataError(f"{where} is damaged: {name} holds a number beyond float64") from None


def _to_json(value: Any, indent: str = "") -> str:
    """JSON as Rust's serde writes it with two spaces' indent, which openpi's files go through."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return json_float(value)
    inner = indent + "  "
    if isinstance(value, dict):
        items = [f"{json.dumps(k, ensure_ascii=False)}: {_to_json(v, inner)}" for k, v in value.items()]
        brackets = "{}"
    else:
        items = [_to_json(float(v), inner) for v in value]
        brackets = "[]"
    body = f",\n{inner}".join(items)
    return f"{brackets[0]}\n{inner}{body}\n{indent}{brackets[1]}" if items else brackets


def json_float(value: float) -> str:
    """The shortest decimal that reads back as ``value``, in Rust's form.

    >>> json_float(1e-05), json_float(1e-07), json_float(1e16), json_float(2.5e20)
    ('0.00001', '1e-7', '1e16', '2.5e20')
    """
    if not math.isfinite(value):
        raise UsageError(f"{value} cannot be written as JSON")
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text
    power = int(exponent)
    if power == -5:
        sign, digits = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
        return f"{sign}0.0000{digits.replace('.', '')}"
    return f"{mantissa}e{power}"
