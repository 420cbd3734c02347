"""Golden vectors of openpi's models, and fastki's models with the same parameters on the same inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from quick import run_quickly

from fastki.model.config import DType, Kind, ModelConfig
from fastki.model.losses import FlowDraw, token_sums
from fastki.model.params import Definition, Params, abstract_model, nest
from fastki.sequence.batch import Batch, Observation
from fastki.sequence.sizes import ModelSize, StreamSize, VisionSize

Array = NDArray[Any]
Arrays = Mapping[str, Array]

KINDS: dict[str, Kind] = {"pi05_sym": "pi05", "pi05_asym": "pi05", "pi0_asym": "pi0", "pi0_fast": "pi0_fast"}
"""Sets and what each is of."""
FLOAT32 = 5e-6
"""How far a float32 pass may be from openpi's, of the largest number.

openpi's own jitted and eager runs differ by up to 5e-7, and fastki sums in another order: patches as a product, the
expert's attention without the columns that nobody sees.
"""
IMAGE_TOKENS = 3 * 256
"""Of three cameras at 224 × 224 in patches of 14."""


@dataclass(frozen=True, eq=False)
class Golden:
    """One set.

    Attributes:
        name: of its folder.
        folder: where it lies.
        inputs: as its README says; π0's are π0.5's.
    """

    name: str
    folder: Path
    inputs: Arrays

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    @cached_property
    def outputs(self) -> Arrays:
        """Of float32."""
        return load(self.folder / "outputs_float32.npz")

    @cached_property
    def outputs_bfloat16(self) -> Arrays:
        """Of bfloat16, widened, and some of them strided; there are none of π0."""
        return load(self.folder / "outputs_bfloat16.npz")

    @cached_property
    def gradients(self) -> Arrays:
        return load(self.folder / "grads_float32.npz")

    @cached_property
    def report(self) -> dict[str, Any]:
        """Its part of ``report.json``."""
        own = self.folder / "report.json"
        if own.is_file():
            return dict(json.loads(own.read_text(encoding="utf-8")))
        return dict(json.loads((self.folder.parent / "report.json").read_text(encoding="utf-8"))[self.name])

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every parameter, as ``params.json`` lists them."""
        listed = json.loads((self.folder / "params.json").read_text(encoding="utf-8"))
        return {name: tuple(entry["shape"]) for name, entry in listed.items()}

    @cached_property
    def params(self) -> Params:
        """float32, nested."""
        return nest(load(self.folder / "params.npz"))

    def config(self, dtype: DType = "float32") -> ModelConfig:
        """Of the model that made the set."""
        return golden_config(self.name, dtype)

    def definition(self, dtype: DType = "float32") -> Definition:
        return abstract_model(self.config(dtype))[0]

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(name.split("/")[1] for name in self.inputs if name.startswith("image/"))

    @cached_property
    def observation(self) -> Observation:
        """With the text of the set; without FAST tokens but in π0-FAST's."""
        prompt = self.inputs["tokenized_prompt"]
        nothing = np.zeros_like(prompt)
        return Observation(
            images={camera: self.inputs[f"image/{camera}"] for camera in self.cameras},
            image_masks={camera: self.inputs[f"image_mask/{camera}"] for camera in self.cameras},
            state=self.inputs["state"],
            tokenized_prompt=prompt,
            tokenized_prompt_mask=self.inputs["tokenized_prompt_mask"],
            token_ar_mask=self.inputs.get("token_ar_mask", nothing),
            token_loss_mask=self.inputs.get("token_loss_mask", nothing.astype(bool)),
        )

    @cached_property
    def batch(self) -> Batch:
        """Without actions, all zero, in π0-FAST's."""
        config = self.config()
        shape = (2, config.action_horizon, config.action_dim)
        return Batch(self.observation, self.inputs.get("actions", np.zeros(shape, np.float32)), np.ones(shape, bool))

    @property
    def draw(self) -> FlowDraw:
        """What openpi drew for the flow's loss; zeros where it has none."""
        nothing = np.zeros_like(self.batch.actions)
        drawn = self.inputs.get("noise", nothing), self.inputs.get("time", nothing[:, 0, 0])
        return FlowDraw(*map(jnp.asarray, drawn))


def load_golden(shared: Path, name: str) -> Golden:
    """The set of that name below the ``shared`` fixture's folder."""
    sets = shared / "golden" / "openpi"
    inputs = load(sets / ("pi05_asym" if name == "pi0_asym" else name) / "inputs.npz")
    return Golden(name, sets / name, inputs)


