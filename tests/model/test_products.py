"""Products with weights and the gate have the gradients of the plain expressions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastki.model.products import gated, product

SIZES = {"B": 2, "T": 5, "D": 6, "N": 3, "H": 4, "S": 2, "K": 1, "W": 6, "M": 8, "I": 4, "O": 9}
EQUATIONS = [
    "BTD,NDH->BTNH",
    "BTD,SKDH->SBTKH",
    "BTD,SNDH->SBTNH",
    "BTNH,NHD->BTD",
    "BTW,WNH->BTNH",
    "BTNH,NHW->BTW",
    "BTW,WM->BTM",
    "BTM,MW->BTW",
    "BTI,IO->BTO",
]


@pytest.mark.parametrize("equation", EQUATIONS)
def test_a_product_is_an_einsum_with_its_gradient(equation):
    rng = np.random.default_rng(0)
    inputs, out = equation.split("->")
    x, weight, slope = (
        jnp.asarray(rng.normal(size=[SIZES[letter] for letter in letters]), jnp.float32)
        for letters in (*inputs.split(","), out)
    )
    mine, theirs = (
        jax.vjp(lambda x, weight, work=work: work(equation, x, weight), x, weight) for work in (product, jnp.einsum)
    )
    np.testing.assert_array_equal(mine[0], theirs[0])
    for own, plain in zip(mine[1](slope), theirs[1](slope), strict=True):
        np.testing.assert_allclose(own, plain, atol=1e-5)


def test_the_gate_has_the_gradient_of_its_expression():
    rng = np.random.default_rng(0)
    gate, value, slope = (jnp.asarray(rng.normal(size=(2, 50, 3)) * 3, jnp.float32) for _ in range(3))

    def plain(gate, value):
        return jax.nn.gelu(gate, approximate=True) * value

    mine, theirs = (jax.vjp(work, gate, value) for work in (gated, plain))
    np.testing.assert_array_equal(mine[0], theirs[0])
    for own, expected in zip(mine[1](slope), theirs[1](slope), strict=True):
        # Far below zero 1 + tanh has few digits left, and here it multiplies numbers of up to a hundred.
        np.testing.assert_allclose(own, expected, atol=1e-4)
