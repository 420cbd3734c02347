"""PyTorch's arrays compute what JAX's do, every array has a place, and the way back is exact."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("flax")

from fastki.errors import UsageError
from fastki.export.name_map import Piece, as_json, pieces
from fastki.model.config import LoraConfig, small_config
from fastki.model.params import abstract_model, flatten

RNG = np.random.default_rng(0)
LAYERS = "PaliGemma/llm/layers"
BLOCK = "PaliGemma/img/Transformer/encoderblock"
STREAM = "paligemma_with_expert.paligemma.model.language_model.layers.1."
EXPERT = "paligemma_with_expert.gemma_expert.model."
TOWER = "paligemma_with_expert.paligemma.model.vision_tower.vision_model."


def converted(name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    return {piece.torch: piece.to_torch(array) for piece in pieces({name: array.shape})}


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_projects_as_einsums_do(heads):
    x, w, kv, out = draw(5, 6), draw(3, 4, 6, 2), draw(3, 2, heads, 6, 2), draw(3, 4, 2, 6)
    found = converted(f"{LAYERS}/attn/q_einsum/w", w) | converted(f"{LAYERS}/attn/kv_einsum/w", kv)
    found |= converted(f"{LAYERS}/attn/attn_vec_einsum/w", out)
    linear = {name: x @ found[f"{STREAM}self_attn.{name}_proj.weight"].T for name in "qkv"}
    np.testing.assert_allclose(linear["q"].reshape(5, 4, 2), np.einsum("td,ndh->tnh", x, w[1]))
    np.testing.assert_allclose(linear["k"].reshape(5, heads, 2), np.einsum("td,kdh->tkh", x, kv[1, 0]))
    np.testing.assert_allclose(linear["v"].reshape(5, heads, 2), np.einsum("td,kdh->tkh", x, kv[1, 1]))
    read = draw(5, 4, 2)
    theirs = read.reshape(5, 8) @ found[f"{STREAM}self_attn.o_proj.weight"].T
    np.testing.assert_allclose(theirs, np.einsum("tnh,nhd->td", read, out[1]))


def test_one_array_of_queries_keys_and_values_becomes_three():
    x, w = draw(5, 6), draw(2, 3, 4, 6, 2)
    found = converted(f"{LAYERS}/attn/qkv_einsum_1/w", w)
    for part, name in enumerate("qkv"):
        theirs = x @ found[f"{EXPERT}layers.1.self_attn.{name}_proj.weight"].T
        np.testing.assert_allclose(theirs.reshape(5, 4, 2), np.einsum("td,ndh->tnh", x, w[1, part]))


def test_the_gated_mlp_and_adaptive_norms_multiply_from_the_right():
    x, gating, down, norm = draw(5, 6), draw(3, 2, 6, 7), draw(3, 7, 6), draw(3, 6, 18)
    found = converted(f"{LAYERS}/mlp/gating_einsum", gating) | converted(f"{LAYERS}/mlp/linear", down)
    found |= converted(f"{LAYERS}/pre_ffw_norm_1/Dense_0/kernel", norm)
    np.testing.assert_allclose(x @ found[f"{STREAM}mlp.gate_proj.weight"].T, x @ gating[1, 0])
    np.testing.assert_allclose(x @ found[f"{STREAM}mlp.up_proj.weight"].T, x @ gating[1, 1])
    np.testing.assert_allclose(found[f"{STREAM}mlp.down_proj.weight"], down[1].T)
    np.testing.assert_allclose(x @ found[f"{EXPERT}layers.1.post_attention_layernorm.dense.weight"].T, x @ norm[1])


def test_the_tower_sees_what_it_saw():
    patch, x = draw(2, 2, 3, 5), draw(2, 2, 3)
    found = converted("PaliGemma/img/embedding/kernel", patch)
    weight = found[f"{TOWER}embeddings.patch_embedding.weight"]  # [W, 3, p, p], as a convolution has it
    np.testing.assert_allclose(np.einsum("ocij,ijc->o", weight, x), np.einsum("ijc,ijco->o", x, patch))
    query, bias, out = draw(3, 6, 2, 4), draw(3, 2, 4), draw(3, 2, 4, 6)
    attention = f"{BLOCK}/MultiHeadDotProductAttention_0"
    found = converted(f"{attention}/query/kernel", query) | converted(f"{attention}/query/bias", bias)
    found |= converted(f"{attention}/out/kernel", out)
    rows, layer = draw(5, 6), f"{TOWER}encoder.layers.2.self_attn."
    theirs = rows @ found[f"{layer}q_proj.weight"].T + found[f"{layer}q_proj.bias"]
    np.testing.assert_allclose(theirs.reshape(5, 2, 4), np.einsum("td,dnh->tnh", rows, query[2]) + bias[2])
    read = draw(5, 2, 4)
    theirs = read.reshape(5, 8) @ found[f"{layer}out_proj.weight"].T
    np.testing.assert_allclose(theirs, np.einsum("tnh,nhd->td", read, out[2]))


@pytest.mark.parametrize("changes", [{}, {"kind": "pi0"}, {"kind": "pi0_fast"}, {"state_token": True}])
def test_every_array_of_a_model_has_places_of_its_own_and_comes_back(changes):
    shapes = {n: leaf.shape for n, leaf in flatten(abstract_model(small_config(**changes))[1]).items()}
    found = pieces(shapes)
    names = [piece.torch for piece in found]
    assert len(set(names)) == len(names)
    assert {piece.jax for piece in found} == shapes.keys()
    arrays = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    back = {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}
    for piece in found:
        back[piece.jax][piece.index] = piece.to_jax(piece.to_torch(arrays[piece.jax]))
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


def test_the_file_alone_leads_back():
    array = draw(3, 4, 6, 2)
    model = pieces({f"{LAYERS}/attn/q_einsum/w": array.shape})
    document = json.loads(json.dumps(as_json(model, {"zeros.weight": (2, 3)})))
    entry = document["arrays"][f"{STREAM}self_attn.q_proj.weight"]
    groups = tuple(map(tuple, entry["groups"]))
    piece = Piece("", entry["jax"], tuple(entry["index"]), tuple(entry["shape"]), groups)
    np.testing.assert_array_equal(piece.to_jax(model[1].to_torch(array)), array[1])
    assert document["zeros"] == {"zeros.weight": [2, 3]}


def test_additions_that_were_not_merged_have_no_name():
    config = small_config(backbone_lora=LoraConfig(2, 2.0))
    with pytest.raises(UsageError, match=r"lora_a has no name in PyTorch's π models: export to openpi instead"):
        pieces({n: leaf.shape for n, leaf in flatten(abstract_model(config)[1]).items()})
