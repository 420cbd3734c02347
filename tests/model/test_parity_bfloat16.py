"""openpi's numbers in bfloat16, as near as rounding lets them be.

XLA keeps more precision than asked within what it fuses, and fastki's image tower takes its softmax in float32 where
openpi's takes it in bfloat16, so no number is the same. What can be asked: that fastki is no farther from float32 than
openpi is, and no farther from openpi than two roundings are from each other.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flax")

import jax.numpy as jnp
from openpi_golden import FLOAT32, fast_pass, flow_pass, load_golden, real, relative, spread

WORST = 2.0
"""Times the largest difference that bfloat16 makes in openpi: the two may round apart, each by as much."""
SPREAD = 2**0.5
"""Times the root mean square of what bfloat16 does in openpi: two roundings that have nothing in common."""
ERROR = 1.2
"""Our root mean square distance from float32, over openpi's: no step of ours rounds where openpi's does not."""
LOSS = 2e-3
"""Of a mean loss: openpi's own jitted and eager bfloat16 losses differ by that (``report.json``)."""


def check_rounding(quantity, ours, theirs, exact):
    """All ``[N, …]``: fastki's and openpi's bfloat16, openpi's float32."""
    assert np.abs(ours - theirs).max() < WORST * np.abs(theirs - exact).max(), quantity
    assert spread(ours, theirs) < SPREAD * spread(theirs, exact), quantity
    assert spread(ours, exact) < ERROR * spread(theirs, exact), quantity


@pytest.mark.parametrize("name", ["pi05_sym", "pi05_asym"])
def test_a_flow_model(shared, name):
    golden = load_golden(shared, name)
    found = flow_pass(golden, "bfloat16")
    dtypes = golden.report["bfloat16"]["dtypes"]
    for quantity, array in found.items():
        assert array.dtype == dtypes.get(quantity, array.dtype), quantity
    for quantity in ("suffix_tokens", "adarms_cond"):  # Made in float32 all the same.
        assert relative(found[quantity], golden.outputs_bfloat16[quantity]) < FLOAT32
    for quantity in ("prefix_tokens", "prefix_out", "suffix_out", "v_t", "logits_text8"):
        name, stride = (f"{quantity}_stride8", 8) if quantity.startswith("prefix") else (quantity, 1)
        rows = real(golden, quantity, stride)
        ours = np.asarray(found[quantity].astype(jnp.float32))[:, ::stride]
        exact = golden.outputs[quantity][:, ::stride]
        check_rounding(quantity, ours[rows], golden.outputs_bfloat16[name][rows], exact[rows])
    loss = np.square(np.asarray(found["v_t"]) - golden.outputs["u_t"]).mean()
    assert loss == pytest.approx(golden.outputs_bfloat16["loss"].mean(), rel=LOSS)


def test_pi0_fast(shared):
    golden = load_golden(shared, "pi0_fast")
    found = fast_pass(golden, "bfloat16")
    assert found["token_embeddings"].dtype == found["pre_logits_text"].dtype == jnp.bfloat16
    assert found["logits"].dtype == found["loss"].dtype == jnp.float32
    rows = golden.inputs["tokenized_prompt_mask"][:, :-1]
    for quantity in ("pre_logits_text", "logits"):
        ours = np.asarray(found[quantity].astype(jnp.float32))
        theirs, exact = golden.outputs_bfloat16[quantity], golden.outputs[quantity]
        check_rounding(quantity, ours[rows], theirs[rows], exact[rows])
    np.testing.assert_allclose(found["loss"], golden.outputs_bfloat16["loss"], rtol=LOSS)
