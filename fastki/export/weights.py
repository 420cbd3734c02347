"""A policy's weights, read as they are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastki.export.lora import Progress, Weights
from fastki.model.checkpoint import expected_leaves, shapes_of
from fastki.model.checkpoint_folder import find_checkpoint
from fastki.model.checkpoint_match import STRICT, plan
from fastki.model.checkpoint_store import open_tree, read_all
from fastki.model.config import ModelConfig
from fastki.model.params import abstract_model
from fastki.sequence.layout import Layout


def read_weights(checkpoint: Path, model: ModelConfig, layout: Layout, progress: Progress) -> Weights:
    """All parameters in the dtypes that they are stored in.

    Raises:
        DataError: they are damaged or incomplete.
        UsageError: they are not those of ``model``.
    """
    tree = open_tree(find_checkpoint(checkpoint).params)
    wanted = expected_leaves(abstract_model(model, layout=layout)[0])
    plan(shapes_of(tree), {name: leaf.shape for name, leaf in wanted.items()}, STRICT, source=str(checkpoint))
    arrays = [tree.arrays[name] for name in wanted]
    weights: Weights = {}
    values = read_all(arrays, lambda array: array.store.read(), tree.folder)
    for done, (array, value) in enumerate(zip(arrays, values, strict=True), 1):
        weights[array.name] = np.asarray(value)
        progress("weights", done, len(arrays))
    return weights
