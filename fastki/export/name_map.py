"""openpi's JAX parameters under the names that its PyTorch model, and LeRobot's pi05, have for them; and back.

Axis letters: L layers, N heads, K key/value heads, H width of a head, D and W widths, F and M widths of MLPs,
p pixels of a patch, T tokens of a picture, V rows of the vocabulary.

A PyTorch array is one slice of a JAX array, with its axes in another order and some of them joined: ``groups`` names
the slice's axes by number, those of one new axis in one bracket. ``[[0, 2], [1]]`` of q_einsum's ``[N, D, H]`` is
``[N·H, D]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError

Groups = tuple[tuple[int, ...], ...]
_BOTH = "paligemma_with_expert."
_PALI = f"{_BOTH}paligemma.model."
_TOWER = f"{_PALI}vision_tower.vision_model."
_LAYER = f"{_TOWER}encoder.layers.{{}}."
_BLOCK, _MHA = r"PaliGemma/img/Transformer/encoderblock", "MultiHeadDotProductAttention_0"
_STREAMS = {"": f"{_PALI}language_model.", "_1": f"{_BOTH}gemma_expert.model."}
LM_HEAD = f"{_BOTH}paligemma.lm_head.weight"
EXPERT_HEAD = f"{_BOTH}gemma_expert.lm_head.weight"
"""An output layer that Gemma's class has and no π model uses: zeros, as LeRobot loads nothing if a name is absent."""
_T: Groups = ((1,), (0,))
_TABLE = "PaliGemma/llm/embedder/input_embedding"


@dataclass(frozen=True)
class Rule:
    """How one JAX array becomes PyTorch's.

    Attributes:
        jax: its name.
        torch: a name for each slice; ``{}`` is the layer.
        groups: of the slice's axes; () leaves them as they are.
        layered: whether its first axis is the layer.
    """

    jax: str
    torch: tuple[str, ...]
    groups: Groups = ()
    layered: bool = False


@dataclass(frozen=True)
class Piece:
    """One PyTorch array.

    Attributes:
        torch: its name.
        jax: the array that it is from.
        index: of the slice in that.
        shape: of the slice.
        groups: of the slice's axes.
    """

    torch: str
    jax: str
    index: tuple[int, ...]
    shape: tuple[int, ...]
    groups: Groups

    @property
    def axes(self) -> tuple[int, ...]:
        """The slice's axes in PyTorch's order."""
        return tuple(chain.from_iterable(self.groups))

    def to_torch(self, array: NDArray[Any]) -> NDArray[Any]:
        """The PyTorch array, of the whole JAX array."""
        joined = tuple(prod(self.shape[axis] for axis in group) for group in self.groups)
        return np.ascontiguousarray(array[self.index].transpose(self.axes).reshape(joined))

    def to_jax(self, array: NDArray[Any]) -> NDArray[Any]:
        """The slice of the JAX array, of the PyTorch array."""
        ordered = array.reshape([self.shape[axis] for axis in self.axes])
        return ordered.transpose(np.argsort(self.axes))


def pieces(shapes: Mapping[str, tuple[int, ...]]) -> list[Piece]:
    """All PyTorch arrays of a model whose JAX arrays have these shapes.

    Raises:
        UsageError: PyTorch has no name for one of them; low-rank additions are merged before.
    """
    rules = {rule.jax: rule for rule in _RULES}
    found = []
    for name, shape in shapes.items():
        rule = rules.get(name) or _projection(name)
        if rule is None:
            raise UsageError(f"{name} has no name in PyTorch's π models: export to openpi instead")
        found += list(_pieces_of(rule, shape))
    return found


