"""A model's parameters as what they are: a nested dict of arrays under openpi's names, and the rest of the model.

definition, params = split_model(model)          # params["PaliGemma"]["llm"]["layers"]["attn"]["q_einsum"]["w"]
model = definition.merge(params)                  # works inside jax.jit, jax.grad, jax.eval_shape
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx

from fastki.model.config import ModelConfig
from fastki.model.vla import VLA
from fastki.sequence.layout import Layout

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
    """

    config: ModelConfig
    layout: Layout
    graph: Any
    tree: Any
    names: tuple[str, ...]

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
    leaves, tree = jax.tree_util.tree_flatten_with_path(state)
    # The last step of a path leads into Flax's box around an array and has no key of its own.
    names = tuple("/".join(str(step.key) for step in path if hasattr(step, "key")) for path, _ in leaves)
    params = nest({name: leaf for name, (_, leaf) in zip(names, leaves, strict=True)})
    return Definition(model.config, model.layout, graph, tree, names), params


def init_model(config: ModelConfig, *, seed: int = 0, layout: Layout | None = None) -> tuple[Definition, Params]:
    """A new model with random parameters, float32, the same for the same seed."""
    definition, _ = abstract_model(config, layout=layout)
    return definition, jax.jit(lambda key: split_model(_create(config, key, layout))[1])(jax.random.key(seed))


def initial_values(definition: Definition, names: Iterable[str], *, seed: int = 0) -> dict[str, jax.Array]:
    """Those of :func:`init_model`'s parameters alone, by name: of the others nothing is allocated."""
    wanted = tuple(names)

    def draw(key: jax.Array) -> dict[str, jax.Array]:
        flat = flatten(split_model(_create(definition.config, key, definition.layout))[1])
        return {name: flat[name] for name in wanted}

    return jax.jit(draw)(jax.random.key(seed)) if wanted else {}


def abstract_model(config: ModelConfig, *, layout: Layout | None = None) -> tuple[Definition, Params]:
    """The same with shapes for parameters: nothing is allocated, whatever the size."""
    found: list[Definition] = []

    def shapes() -> Params:
        definition, params = split_model(_create(config, jax.random.key(0), layout))
        found.append(definition)
        return params

    params: Params = jax.eval_shape(shapes)
    return found[0], params


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts → ``{"a/b/c": leaf}``."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}/") if isinstance(value, Mapping) else {name: value})
    return flat


def nest(flat: Mapping[str, Any]) -> Params:
    """The inverse of :func:`flatten`."""
    nested: Params = {}
    for name, leaf in flat.items():
        *path, last = name.split("/")
        level = nested
        for part in path:
            level = level.setdefault(part, {})
        level[last] = leaf
    return nested


def count(params: Params) -> int:
    """How many numbers the parameters are."""
    return sum(leaf.size for leaf in flatten(params).values())


def _create(config: ModelConfig, key: jax.Array, layout: Layout | None) -> VLA:
    return VLA(config, rngs=nnx.Rngs(params=key), layout=layout)
