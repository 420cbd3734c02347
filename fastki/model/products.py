"""Products with weights, and the gate of an MLP, whose backward passes keep to few and cheap copies.

Their values and gradients are those of the plain expressions. What differs is what XLA makes of them on a processor:

- The gradient of a weight is a product that sums over tokens, for which one operand is transposed in memory. JAX always
  takes the gradient of the output; here it is the smaller one. Three of four MLP weights get twice as fast.
- The gate keeps its two inputs for the backward pass, not the six intermediate arrays of GELU.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array

_ROOT = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(equation: str, x: Array, weight: Array) -> Array:
    """``einsum(equation, x, weight)`` of one dtype, where each letter of the weight is also in ``x`` or the result."""
    result: Array = jnp.einsum(equation, x, weight)
    return result


def _product_forward(equation: str, x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return product(equation, x, weight), (x, weight)


def _product_backward(equation: str, kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    x, weight = kept
    inputs, out = equation.split("->")
    into, of = inputs.split(",")
    by_input = jnp.einsum(f"{out},{of}->{into}", slope, weight)
    # The letters in the order that the product gives by itself, so that the first operand is the one transposed.
    first, second = (into, x), (out, slope)
    if x.size > slope.size:
        first, second = second, first
    order = "".join(letter for name, _ in (first, second) for letter in name if letter in of)
    by_weight = jnp.einsum(f"{first[0]},{second[0]}->{order}", first[1], second[1])
    return by_input, by_weight.transpose([order.index(letter) for letter in of])


product.defvjp(_product_forward, _product_backward)


@jax.custom_vjp
def gated(gate: Array, value: Array) -> Array:
    """``gelu(gate) ∘ value`` with the tanh approximation of GELU (Hendrycks and Gimpel, 2016)."""
    return jax.nn.gelu(gate, approximate=True) * value


def _gated_forward(gate: Array, value: Array) -> tuple[Array, tuple[Array, Array]]:
    return gated(gate, value), (gate, value)


def _gated_backward(kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    gate, value = kept
    square = gate * gate
    tanh = jnp.tanh(_ROOT * gate * (1 + _CUBIC * square))
    half = 0.5 * (1 + tanh)
    rise = half + 0.5 * gate * (1 - tanh) * (1 + tanh) * _ROOT * (1 + 3 * _CUBIC * square)
    return slope * value * rise, slope * gate * half


gated.defvjp(_gated_forward, _gated_backward)
