"""Exponential moving average of parameters."""

from __future__ import annotations

import jax

from fastki.model.trees import Tree


def update_average(average: Tree, params: Tree, decay: float) -> Tree:
    """``decay · average + (1 − decay) · params``, leaf by leaf, after each update, as openpi has it.

    It begins at the parameters themselves, so that nothing has to be corrected for a start at zero.
    """
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, average, params)  # type: ignore[no-any-return]
