"""The examples in the docstrings of the export."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import fastki.export.words

MODULES = sorted(path.stem for path in Path(fastki.export.words.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_export(name):
    if name == "weights":
        pytest.importorskip("flax")
    assert doctest.testmod(importlib.import_module(f"fastki.export.{name}")).failed == 0
