"""What the BPE checks of its inputs before a kernel trusts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastki.errors import TokenizerError, UsageError
from fastki.tokenizer.ragged import Ragged

MAX_VOCAB_SIZE = 65_536  # a pair of ids fits in 32 bits
MAX_CELLS = 2**29  # symbols and ends of a training set: three places a cell are counted in 31 bits


def check_training(cells: int, num_symbols: int, vocab_size: int, min_count: int) -> None:
    if num_symbols < 1:
        raise UsageError(f"num_symbols {num_symbols} is below 1")
    if vocab_size < num_symbols:
        raise UsageError(f"vocab_size {vocab_size} is below the {num_symbols} base symbols")
    if vocab_size > MAX_VOCAB_SIZE:
        raise UsageError(f"vocab_size {vocab_size} is above {MAX_VOCAB_SIZE}")
    if min_count < 0:
        raise UsageError(f"min_count {min_count} is below 0")
    if cells > MAX_CELLS:
        raise UsageError(f"symbols and sequences are more than {MAX_CELLS:,}: train on a sample of the sequences")


def check_ids(num_symbols: int, merges: NDArray[np.int32], merged: NDArray[np.int32]) -> None:
    if num_symbols < 1:
        raise TokenizerError(f"num_symbols {num_symbols} is below 1")
    if len(merges) != len(merged):
        raise TokenizerError(f"{len(merges)} merges make {len(merged)} ids: the numbers must agree")
    vocab_size = num_symbols + len(np.unique(merged))
    if vocab_size > MAX_VOCAB_SIZE:
        raise TokenizerError(f"the vocabulary has {vocab_size} ids, more than {MAX_VOCAB_SIZE}")
    wrong = (merged < num_symbols) | (merged >= vocab_size)
    wrong |= (merges.min(axis=1) < 0) | (merges.max(axis=1) >= vocab_size)
    if wrong.any():
        bad = int(np.argmax(wrong))
        left, right = merges[bad].tolist()
        raise TokenizerError(
            f"merge {bad} makes id {merged[bad]} of ids {left} and {right}, but ids must run without a gap from "
            f"0 to {vocab_size - 1}, and merges make those from {num_symbols} on"
        )


def kernel_array(array: ArrayLike, dtype: type[np.signedinteger[Any]]) -> NDArray[Any]:
    """A copy fit for the kernels, or the array itself if it is; Numba would compile anew for a read-only one."""
    given = np.asarray(array)
    if given.dtype == dtype and given.flags.carray:
        return given
    fit = np.array(given, dtype=dtype, order="C")
    if fit.size and not np.array_equal(fit, given):
        raise TokenizerError(f"the values do not fit in {np.dtype(dtype).name}")
    return fit


def checked(sequences: Ragged) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Values and offsets that a kernel can trust."""
    values, offsets = kernel_array(sequences.values, np.int32), kernel_array(sequences.offsets, np.int64)
    if values.ndim != 1 or offsets.ndim != 1:
        raise UsageError(f"values and offsets have {values.ndim} and {offsets.ndim} axes, not 1 each")
    if offsets[0] != 0 or offsets[-1] != len(values) or (offsets[1:] < offsets[:-1]).any():
        raise UsageError(f"offsets do not ascend from 0 to the number of values, {len(values)}")
    return values, offsets


def checked_one(sequence: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """One sequence's values and offsets that a kernel can trust."""
    values = kernel_array(sequence, np.int32)
    if values.ndim != 1:
        raise UsageError(f"one sequence has one axis, not {values.ndim}")
    return values, np.array([0, values.size], dtype=np.int64)


def num_threads(threads: int | None) -> int:
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads < 1:
        raise UsageError(f"threads {threads} is below 1")
    return threads


def ranges(offsets: NDArray[np.int64], threads: int) -> list[slice]:
    """Slices of `offsets`, neighbours sharing a cell, with about equally many symbols."""
    goals = np.linspace(0, offsets[-1], threads + 1)[1:-1]
    cuts = np.unique([0, *np.searchsorted(offsets, goals), len(offsets) - 1])
    if len(cuts) < 2:
        return [slice(0, len(offsets))]
    return [slice(int(a), int(b) + 1) for a, b in pairwise(cuts)]


def phrases(expansions: Ragged) -> Iterator[bytes]:
    text, at = expansions.values.tobytes(), (expansions.offsets * expansions.values.itemsize).tolist()
    return (text[start:end] for start, end in pairwise(at))


def locate(offsets: NDArray[np.int64], index: int) -> str:
    sequence = int(np.searchsorted(offsets, index, side="right")) - 1
    return f"sequence {sequence}, position {index - offsets[sequence]}"
