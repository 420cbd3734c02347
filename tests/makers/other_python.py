"""Other people's programs, which want other libraries than fastki, in a Python of their own."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys

import pytest


@functools.cache
def python_with(module: str, variable: str, what: str) -> str:
    """A Python that imports ``module``: this one, or that which ``variable`` names.

    The test is skipped where there is none; ``what`` tells what is missed.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is not None:
        return sys.executable
    python = os.environ.get(variable)
    if python and not subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode:
        return python
    pytest.skip(f"neither this Python nor {variable} has {what}")
