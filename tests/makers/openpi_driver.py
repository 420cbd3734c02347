"""The published openpi-client, which pins an older NumPy, driven in a Python of its own."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

_BEGIN = """
import json, sys
import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy
folder, port = sys.argv[1], int(sys.argv[2])
observation = dict(np.load(folder + "/observation.npz"), prompt="place the red cube")
"""


@functools.cache
def openpi_python() -> str:
    """A Python that has openpi-client; the test is skipped where there is none."""
    if importlib.util.find_spec("openpi_client") is not None:
        return sys.executable
    python = os.environ.get("FASTKI_OPENPI_PYTHON")
    module = "openpi_client.websocket_client_policy"
    if python and not subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode:
        return python
    pytest.skip("neither this Python nor FASTKI_OPENPI_PYTHON has openpi-client (.ci/run makes one that has)")


def drive(script: str, port: int, folder: Path, observation: dict[str, np.ndarray]) -> str:
    """What a script prints that has ``WebsocketClientPolicy``, ``observation``, ``folder`` and ``port``."""
    np.savez(folder / "observation.npz", **observation)
    words = [openpi_python(), "-c", _BEGIN + script, str(folder), str(port)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
