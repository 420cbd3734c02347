"""The examples in the docstrings of evaluation."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import fastki.evaluation.policy

MODULES = sorted(path.stem for path in Path(fastki.evaluation.policy.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(f"fastki.evaluation.{name}")).failed == 0
