"""What a process of its own tries out, since it may crash or hang: importing libraries, and asking JAX for devices.

Run as a script with ``import NAME…`` or ``jax``; it imports nothing of fastki and answers with a line of JSON a
finding. An error ends it: its last line on standard error then says why.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def main(task: str, names: list[str]) -> None:
    """Do a task and write what was found to standard output, each finding at once."""
    if task == "import":
        for name in names:
            _tell(name)
            importlib.import_module(name)
    else:
        _tell(_jax())
    _tell(None)


def _jax() -> dict[str, Any]:
    jax = importlib.import_module("jax")
    devices = jax.devices()
    return {
        "backend": jax.default_backend(),
        "devices": [[device.device_kind, device.platform, _memory(device)] for device in devices],
    }


def _memory(device: Any) -> int | None:
    """Bytes that JAX may take of a device; processors don't say."""
    stats = device.memory_stats()
    return None if not stats else stats.get("bytes_limit")


def _tell(finding: object) -> None:
    sys.stdout.write(json.dumps(finding) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
