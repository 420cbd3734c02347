"""Compiling for tests: a function that runs once or twice is not worth the optimiser's minutes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def compile_quickly(function: Callable[..., Any], *examples: Any) -> Callable[..., Any]:
    """``jax.jit(function)`` for arguments like the examples, with little optimisation of the machine code.

    Products of float32 are float32 on every device.
    """
    with jax.default_matmul_precision("float32"):
        lowered = jax.jit(function).lower(*examples)
    compiled: Callable[..., Any] = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
    return compiled


def run_quickly(function: Callable[..., Any], *arguments: Any) -> Any:
    """The same, and its outcome."""
    return compile_quickly(function, *arguments)(*arguments)
