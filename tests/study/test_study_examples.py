"""The examples in the docstrings of studies and of the tokenizers to compare with."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = [
    "fastki.study.cells",
    "fastki.study.layout_rows",
    "fastki.study.layout_usability",
    "fastki.study.recommend",
    "fastki.tokenizer.binning",
    "fastki.tokenizer.fit",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0
