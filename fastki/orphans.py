"""No process of a pool outlives the process that began it."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """From now on, end this process as soon as its parent has ended, however that was killed.

    A pipe that closes is noticed between two pieces of work only, and a piece may take hours. Whatever this process was
    writing is left as a kill would leave it: fastki's files are whole or absent.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)  # The other threads may be inside a computation that hears of no exception.

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
