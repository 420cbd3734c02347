"""Compiling for tests: a function that runs once or twice is not worth the optimiser's seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

_PLAIN = {"xla_backend_optimization_level": 0}
_PLAINEST = {**_PLAIN, "xla_cpu_use_fusion_emitters": False}
"""In a third of the time, where XLA has the option."""


def compile_quickly(function: Callable[..., Any], *examples: Any) -> Callable[..., Any]:
    """``jax.jit(function)`` for arguments like the examples, with little optimisation of the machine code.

    Products of float32 are float32 on every device.
    """
    with jax.default_matmul_precision("float32"):
        lowered = jax.jit(function).lower(*examples)
    try:
        compiled: Callable[..., Any] = lowered.compile(compiler_options=_PLAINEST)
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" not in str(error):
            raise
        compiled = lowered.compile(compiler_options=_PLAIN)
    return compiled


def run_quickly(function: Callable[..., Any], *arguments: Any) -> Any:
    """The same, and its outcome."""
    return compile_quickly(function, *arguments)(*arguments)
