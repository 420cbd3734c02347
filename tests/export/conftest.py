"""A tokenizer, and cards of policies that no machine of a test could hold."""

from __future__ import annotations

import dataclasses

import pytest


@pytest.fixture(scope="session")
def fitted_sample(tmp_path_factory):
    """A tokenizer of a few episodes, saved."""
    from fastki import open_dataset
    from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset

    options = FitOptions(FitSettings(vocab_size=128, bins=20), stride=2, holdout=0.3)
    dataset = open_dataset("synthetic:droid?episodes=8")
    return fit_on_dataset(dataset, options).tokenizer.save(tmp_path_factory.mktemp("sample") / "tok")


@pytest.fixture(scope="session")
def dummy_source(trained_once):
    """The trained run's newest checkpoint."""
    from fastki.export.source import policy_source

    return policy_source(trained_once / "checkpoints" / "3", str(trained_once), None)


@pytest.fixture(scope="session")
def pi05_source(dummy_source):
    """The same with the card of a π0.5 in its own size, prompt and text; it has no weights."""
    from fastki.model.config import ModelConfig
    from fastki.sequence.layout import open_layout
    from fastki.sequence.sizes import SIZES

    model = ModelConfig(SIZES["pi05"], 257_152, action_dim=32, action_horizon=16)
    card = dataclasses.replace(
        dummy_source.card,
        model=model,
        layout=open_layout("images-prompt-fast"),
        text="google/paligemma-3b-pt-224",
        mode="flow",
    )
    return dataclasses.replace(dummy_source, card=card)
