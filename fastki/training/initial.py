"""The parameters that a run begins with: random ones, or those of a checkpoint."""

from __future__ import annotations

import jax
from jax.sharding import Mesh, Sharding

from fastki.model.checkpoint import LoadReport, load_openpi
from fastki.model.checkpoint_match import LoadRules
from fastki.model.checkpoint_npz import load_paligemma
from fastki.model.params import Definition, Params, abstract_model, flatten, initial_value, nest
from fastki.training.init_stats import step_of
from fastki.training.mesh import MeshOptions, tree_shardings

ADDED = LoadRules(missing=("lora", "state_token"), unused=())
"""What a run may have that the weights that it begins with lack."""


def initial_params(
    definition: Definition, init: str | None, seed: int, mesh: Mesh, options: MeshOptions
) -> tuple[Params, LoadReport | None]:
    """All parameters, on the mesh, and where they come from if not from the seed alone.

    Args:
        definition: of the model.
        init: an openpi checkpoint or a step of a run (a folder or URL), or PaliGemma's ``.npz``; None: random ones.
        seed: of random values.
        mesh, options: where each lies.

    Raises:
        UsageError: the weights do not fit; all differences are listed.
        DataError: they can't be read.
    """
    shapes: Params = abstract_model(definition.config, layout=definition.layout)[1]
    shardings = tree_shardings(shapes, mesh, options)
    where = flatten(shardings)
    if init is None:
        return nest({name: _placed(definition, name, seed, where[name]) for name in definition.names}), None
    if init.endswith(".npz"):
        loaded = load_paligemma(init, definition, sharding=where, seed=seed)
    else:
        loaded = load_openpi(step_of(init), definition, rules=ADDED, sharding=where, seed=seed)
    return loaded.params, loaded.report


def _placed(definition: Definition, name: str, seed: int, sharding: Sharding) -> jax.Array:
    """A new model's parameter on the devices of all hosts, each of which has drawn the same."""
    value = initial_value(definition, name, seed=seed)
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])
