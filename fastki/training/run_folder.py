"""A run's folder: what it was made of, what it learnt, and how it went.

config.toml        the whole configuration, resolved
tokenizer/         of the actions, with its normaliser
assets/            norm_stats.json, as openpi has it
environment.json   versions, devices, and the command
metrics.jsonl      a line a step, and one a measurement on held-out episodes; metrics.csv the same for a spreadsheet
speed.jsonl        a line every few steps: examples a second, waiting
checkpoints/STEP/  see fastki.training.steps
evaluation/        what fastki eval found
figures/
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from fastki.config import from_plain, from_toml, to_toml
from fastki.errors import CheckpointError, UsageError
from fastki.files import require_writable, write_text
from fastki.training.config import TrainConfig

_LIBRARIES = ("fastki", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


@dataclass(frozen=True)
class RunFolder:
    """The places in a run's folder."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer"

    @property
    def assets(self) -> Path:
        return self.path / "assets"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def speed(self) -> Path:
        return self.path / "speed.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation"

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self.config.is_file()

    def require_writable(self) -> None:
        """UsageError where nothing can be written here."""
        require_writable(self.config)

    def write_config(self, config: TrainConfig) -> None:
        """Record the configuration."""
        write_text(self.config, to_toml(config))

    def write_environment(self, command: list[str]) -> None:
        """Record versions, devices and the command line."""
        write_text(self.environment, json.dumps(environment(command), indent=2) + "\n")


def read_config(folder: RunFolder) -> TrainConfig:
    """The configuration of a run.

    Raises:
        CheckpointError: no run was begun there.
        UsageError: its configuration is damaged.
    """
    try:
        text = folder.config.read_text(encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"{folder.path} is no run of fastki: it has no config.toml") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{folder.config} is no UTF-8 text: it is damaged") from error
    try:
        return from_plain(TrainConfig, from_toml(text, str(folder.config)))
    except UsageError as error:
        raise UsageError(f"{folder.config}: {error}") from error


def environment(command: list[str]) -> Mapping[str, Any]:
    """Versions of Python and libraries, the devices, and the command line."""
    import jax

    return {
        "command": command,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "processes": jax.process_count(),
        "byte_order": sys.byteorder,
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
