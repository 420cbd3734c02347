"""A request to stop that a training loop answers between two steps, rather than one that kills it within one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """A context in which SIGTERM (a cluster's notice) and SIGINT (Ctrl-C) set a flag.

    The first of them sets ``signal_name``, and gives back the handlers that there were before: a second one stops the
    process as it always would. The handlers are those of before when the block ends, too. Outside the main thread,
    where Python delivers no signals, the flag is never set.

    >>> with Interruption() as interruption:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     interruption.requested, interruption.signal_name
    (True, 'SIGTERM')
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal_name is not None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._give_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal_name = signal.Signals(number).name
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            # A handler set from outside Python can't be put back; the default is the nearest thing.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
