"""The worked examples in the docstrings of the training modules are true."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name", ["model.parts", "training.trees", "training.selection", "training.interruption", "training.space"]
)
def test_examples(name):
    outcome = doctest.testmod(importlib.import_module(f"fastki.{name}"))
    assert outcome.failed == 0
    assert outcome.attempted > 0
