"""Reading jaxprs: what a traced function consists of, whatever is nested in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any


def equations(jaxpr: Any, times: int = 1) -> Iterator[tuple[Any, int]]:
    """Every equation, those of loops, branches and calls included, and how often it runs; of branches all count."""
    for equation in jaxpr.eqns:
        yield equation, times
        inside = times * equation.params.get("length", 1) if equation.primitive.name == "scan" else times
        for value in equation.params.values():
            for part in value if isinstance(value, (tuple, list)) else [value]:
                if hasattr(part, "eqns") or hasattr(part, "jaxpr"):
                    yield from equations(getattr(part, "jaxpr", part), inside)


def product_flops(jaxpr: Any) -> int:
    """Of all matrix products, a multiplication and an addition counting two."""
    total = 0
    for equation, times in equations(jaxpr):
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            inner = math.prod(shape[axis] for axis in contracted)
            total += 2 * times * inner * math.prod(equation.outvars[0].aval.shape)
    return total
