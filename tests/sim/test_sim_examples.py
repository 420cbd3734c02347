"""The examples in the docstrings of fastki.sim."""

from __future__ import annotations

import doctest
import importlib

import pytest

pytest.importorskip("flax")


@pytest.mark.parametrize("name", ["wilson", "demonstrate", "closed_loop", "evaluate"])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"fastki.sim.{name}"))
    assert result.attempted
    assert not result.failed
