"""What is costly to open, kept open: the few that were used last."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What holds a file or memory until it is closed; used again after that, it opens again."""

    def close(self) -> None: ...


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Closable)


class Kept(Generic[K, V]):
    """At most ``limit`` things by key; those used longest ago are closed. Pickled, it is empty."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._things: OrderedDict[tuple[int, K], V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The thing of that key, by ``make`` if it is not there."""
        ours = (os.getpid(), key)  # A forked process shares its parent's place in a file, so it opens its own.
        with self._lock:
            if ours not in self._things:
                self._things[ours] = make()
            self._things.move_to_end(ours)
            thing = self._things[ours]
            dropped = [self._things.popitem(last=False)[1] for _ in range(len(self._things) - self._limit)]
        for other in dropped:
            other.close()
        return thing

    def close(self) -> None:
        """Close all."""
        with self._lock:
            dropped = list(self._things.values())
            self._things.clear()
        for thing in dropped:
            thing.close()

    def __getstate__(self) -> dict[str, int]:
        return {"limit": self._limit}

    def __setstate__(self, state: dict[str, int]) -> None:
        self._limit = state["limit"]
        self._lock = threading.Lock()
        self._things = OrderedDict()
