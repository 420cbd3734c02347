"""The examples in the docstrings of the data path."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import fastki.data

MODULES = sorted(path.stem for path in Path(fastki.data.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(f"fastki.data.{name}")).failed == 0
