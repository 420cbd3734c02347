"""A command line that trains the smallest model for six steps, and processes that run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from processes import launch

QUICK = (
    "train",
    "--data",
    "synthetic:droid?episodes=8&size=28",
    "--no-images",
    "--batch-size",
    "4",
    "--steps",
    "6",
    "--set",
    "network.size=dummy",
    "--set",
    "save.every=2",
    "--set",
    "save.log_every=2",
    # A schedule that the number of steps does not change: what is compiled for one run is for all.
    "--set",
    "recipe.schedule.decay_steps=100",
    "--set",
    "recipe.schedule.warmup_steps=1",
)
RUN = Path("fastki-out/train")
_CODE = "import sys; from fastki.cli.main import run; run(sys.argv[1:])"


def started(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """``fastki train`` in a process of its own, in ``folder``."""
    return launch(
        [sys.executable, "-c", _CODE, *QUICK, *arguments],
        cwd=folder,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def noted(folder: Path) -> list[dict[str, Any]]:
    """The lines of the run's log in ``folder`` that are whole."""
    log = folder / RUN / "metrics.jsonl"
    text = log.read_text() if log.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
