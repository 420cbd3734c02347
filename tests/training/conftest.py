"""A small dataset and what turns it into examples."""

from __future__ import annotations

import pytest

from fastki.data import open_dataset
from fastki.sequence.assemble import Assembler, BatchShape
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import PRESETS
from fastki.sequence.state import fit_state_normalizer
from fastki.sequence.text import ByteTokenizer
from fastki.sequence.wording import Wording
from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset


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
