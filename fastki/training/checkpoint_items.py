"""A training state as the trees of a checkpoint, and back.

``params`` is ``{"params": …}``: all parameters for inference, in openpi's layout and without its trailing ``value``.
They are the moving averages where the run keeps them. Then ``train_state/params`` has the trainable parameters
themselves, and is empty otherwise; nothing is stored twice. ``train_state`` further has ``step``, ``opt_state`` (its
places by number and name, as Orbax itself would have it) and ``key`` (the key's uint32 words).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from fastki.errors import CheckpointError
from fastki.model.trees import Tree, flatten, nest, split
from fastki.training.state import TrainState, inference_params
from fastki.training.steps import PARAMS, TRAIN_STATE

_SHOWN = 20


class MismatchError(CheckpointError):
    """A checkpoint is of another model or recipe. ``mismatches`` has one phrase for each difference."""

    def __init__(self, where: str, mismatches: tuple[str, ...]) -> None:
        self.mismatches = mismatches
        shown = "; ".join(mismatches[:_SHOWN])
        rest = f"; and {len(mismatches) - _SHOWN} more" if len(mismatches) > _SHOWN else ""
        super().__init__(
            f"{where} is of another model or recipe: {shown}{rest}. Go on with its own configuration, or into another"
            " folder"
        )


def to_items(state: TrainState) -> dict[str, Tree]:
    """The trees of a state, of its arrays or of their ``jax.ShapeDtypeStruct``."""
    train_state = {
        "step": state.step,
        "opt_state": nest(dict(_by_place(state.opt_state))),
        "key": _words(state.key),
        "params": {} if state.ema_params is None else state.params,
    }
    return {PARAMS: {"params": inference_params(state)}, TRAIN_STATE: train_state}


def from_items(items: Mapping[str, Any], like: TrainState) -> TrainState:
    """The state that :func:`to_items` took apart, in the form of ``like``."""
    stored, train_state = items[PARAMS]["params"], items[TRAIN_STATE]
    chosen, frozen = split(stored, flatten(like.params))
    places = flatten(train_state["opt_state"])
    leaves = [places[place] for place, _ in _by_place(like.opt_state)]
    return dataclasses.replace(
        like,
        step=train_state["step"],
        params=chosen if like.ema_params is None else train_state["params"],
        frozen=frozen,
        opt_state=jax.tree.unflatten(jax.tree.structure(like.opt_state), leaves),
        ema_params=None if like.ema_params is None else chosen,
        key=jax.random.wrap_key_data(train_state["key"]),
    )


def differences(item: str, stored: Tree, wanted: Tree) -> list[str]:
    """A phrase for each leaf of one of two trees that the other has not, or has in another shape or dtype."""
    ours, theirs = flatten(wanted), flatten(stored)
    phrases = [f"{item}/{path} is missing from the checkpoint" for path in ours if path not in theirs]
    phrases += [f"{item}/{path} is in the checkpoint alone" for path in theirs if path not in ours]
    for path in ours:
        if path in theirs and (here := _kind(ours[path])) != (there := _kind(theirs[path])):
            phrases.append(f"{item}/{path} is {there} in the checkpoint and {here} here")
    return phrases


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def _words(key: Any) -> Any:
    """A typed key as uint32 words; of an abstract one, their abstract array in the same place."""
    if not isinstance(key, jax.ShapeDtypeStruct):
        return jax.random.key_data(key)
    words = jax.eval_shape(jax.random.key_data, key)
    return jax.ShapeDtypeStruct(words.shape, words.dtype, sharding=key.sharding)


def _by_place(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of any pytree with the names and numbers that lead to them, in order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [("/".join(_name(key) for key in path), leaf) for path, leaf in leaves]


def _name(key: Any) -> str:
    match key:
        case jax.tree_util.SequenceKey(idx=number):
            return str(number)
        case jax.tree_util.DictKey(key=name) | jax.tree_util.GetAttrKey(name=name):
            return str(name)
    raise TypeError(f"a state has no place for {key!r}")
