"""Parameters of a small model in NumPy, and PaliGemma's file of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastki.model.config import ModelConfig, small_config
from fastki.model.params import Definition, abstract_model, flatten, nest


def definition_of(**changes) -> Definition:
    """A dummy model's, with action_dim 6."""
    return abstract_model(config_of(**changes))[0]


def config_of(**changes) -> ModelConfig:
    return small_config(**{"vocab": 64, "action_dim": 6, **changes})


def params_of(**changes) -> dict:
    """Random float32 parameters, the same at every call."""
    rng = np.random.default_rng(0)
    shapes = flatten(abstract_model(config_of(**changes))[1])
    return nest({name: rng.normal(size=leaf.shape).astype(np.float32) for name, leaf in shapes.items()})


def write_npz(path: Path, params: dict, *, prefix: str = "params/", **extra: np.ndarray) -> Path:
    """The image tower and the language model without its expert, under big_vision's names."""
    flat = {name.removeprefix("PaliGemma/"): leaf for name, leaf in flatten(params).items() if "PaliGemma/" in name}
    own = {name: leaf for name, leaf in flat.items() if name.startswith("img/") or "_1" not in name}
    np.savez(path, **{prefix + name: leaf for name, leaf in own.items()}, **extra)
    return path


def same(one: dict, other: dict) -> bool:
    """Whether two trees have the same names and, bit by bit, the same arrays."""
    first, second = flatten(one), flatten(other)
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and np.asarray(first[name]).tobytes() == np.asarray(second[name]).tobytes()
        for name in first
    )
