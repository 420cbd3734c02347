"""A model's parameters as what they are: a nested dict of arrays under openpi's names, and the rest of the model.

definition, params = init_model(config)           # params["PaliGemma"]["llm"]["layers"]["attn"]["q_einsum"]["w"]
model = definition.merge(params)                   # works inside jax.jit, jax.grad, jax.eval_shape
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from fastki.model.config import ModelConfig
from fastki.model.trees import flatten, nest
from fastki.model.vla import VLA
from fastki.sequence.layout import Layout

__all__ = [
    "Definition",
    "Params",
    "abstract_model",
    "count",
    "flatten",
    "init_model",
    "initial_values",
    "nest",
    "split_model",
]

Params = dict[str, Any]
"""Nested by the parts of a name; leaves are arrays, or ``jax.ShapeDtypeStruct`` where only shapes are known."""


@dataclass(frozen=True)
class Definition:
    """A model without its parameters; hashable.

    Attributes:
        config: what it was made of.
        layout: of its sequences.
        graph: Flax's description of the modules.
        tree: of their state.
        names: of the parameters in the order of ``tree``, such as ``PaliGemma/img/head/kernel``.
        shapes: of each.
        beginnings: (mean, standard deviation) of each in a new model.
    """

    config: ModelConfig
    layout: Layout
    graph: Any
    tree: Any
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    beginnings: tuple[tuple[float, float], ...]

    def merge(self, params: Params) -> VLA:
        """The model with these parameters.

        Raises:
            KeyError: a parameter is not there.
        """
        flat = flatten(params)
        state = jax.tree.unflatten(self.tree, [flat[name] for name in self.names])
        model: VLA = nnx.merge(self.graph, state)
        return model


def split_model(model: VLA) -> tuple[Definition, Params]:
    """The model's definition and its parameters."""
    graph, state = nnx.split(model)
    boxes, _ = jax.tree_util.tree_flatten_with_path(state, is_leaf=lambda node: hasattr(node, "deviation"))
    leaves, tree = jax.tree.flatten(state)
    names = tuple("/".join(str(step.key) for step in path) for path, _ in boxes)
    beginnings = tuple((box.mean, box.deviation) for _, box in boxes)
    shapes = tuple(tuple(leaf.shape) for leaf in leaves)
    params = nest(dict(zip(names, leaves, strict=True)))
    return Definition(model.config, model.layout, graph, tree, names, shapes, beginnings), params


def abstract_model(config: ModelConfig, *, layout: Layout | None = None) -> tuple[Definition, Params]:
    """A model's definition, and its parameters' shapes: nothing is allocated, whatever the size."""
    found: list[Definition] = []

    def shapes() -> Params:
        definition, params = split_model(VLA(config, layout=layout))
        found.append(definition)
        return params

    params: Params = jax.eval_shape(shapes)
    return found[0], params


def init_model(config: ModelConfig, *, seed: int = 0, layout: Layout | None = None) -> tuple[Definition, Params]:
    """A new model with random parameters, float32, the same for the same seed, whatever the device."""
    definition, _ = abstract_model(config, layout=layout)
    return definition, nest(initial_values(definition, definition.names, seed=seed))


def initial_values(definition: Definition, names: Iterable[str], *, seed: int = 0) -> dict[str, jax.Array]:
    """Those of :func:`init_model`'s parameters alone, by name: of the others nothing is drawn or allocated."""
    return {name: jnp.asarray(initial_value(definition, name, seed=seed)) for name in names}


def initial_value(definition: Definition, name: str, *, seed: int = 0) -> NDArray[np.float32]:
    """One parameter of a new model, from a stream of its own.

    Drawn by NumPy: JAX would compile a program for each shape, half a second each, before the first step.

    Raises:
        KeyError: the model has no such parameter.
    """
    if name not in definition.names:
        raise KeyError(name)
    place = definition.names.index(name)
    shape, (mean, deviation) = definition.shapes[place], definition.beginnings[place]
    if not deviation:
        return np.full(shape, mean, np.float32)
    stream = np.random.default_rng([seed, zlib.crc32(name.encode())])
    values: NDArray[np.float32] = stream.standard_normal(shape, np.float32)
    values *= np.float32(deviation)
    values += np.float32(mean)
    return values


def count(params: Params) -> int:
    """How many numbers the parameters are."""
    return sum(leaf.size for leaf in flatten(params).values())
