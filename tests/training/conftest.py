"""A small dataset and what makes examples of it; processes that train the toy model on fake devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fastki.config import to_plain
from fastki.data import open_dataset
from fastki.sequence.assemble import Assembler, BatchShape
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import PRESETS
from fastki.sequence.state import fit_state_normalizer
from fastki.sequence.text import ByteTokenizer
from fastki.sequence.wording import Wording
from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset

MAKERS = Path(__file__).parents[1] / "makers"


class Toy:
    """One process of ``toy_training.py`` under way; ``before``, if any, is Python that has to execute its arguments."""

    def __init__(
        self, runs: tuple[Any, ...], *, devices: int, environment: Mapping[str, str], before: str = ""
    ) -> None:
        flags = f"--xla_force_host_platform_device_count={devices}"
        self.process = subprocess.Popen(
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
        output, errors = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, errors
        return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def _path() -> str:
    return os.pathsep.join([str(MAKERS.parents[1]), os.environ.get("PYTHONPATH", "")])


@pytest.fixture
def start_toy() -> Any:
    """``start_toy(*runs, devices=1, **environment)``: a process of them; none outlives the test."""
    started: list[Toy] = []

    def start(*runs: Any, devices: int = 1, environment: Mapping[str, str] | None = None, before: str = "") -> Toy:
        started.append(Toy(runs, devices=devices, environment=environment or {}, before=before))
        return started[-1]

    yield start
    for toy in started:
        if toy.process.poll() is None:
            toy.process.kill()
            toy.process.communicate()


@pytest.fixture
def toy_results(start_toy: Callable[..., Toy]) -> Callable[..., list[dict[str, Any]]]:
    """What runs in a process of their own said."""
    return lambda *runs, **options: start_toy(*runs, **options).results()


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """The lines that runs in ``folder`` have noted so far."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.fixture
def noted() -> Callable[[Path], list[dict[str, Any]]]:
    """:func:`metrics_of`."""
    return metrics_of


@pytest.fixture(scope="session")
def dataset():
    return open_dataset("synthetic:droid?episodes=5&size=40")


@pytest.fixture(scope="session")
def tokenizer(dataset):
    return fit_on_dataset(dataset, FitOptions(FitSettings(bins=40), stride=3)).tokenizer


@pytest.fixture(scope="session")
def make(dataset, tokenizer):
    """An assembler of any sizes."""
    normalizer, text = fit_state_normalizer(dataset), ByteTokenizer()

    def assembler(**sizes) -> Assembler:
        wording = Wording(PRESETS["images-prompt-fast"], text, FastIds.onto(text, tokenizer.vocab_size))
        shape = BatchShape(**{"max_token_len": 200, "action_dim": 10, "image_size": 32, **sizes})
        return Assembler(tokenizer, tokenizer.source.spec, wording, shape, normalizer, dataset.info.slots)

    return assembler
