"""What a run was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("numpy", "scipy", "numba", "tokenizers", "transformers")


def describe_machine(packages: Sequence[str] = _PACKAGES) -> dict[str, Any]:
    """Processor, cores, Python and the versions of ``packages``."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def machine_line(machine: dict[str, Any]) -> str:
    """The same in a line."""
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    return f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, {packages}"


def use_two_cores() -> int:
    """Keep to two cores where the system allows that; how many there are then."""
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count() or 1
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)
    return len(cores)


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