def as_json(model: list[Piece], zeros: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The map as its file has it."""
    arrays = {
        piece.torch: {
            "jax": piece.jax,
            "index": list(piece.index),
            "shape": list(piece.shape),
            "groups": [list(group) for group in piece.groups],
        }
        for piece in model
    }
    return {
        "format": 1,
        "about": "torch = jax[index].transpose(the axes in groups, in order), the axes of each group joined to one",
        "arrays": arrays,
        "zeros": {name: list(shape) for name, shape in zeros.items()},
    }


def _pieces_of(rule: Rule, shape: tuple[int, ...]) -> Iterator[Piece]:
    layers = range(shape[0]) if rule.layered else (None,)
    for layer in layers:
        for part, torch in enumerate(rule.torch):
            index = (() if layer is None else (layer,)) + ((part,) if len(rule.torch) > 1 else ())
            rest = shape[len(index) :]
            groups = rule.groups or tuple((axis,) for axis in range(len(rest)))
            yield Piece(torch.format(layer), rule.jax, index, rest, groups)


def _projection(name: str) -> Rule | None:
    """Actions, state and time: a linear layer each."""
    match = re.fullmatch(r"(\w+)/(kernel|bias)", name)
    if match is None:
        return None
    word = "weight" if match[2] == "kernel" else "bias"
    return Rule(name, (f"{match[1]}.{word}",), _T if word == "weight" else ())


def _tower() -> Iterator[Rule]:
    yield Rule(
        "PaliGemma/img/embedding/kernel",  # [p, p, 3, W]
        (f"{_TOWER}embeddings.patch_embedding.weight",),
        ((3,), (2,), (0,), (1,)),
    )
    yield Rule("PaliGemma/img/embedding/bias", (f"{_TOWER}embeddings.patch_embedding.bias",))
    yield Rule(
        "PaliGemma/img/pos_embedding",  # [1, T, W]
        (f"{_TOWER}embeddings.position_embedding.weight",),
        ((0, 1), (2,)),
    )
    for number in (0, 1):
        norm, dense = f"layer_norm{number + 1}", f"mlp.fc{number + 1}"
        yield Rule(f"{_BLOCK}/LayerNorm_{number}/scale", (f"{_LAYER}{norm}.weight",), layered=True)
        yield Rule(f"{_BLOCK}/LayerNorm_{number}/bias", (f"{_LAYER}{norm}.bias",), layered=True)
        yield Rule(f"{_BLOCK}/MlpBlock_0/Dense_{number}/kernel", (f"{_LAYER}{dense}.weight",), _T, layered=True)
        yield Rule(f"{_BLOCK}/MlpBlock_0/Dense_{number}/bias", (f"{_LAYER}{dense}.bias",), layered=True)
    for word, torch in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
        attention = f"{_BLOCK}/{_MHA}/{word}"
        yield Rule(f"{attention}/kernel", (f"{_LAYER}self_attn.{torch}.weight",), ((1, 2), (0,)), True)  # [W, N, H]
        yield Rule(f"{attention}/bias", (f"{_LAYER}self_attn.{torch}.bias",), ((0, 1),), True)
    out = f"{_LAYER}self_attn.out_proj"
    yield Rule(f"{_BLOCK}/{_MHA}/out/kernel", (f"{out}.weight",), ((2,), (0, 1)), True)  # [N, H, W]
    yield Rule(f"{_BLOCK}/{_MHA}/out/bias", (f"{out}.bias",), layered=True)
    yield Rule("PaliGemma/img/Transformer/encoder_norm/scale", (f"{_TOWER}post_layernorm.weight",))
    yield Rule("PaliGemma/img/Transformer/encoder_norm/bias", (f"{_TOWER}post_layernorm.bias",))
    yield Rule("PaliGemma/img/head/kernel", (f"{_PALI}multi_modal_projector.linear.weight",), _T)
    yield Rule("PaliGemma/img/head/bias", (f"{_PALI}multi_modal_projector.linear.bias",))
    yield Rule(_TABLE, (LM_HEAD,))


def _stream(end: str, torch: str) -> Iterator[Rule]:
    """Backbone (``end`` is empty) or expert."""
    layers, layer = "PaliGemma/llm/layers", f"{torch}layers.{{}}."
    attention, heads = f"{layer}self_attn.", ((0, 2), (1,))  # [N or K, D, H]
    query, key, value = (f"{attention}{word}_proj.weight" for word in "qkv")
    yield Rule(f"{layers}/attn/q_einsum{end}/w", (query,), heads, True)
    yield Rule(f"{layers}/attn/kv_einsum{end}/w", (key, value), heads, True)
    yield Rule(f"{layers}/attn/qkv_einsum{end}/w", (query, key, value), heads, True)
    yield Rule(
        f"{layers}/attn/attn_vec_einsum{end}/w", (f"{attention}o_proj.weight",), ((2,), (0, 1)), True
    )  # [N, H, D]
    gate, up = f"{layer}mlp.gate_proj.weight", f"{layer}mlp.up_proj.weight"
    yield Rule(f"{layers}/mlp{end}/gating_einsum", (gate, up), _T, True)  # [2, D, F]
    yield Rule(f"{layers}/mlp{end}/linear", (f"{layer}mlp.down_proj.weight",), _T, True)  # [F, D]
    norms = {
        f"{layers}/pre_attention_norm{end}": (f"{layer}input_layernorm", True),
        f"{layers}/pre_ffw_norm{end}": (f"{layer}post_attention_layernorm", True),
        f"PaliGemma/llm/final_norm{end}": (f"{torch}norm", False),
    }
    for jax, (name, layered) in norms.items():
        yield Rule(f"{jax}/scale", (f"{name}.weight",), layered=layered)
        yield Rule(f"{jax}/Dense_0/kernel", (f"{name}.dense.weight",), _T, layered)
        yield Rule(f"{jax}/Dense_0/bias", (f"{name}.dense.bias",), layered=layered)


_RULES = (*_tower(), *(rule for end, torch in _STREAMS.items() for rule in _stream(end, torch)))
