"""A small dataset and what makes examples of it; processes that train the toy model on fake devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from toy_process import Toy, metrics_of

from fastki.data import open_dataset
from fastki.sequence.assemble import Assembler, BatchShape
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import PRESETS
from fastki.sequence.state import fit_state_normalizer
from fastki.sequence.text import ByteTokenizer
from fastki.sequence.wording import Wording
from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset


@pytest.fixture
def start_toy() -> Callable[..., Toy]:
    """``start_toy(*runs, devices=1, **environment)``: a process of them."""

    def start(*runs: Any, devices: int = 1, environment: Mapping[str, str] | None = None, before: str = "") -> Toy:
        return Toy(runs, devices=devices, environment=environment or {}, before=before)

    return start


@pytest.fixture
def toy_results(start_toy: Callable[..., Toy]) -> Callable[..., list[dict[str, Any]]]:
    """What runs in a process of their own said."""
    return lambda *runs, **options: start_toy(*runs, **options).results()


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
