"""The examples in the docstrings of sequences."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import fastki.sequence.text

MODULES = sorted(path.stem for path in Path(fastki.sequence.text.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(f"fastki.sequence.{name}")).failed == 0
