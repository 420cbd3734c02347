"""The published openpi-client, which pins an older NumPy, driven in a Python of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from other_python import python_with
from processes import PATIENCE

_BEGIN = """
import json, sys
import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy
folder, port = sys.argv[1], int(sys.argv[2])
observation = dict(np.load(folder + "/observation.npz"), prompt="place the red cube")
"""


def openpi_python() -> str:
    """A Python that has openpi-client; the test is skipped where there is none."""
    what = "openpi-client (.ci/run makes one that has)"
    return python_with("openpi_client.websocket_client_policy", "FASTKI_OPENPI_PYTHON", what)


def drive(script: str, port: int, folder: Path, observation: dict[str, np.ndarray]) -> str:
    """What a script prints that has ``WebsocketClientPolicy``, ``observation``, ``folder`` and ``port``."""
    np.savez(folder / "observation.npz", **observation)
    words = [openpi_python(), "-c", _BEGIN + script, str(folder), str(port)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout
