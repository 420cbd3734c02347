"""Which kernels the codec has, and whether Numba has compiled them on this machine before.

Numba compares a cached kernel with the file that defines it, and misses a change in a helper that comes from another
file: after such an edit, :func:`forget_stale_kernels` drops what is older than any of the kernels' files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastki.tokenizer import bound_kernels, bpe_code, bpe_pairs, bpe_train, stream_kernels
from fastki.tokenizer.bpe import train_bpe
from fastki.tokenizer.codec import Codec

_SOURCES = tuple(
    Path(module.__file__ or "") for module in (bound_kernels, bpe_code, bpe_pairs, bpe_train, stream_kernels)
)
_KERNELS: tuple[Any, ...] = (
    bpe_train.train_kernel,
    bpe_code.index_kernel,
    bpe_code.encode_kernel,
    bpe_code.decode_kernel,
    bpe_code.expand_kernel,
    stream_kernels.write_symbols,
    stream_kernels.read_symbols,
    stream_kernels.synthesize,
    bound_kernels.quantize_within,
)


def kernels_are_compiled() -> bool:
    """Whether Numba's cache on disk holds every kernel, so that the first call takes no compiling.

    Reads names and times of files only; a cache written for another processor still counts.
    """
    return all(not hasattr(kernel, "stats") or any(_indices(kernel)) for kernel in _KERNELS)


def kernel_cache() -> Path | None:
    """The folder in which Numba keeps the compiled kernels; None where it compiles none."""
    return next((Path(kernel.stats.cache_path) for kernel in _KERNELS if hasattr(kernel, "stats")), None)


def forget_stale_kernels() -> None:
    """Remove from Numba's cache what is older than the kernels' source."""
    changed = max(source.stat().st_mtime for source in _SOURCES)
    for kernel in _KERNELS:
        for index in _indices(kernel):
            if index.stat().st_mtime < changed:
                index.unlink(missing_ok=True)


def _indices(kernel: Any) -> Iterator[Path]:
    """The files that list what Numba has cached of a kernel, for this Python."""
    if not hasattr(kernel, "stats"):  # With NUMBA_DISABLE_JIT a kernel is a plain function.
        return iter(())
    function = kernel.py_func
    name = f"{Path(function.__code__.co_filename).stem}.{function.__qualname__}"
    line, python = function.__code__.co_firstlineno, f"py{sys.version_info.major}{sys.version_info.minor}"
    return Path(kernel.stats.cache_path).glob(f"{name}-{line}.{python}*.nbi")


def warm_up() -> None:
    """Compile all kernels, or load them from Numba's cache on disk."""
    codec = Codec(4, 1, 100.0, 7, atol=0.01)
    streams = codec.write(np.linspace(-1, 1, 8).reshape(2, 4, 1))
    bpe = train_bpe(streams, num_symbols=codec.alphabet.size, vocab_size=codec.alphabet.size + 1)
    codec.read(bpe.decode(bpe.encode(streams)))
