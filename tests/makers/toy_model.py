"""A policy of a few hundred parameters with the names, the shapes' roles and the noise of a π0.5-style one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LAYERS, WIDTH, VOCAB, PIXELS, TOKENS, ACTIONS, RANK = 2, 8, 16, 8, 3, 4, 2
_SHAPES = {
    "PaliGemma/img/Transformer/encoderblock/MlpBlock_0/Dense_0/kernel": (PIXELS, WIDTH),
    "PaliGemma/img/Transformer/encoder_norm/scale": (WIDTH,),
    "PaliGemma/llm/embedder/input_embedding": (VOCAB, WIDTH),
    "PaliGemma/llm/layers/attn/q_einsum/w": (LAYERS, WIDTH, WIDTH),
    "PaliGemma/llm/layers/mlp_1/linear": (LAYERS, WIDTH, WIDTH),
    "PaliGemma/llm/final_norm_1/Dense_0/kernel": (WIDTH, WIDTH),
    "action_in_proj/kernel": (ACTIONS, WIDTH),
    "action_out_proj/kernel": (WIDTH, ACTIONS),
    "time_mlp_in/bias": (WIDTH,),
}
_ADAPTERS = {
    "PaliGemma/llm/layers/attn/q_einsum/lora_a": (LAYERS, WIDTH, RANK),
    "PaliGemma/llm/layers/attn/q_einsum/lora_b": (LAYERS, RANK, WIDTH),
}


def toy_params(seed: int = 0, *, lora: bool = False, dtype: Any = np.float32) -> dict[str, Any]:
    """Nested dicts of float32 arrays; with ``lora``, adapters of the queries too."""
    rng = np.random.default_rng(seed)
    tree: dict[str, Any] = {}
    for path, shape in (_SHAPES | (_ADAPTERS if lora else {})).items():
        *folders, name = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = jnp.asarray(rng.normal(size=shape) * 0.4, dtype)
    return tree


def toy_batch(seed: int, rows: int = 16) -> dict[str, np.ndarray]:
    """Images [B, P], tokens int32 [B, T] and actions [B, A] that depend on both."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(rows, PIXELS)).astype(np.float32)
    tokens = rng.integers(0, VOCAB, (rows, TOKENS)).astype(np.int32)
    actions = np.tanh(image[:, :ACTIONS] + tokens[:, :1] / VOCAB).astype(np.float32)
    return {"image": image, "tokens": tokens, "actions": actions}


def quiet_loss(params: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """As :func:`toy_loss`, with no noise: a function of parameters and batch alone."""
    return _loss(params, batch, jnp.full_like(batch["actions"], 0.5), jnp.full(batch["actions"].shape[:1], 0.5))


def toy_loss(params: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """A flow loss that draws noise and time, and a second one on the tokens; the mean over rows of both."""
    first, second = jax.random.split(key)
    actions = batch["actions"]
    return _loss(params, batch, jax.random.normal(first, actions.shape), jax.random.uniform(second, actions.shape[:1]))


def _loss(params: Any, batch: Any, noise: jax.Array, time: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    backbone, expert = params["PaliGemma"]["llm"], params
    tower = params["PaliGemma"]["img"]["Transformer"]
    table = backbone["embedder"]["input_embedding"]
    seen = jnp.tanh(batch["image"] @ tower["encoderblock"]["MlpBlock_0"]["Dense_0"]["kernel"])
    hidden = seen * tower["encoder_norm"]["scale"] + table[batch["tokens"]].mean(1)
    queries = backbone["layers"]["attn"]["q_einsum"]
    noisy = time[:, None] * noise + (1 - time[:, None]) * batch["actions"]
    acting = noisy @ expert["action_in_proj"]["kernel"] + expert["time_mlp_in"]["bias"] * time[:, None]
    for layer in range(LAYERS):
        weight = queries["w"][layer]
        if "lora_a" in queries:
            weight = weight + queries["lora_a"][layer] @ queries["lora_b"][layer]
        hidden = hidden + jnp.tanh(hidden @ weight)
        acting = acting + jnp.tanh((acting + hidden) @ backbone["layers"]["mlp_1"]["linear"][layer])
    velocity = acting @ backbone["final_norm_1"]["Dense_0"]["kernel"] @ expert["action_out_proj"]["kernel"]
    flow = jnp.mean(jnp.square(velocity - (noise - batch["actions"])))
    logits = jax.nn.log_softmax(hidden @ table.T)
    nats = -jnp.mean(jnp.take_along_axis(logits, batch["tokens"][:, :1], axis=1))
    return flow + 0.1 * nats, {"flow": flow, "nats": nats}
