"""The smallest run that can be trained, and policies with random parameters, which need no training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from fastki.evaluation.policy import Policy, Sampling
from fastki.model.params import init_model
from fastki.training.card import load_assets, save_assets
from fastki.training.loop import train
from fastki.training.open_run import open_run
from fastki.training.prepare import Setup, prepare
from fastki.training.presets import configured, preset

DATA = "synthetic:droid?episodes=12&size=28"
SETTINGS = (
    f"data.uri={DATA}",
    "steps=3",
    "network.size=dummy",
    "loader.batch_size=4",
    "save.every=2",
    "tokenizer.fit.holdout=0.3",
    "tokenizer.fit.horizon=16",
    "tokenizer.fit.stride=2",
    "tokenizer.fit.tokenizer.bins=20",
    "tokenizer.fit.tokenizer.vocab_size=128",
)


@contextmanager
def quick_compiler() -> Iterator[None]:
    """What is compiled within runs a few times only."""
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


def dummy_setup(*settings: str) -> Setup:
    """The smallest run, with other values of its configuration."""
    return prepare(configured(preset("tiny"), {}, [*SETTINGS, *settings]))


def random_policy(setup: Setup, folder: Path, sampling: Sampling | None = None) -> Policy:
    """A policy of the run with random parameters; what it needs besides goes through ``folder``."""
    save_assets(folder, setup)
    assets = load_assets(folder)
    return Policy(assets, init_model(setup.model, seed=1, layout=setup.layout)[1], sampling)


def with_card(policy: Policy, params: Any = None, **changes: Any) -> Policy:
    """The same policy with another card; random parameters fit only where the shapes are the same."""
    card = dataclasses.replace(policy.card, **changes)
    return Policy(dataclasses.replace(policy.assets, card=card), policy.params if params is None else params)


def train_dummy(folder: Path, *settings: str) -> Setup:
    """Train the smallest run into ``folder``, as ``fastki train`` lays it out."""
    with quick_compiler():
        run = open_run(folder, configured(preset("tiny"), {}, [*SETTINGS, *settings]), command=["fastki", "train"])
        train(run.machinery)
    return run.setup
