"""What was read, kept as long as there is room: the things used longest ago go first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from fastki.errors import UsageError

V = TypeVar("V")


class ByteCache(Generic[V]):
    """Things by key, at most ``limit`` bytes of them. For several threads; pickled, it is empty.

    Args:
        limit: bytes, 0 or more; a thing that is larger is made anew each time.
        cost: bytes that a thing takes.
        serial: make one thing at a time, for makers that bear no company; else two threads that want the same thing
            at the same moment may both make it.

    Raises:
        UsageError: a limit below 0.
    """

    def __init__(self, limit: int, cost: Callable[[V], int], *, serial: bool = False) -> None:
        if limit < 0:
            raise UsageError(f"a cache of {limit} bytes: 0 or more is needed")
        self._limit, self._cost, self._serial = limit, cost, serial
        self._clear()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The thing of ``key``, by ``make`` where it is not there."""
        thing = self._find(key)
        if thing is not None:
            return thing
        if not self._serial:
            return self._keep(key, make())
        with self._making:
            thing = self._find(key)  # Another thread may have made it while this one waited.
            return self._keep(key, make()) if thing is None else thing

    @property
    def held(self) -> int:
        """Bytes of all that is kept."""
        return self._held

    def __len__(self) -> int:
        return len(self._things)

    def _find(self, key: Hashable) -> V | None:
        with self._lock:
            if key not in self._things:
                return None
            self._things.move_to_end(key)
            return self._things[key][0]

    def _keep(self, key: Hashable, thing: V) -> V:
        size = self._cost(thing)
        with self._lock:
            if key in self._things:
                return self._things[key][0]
            if size <= self._limit:
                self._things[key] = (thing, size)
                self._held += size
            while self._held > self._limit:
                self._held -= self._things.popitem(last=False)[1][1]
        return thing

    def _clear(self) -> None:
        self._things: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._held = 0
        self._lock, self._making = threading.Lock(), threading.Lock()

    def __getstate__(self) -> tuple[int, Callable[[V], int], bool]:
        return self._limit, self._cost, self._serial

    def __setstate__(self, state: tuple[int, Callable[[V], int], bool]) -> None:
        self._limit, self._cost, self._serial = state
        self._clear()
