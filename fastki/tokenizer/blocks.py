"""Work on chunks a block at a time, on every core."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from numpy.typing import NDArray

T = TypeVar("T")


def map_blocks(work: Callable[[NDArray[Any]], T], chunks: NDArray[Any], *, values: int) -> Iterator[T]:
    """``work`` on blocks of about ``values`` values along the first axis of ``chunks`` ``[N, …]``, results in order.

    One block runs in the caller's thread, several on as many threads as there are cores, with no more of them under
    way than that: the kernels and matrix products below release the interpreter's lock.
    """
    per_block = max(1, values // max(1, chunks[:1].size))
    starts = range(0, len(chunks), per_block)
    if len(starts) <= 1:
        yield from (work(chunks[start : start + per_block]) for start in starts)
        return
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        jobs = (pool.submit(work, chunks[start : start + per_block]) for start in starts)
        waiting: deque[Future[T]] = deque(itertools.islice(jobs, threads + 1))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(itertools.islice(jobs, 1))
