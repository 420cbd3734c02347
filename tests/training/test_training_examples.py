"""The examples in the docstrings of training."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import fastki.training.loader

MODULES = sorted(path.stem for path in Path(fastki.training.loader.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(f"fastki.training.{name}")).failed == 0
