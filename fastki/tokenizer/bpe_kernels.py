"""Which kernels the BPE has, and whether Numba has compiled them on this machine before."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fastki.tokenizer.bpe_code import decode_kernel, encode_kernel, expand_kernel, index_kernel
from fastki.tokenizer.bpe_train import train_kernel

_KERNELS: tuple[Any, ...] = (train_kernel, index_kernel, encode_kernel, decode_kernel, expand_kernel)


def kernels_are_compiled() -> bool:
    """Whether Numba's cache on disk holds every kernel, so that the first call takes no compiling.

    Reads names and times of files only; a cache written for another processor still counts.
    """
    return all(_is_cached(kernel) for kernel in _KERNELS)


def _is_cached(kernel: Any) -> bool:
    if not hasattr(kernel, "stats"):  # NUMBA_DISABLE_JIT leaves the Python function, which needs no compiling.
        return True
    function = kernel.py_func
    source = Path(function.__code__.co_filename)
    place = f"{source.stem}.{function.__qualname__}-{function.__code__.co_firstlineno}"
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    indices = Path(kernel.stats.cache_path).glob(f"{place}.{python}*.nbi")
    return any(index.stat().st_mtime >= source.stat().st_mtime for index in indices)
