"""Processes that tests start, none of which outlives its test, and waits, which only end what hangs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

PATIENCE = 600.0
"""Seconds after which a wait is given up: far beyond what any machine needs, however busy."""
_launched: list[subprocess.Popen[Any]] = []


def launch(command: Sequence[Any], **options: Any) -> subprocess.Popen[Any]:
    """``subprocess.Popen``, ended with the test that asked for it where it has not ended by itself.

    What a failed test left at work would slow those after it, until they fail too.
    """
    process = subprocess.Popen(command, **options)
    _launched.append(process)
    return process


def end_launched() -> None:
    """End what is still at work."""
    while _launched:
        with _launched.pop() as process:  # Closes its pipes, and waits for it.
            if process.poll() is None:
                process.kill()


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[Any] | None = None) -> None:
    """Wait until something is so; ``process``, if given, must not end before."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it makes no progress"
        assert process is None or process.poll() is None or condition(), process.communicate()
        time.sleep(0.01)
