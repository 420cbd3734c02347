"""What a new model begins with."""

from __future__ import annotations

import numpy as np
import pytest

from fastki.errors import UsageError
from fastki.model.config import small_config
from fastki.model.params import abstract_model, initial_value

_PATCHES = "PaliGemma/img/embedding/kernel"


def test_the_gain_of_patches_scales_their_first_values_and_no_others():
    one, _ = abstract_model(small_config())
    other, _ = abstract_model(small_config(patch_gain=12.0))
    assert one.names == other.names
    for name in one.names:
        factor = 3 if name == _PATCHES else 1
        np.testing.assert_allclose(initial_value(other, name), factor * initial_value(one, name), rtol=1e-6)


def test_a_gain_of_nothing_is_refused():
    with pytest.raises(UsageError, match="patch_gain 0 is out of range"):
        small_config(patch_gain=0.0)