def golden_config(name: str, dtype: DType) -> ModelConfig:
    """What the README of the sets says of a model."""
    if name == "pi05_sym":
        stream = StreamSize(width=64, depth=4, mlp=128, heads=8, kv_heads=1, head_dim=16)
        size = ModelSize(name, VisionSize(224, 14, 32, 2, 128, 2), stream, stream)
        return ModelConfig(
            size, 1024, action_dim=8, action_horizon=16, max_token_len=32, dtype=dtype, remat="none", attention="xla"
        )
    kv_heads = 1 if name == "pi0_fast" else 2
    size = ModelSize(
        name,
        VisionSize(224, 14, 32, 3, 128, 2),
        StreamSize(width=48, depth=3, mlp=80, heads=4, kv_heads=kv_heads, head_dim=8),
        StreamSize(width=32, depth=3, mlp=56, heads=4, kv_heads=kv_heads, head_dim=8),
    )
    return ModelConfig(
        size,
        256,
        kind=KINDS[name],
        action_dim=6,
        action_horizon=10,
        max_token_len=24,
        dtype=dtype,
        remat="none",
        attention="xla",
    )


def load(path: Path) -> dict[str, Array]:
    """Every array of an ``.npz``."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def flow_pass(golden: Golden, dtype: DType = "float32") -> dict[str, Any]:
    """What fastki makes of a set's inputs at its own ``x_t``, by the set's names; ``block`` besides.

    Compiled anew by each call, so that it sees what a test has replaced.
    """
    definition = golden.definition(dtype)

    def run(params: Params, observation: Observation, noisy: Any, time: Any) -> dict[str, Any]:
        model = definition.merge(params)
        prefix = model.embed_prefix(observation)
        suffix, cond = model.embed_suffix(jnp.asarray(observation.state), noisy, time)
        where = model.places(observation, prefix.image_valid, expert=True)
        out = model.joint(observation, noisy, time, insulated=False)
        return {
            "prefix_tokens": prefix.tokens,
            "suffix_tokens": suffix,
            "adarms_cond": cond,
            "prefix_out": out.prefix,
            "suffix_out": out.suffix,
            "v_t": out.velocity,
            "logits_text8": model.llm.embedder.decode(out.prefix[:, IMAGE_TOKENS : IMAGE_TOKENS + 8]),
            "valid": where.valid,
            "block": where.block,
            "attn_mask": where.attention(),
            "positions": model.positions(where),
        }

    return dict(run_quickly(run, golden.params, golden.observation, golden.outputs["x_t"], golden.inputs["time"]))


def fast_pass(golden: Golden, dtype: DType = "float32") -> dict[str, Any]:
    """The same of π0-FAST's set; ``positions`` besides."""
    definition = golden.definition(dtype)

    def run(params: Params, observation: Observation) -> dict[str, Any]:
        model = definition.merge(params)
        prefix = model.embed_prefix(observation)
        where = model.places(observation, prefix.image_valid, expert=False)
        out = model.backbone(observation)
        sums = token_sums(model, out, observation)
        hidden = out.prefix[:, out.text_start : -1]
        return {
            "token_embeddings": prefix.tokens,
            "input_mask": where.valid,
            "ar_mask": jnp.diff(where.block, axis=1, prepend=0),
            "attn_mask": where.attention(),
            "positions": model.positions(where),
            "pre_logits_text": hidden,
            "logits": model.llm.embedder.decode(hidden),
            "loss": sums.nll / sums.tokens,
        }

    return dict(run_quickly(run, golden.params, golden.observation))


def real(golden: Golden, name: str, stride: int = 1) -> NDArray[np.bool_]:
    """Which rows ``[B, T]`` of a quantity are not padding."""
    theirs = golden.outputs[name]
    if name == "prefix_out":
        return golden.outputs["prefix_mask"][:, ::stride]
    if name == "logits_text8":
        return golden.outputs["prefix_mask"][:, IMAGE_TOKENS : IMAGE_TOKENS + 8]
    return np.ones(theirs[:, ::stride].shape[:2], bool)


def relative(ours: Any, theirs: Array) -> float:
    """``max |ours − theirs| / max |theirs|``, as the sets' README measures."""
    difference = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)).max()
    return float(difference / np.abs(theirs).max())


def spread(ours: Any, theirs: Any) -> float:
    """Root mean square of the difference."""
    return float(np.sqrt(np.mean(np.square(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)))))
