"""An export read again and compared with what it was made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.files import read_json_object
from fastki.data.norm_stats import load_norm_stats
from fastki.data.normalize import Normalizer
from fastki.errors import FastkiError
from fastki.export.lerobot_files import NORMALIZER_STATE, UNNORMALIZER_STATE
from fastki.export.lora import Weights
from fastki.export.name_map import pieces
from fastki.export.reference import draw_sample, ids_of
from fastki.export.source import Source
from fastki.export.stats import FEATURES, MODES, lerobot_normalize, openpi_stats
from fastki.export.tensors import open_tensors
from fastki.export.write import ASSETS, STATS, TOKENIZER, WEIGHTS, stats_place
from fastki.model.checkpoint_folder import find_checkpoint
from fastki.model.checkpoint_store import open_tree, read_all

_CLOSE = 1e-5  # Normalised units, of values within ±1, where the range is as wide as it is far from 0.


@dataclass(frozen=True)
class Compared:
    """One thing that was compared.

    Attributes:
        what: it is.
        amount: how much of it.
        found: in words: how it is the same, or how it differs.
        same: whether it is.
    """

    what: str
    amount: str
    found: str
    same: bool


def check_export(folder: Path, system: str, source: Source, weights: Mapping[str, NDArray[Any]]) -> list[Compared]:
    """Everything in ``folder`` against the source: weights, statistics, token ids.

    Args:
        folder: of the export.
        system: ``openpi`` or ``lerobot``.
        source: what it was made of.
        weights: of the policy, as they were to be written; empty for a tokenizer.
    """
    openpi = system == "openpi"
    rows = []
    if weights:
        amount = f"{len(weights):,} arrays, {sum(value.size for value in weights.values()):,} numbers"
        rows.append(_row("weights", amount, lambda: _weights(folder, weights, openpi)))
    for asset, found in source.normalizers.items():
        if found:
            dims = " and ".join(f"{key} [{one.action_dim}]" for key, one in found.items())
            compare = partial(_openpi_stats, by_std=source.by_std) if openpi else _lerobot_stats
            place = folder / ASSETS / asset if openpi else stats_place(folder, source, asset)
            rows.append(_row(f"statistics of {asset}", dims, lambda c=compare, p=place, f=found: c(p, f)))
    if source.tokenizer is not None:
        rows.append(_ids(folder / TOKENIZER, source))
    return rows


def _row(what: str, amount: str, compare: Any) -> Compared:
    """What ``compare`` says: words, and whether they are of agreement; what can't be read differs."""
    try:
        found, same = compare()
    except FastkiError as error:
        return Compared(what, amount, str(error), same=False)
    return Compared(what, amount, found, same)


def _weights(folder: Path, weights: Mapping[str, NDArray[Any]], openpi: bool) -> tuple[str, bool]:
    read = dict(_read_openpi(folder)) if openpi else _read_lerobot(folder, weights)
    if missing := weights.keys() ^ read.keys():
        return f"{min(missing)} is in one of the two alone", False
    for name, value in weights.items():
        wanted = value if openpi else value.astype(np.float32)
        if wanted.dtype != read[name].dtype or wanted.shape != read[name].shape:
            return f"{name} is {read[name].dtype}{list(read[name].shape)}", False
        if wanted.tobytes() != np.ascontiguousarray(read[name]).tobytes():
            return f"{name} has other values", False
    return "bit for bit the same", True


def _read_openpi(folder: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    tree = open_tree(find_checkpoint(folder).params)
    arrays = list(tree.arrays.values())
    values = read_all(arrays, lambda array: array.store.read(), tree.folder)
    for array, value in zip(arrays, values, strict=True):
        yield array.name, np.asarray(value)


def _read_lerobot(folder: Path, weights: Mapping[str, NDArray[Any]]) -> Weights:
    """The JAX arrays put together again from PyTorch's."""
    shapes = {name: value.shape for name, value in weights.items()}
    read = {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}
    with open_tensors(folder / WEIGHTS) as file:
        names = set(file.keys())
        for piece in pieces(shapes):
            if piece.torch not in names:
                return {name: value for name, value in read.items() if name != piece.jax}
            read[piece.jax][piece.index] = piece.to_jax(file.get_tensor(piece.torch))
    return read


def _openpi_stats(place: Path, normalizers: Mapping[str, Normalizer], *, by_std: bool) -> tuple[str, bool]:
    read, wanted = load_norm_stats(place), openpi_stats(normalizers, by_std=by_std)
    if read.keys() != wanted.keys():
        return f"it has {', '.join(read)}", False
    for key, stats in wanted.items():
        for name in ("mean", "std", "q01", "q99"):
            ours, theirs = getattr(stats, name), getattr(read[key], name)
            if (ours is None) != (theirs is None) or (ours is not None and not np.array_equal(ours, theirs)):
                return f"{name} of {key} differs", False
    return "the same numbers", True


def _lerobot_stats(place: Path, normalizers: Mapping[str, Normalizer]) -> tuple[str, bool]:
    """Whether LeRobot's own formula with these statistics gives what the normaliser gives.

    Its normalisers' state is float32, which is coarse where a range is narrow and far from 0; ``stats.json`` is not.
    """
    plain = read_json_object(place / STATS)
    worst, same = 0.0, True
    for key, one in normalizers.items():
        values = one.unnormalize(np.linspace(-1, 1, 9)[:, None] + np.zeros(one.action_dim))
        unit = (values[-1] - values[0]) / 2  # What makes 1 of the normalised.
        rounding = 4 * np.finfo(np.float32).eps * np.abs(values).max(axis=0) / unit
        sets = [({name: np.asarray(numbers) for name, numbers in plain[FEATURES[key]].items()}, 0 * rounding)]
        for file in (NORMALIZER_STATE, UNNORMALIZER_STATE):
            with open_tensors(place / file) as tensors:
                begin, names = f"{FEATURES[key]}.", list(tensors.keys())
                found = {n.removeprefix(begin): tensors.get_tensor(n) for n in names if n.startswith(begin)}
                sets.append((found, rounding))
        for stats, allowed in sets:
            theirs = lerobot_normalize(values, stats, MODES[one.method])
            off = np.abs(theirs - one.normalize(values, clip=False))
            worst = max(worst, float(off.max()))
            same = same and bool((off <= _CLOSE + allowed).all())
    return f"LeRobot's formula gives the same within {worst:.1g}", same


def _ids(folder: Path, source: Source) -> Compared:
    assert source.tokenizer is not None
    sample = draw_sample(source.tokenizer)
    wanted = [one.tolist() for one in source.tokenizer.encode_normalized(sample.chunks, previous=sample.previous)]

    def compare() -> tuple[str, bool]:
        ids, reader = ids_of(folder, sample)
        differing = sum(one != other for one, other in zip(wanted, ids, strict=False)) + abs(len(wanted) - len(ids))
        if differing:
            return f"{differing} chunks have other ids by {reader}", False
        return f"the same {sum(map(len, wanted)):,} ids by {reader}", True

    return _row("token ids", sample.words, compare)


def as_plain(rows: list[Compared]) -> list[dict[str, Any]]:
    """For JSON."""
    return [json.loads(json.dumps(vars(row))) for row in rows]
