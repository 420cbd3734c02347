"""Processes that train the toy model on fake devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from processes import PATIENCE, launch

from fastki.config import to_plain

MAKERS = Path(__file__).parent


class Toy:
    """One process of ``toy_training.py`` under way; ``before``, if any, is Python that has to execute its arguments."""

    def __init__(
        self, runs: tuple[Any, ...], *, devices: int, environment: Mapping[str, str], before: str = ""
    ) -> None:
        flags = f"--xla_force_host_platform_device_count={devices}"
        self.process = launch(
            [
                sys.executable,
                *(["-c", before] if before else []),
                *("-W", "error", str(MAKERS / "toy_training.py"), json.dumps(to_plain(list(runs)))),
            ],
            env={
                **os.environ,
                "XLA_FLAGS": flags,
                "JAX_PLATFORMS": "cpu",
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
                "PYTHONPATH": _path(),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def results(self) -> list[dict[str, Any]]:
        """What each run said, once the process has ended well."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, errors
        return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def _path() -> str:
    return os.pathsep.join([str(MAKERS.parents[1]), os.environ.get("PYTHONPATH", "")])


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """The lines that runs in ``folder`` have noted so far."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]
