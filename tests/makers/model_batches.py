"""Small models with random parameters everywhere, and random batches for them in any layout."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fastki.model.config import ModelConfig, small_config
from fastki.model.losses import FlowDraw
from fastki.model.params import Definition, Params, abstract_model, flatten, nest
from fastki.sequence.batch import STATE_TOKEN, Batch, Observation, pad_and_mask
from fastki.sequence.layout import PRESETS, Layout

DEFAULT = PRESETS["images-prompt-fast"]
REAL_DIMS = 4
"""Of a batch's action dimensions; the rest is padding."""


def micro_config(**changes: Any) -> ModelConfig:
    """The dummy size with a short horizon and few words."""
    sizes = {"vocab": 61, "action_dim": 6, "action_horizon": 3, "max_token_len": 16}
    return small_config("dummy", **{**sizes, **changes})


def random_model(config: ModelConfig, *, layout: Layout | None = None, seed: int = 0) -> tuple[Definition, Params]:
    """Parameters without a zero or a one among them: norms that adapt start at zero, and would hide what they scale."""
    definition, shapes = abstract_model(config, layout=layout)
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: Sequence[int]) -> NDArray[np.float32]:
        matrix = len(shape) > 1 and not name.endswith(("scale", "bias"))
        width = 0.7 * shape[-2] ** -0.5 if matrix else 0.3
        return rng.normal(size=shape).astype(np.float32) * np.float32(width)

    drawn = {name: jnp.asarray(draw(name, leaf.shape)) for name, leaf in flatten(shapes).items()}
    return definition, nest(drawn)


def random_batch(
    config: ModelConfig, lengths: Sequence[Sequence[int]], *, layout: Layout = DEFAULT, seed: int = 0
) -> Batch:
    """One camera, which the last example lacks; text padded to ``max_token_len``; action dimensions padded too.

    Args:
        config: of the model.
        lengths: tokens of each text segment, ``[B, S]``; a state that is one continuous token has 1.
        layout: the segments.
        seed: of everything, segment by segment: the same segment has the same ids whatever the others hold.
    """
    rng, size = np.random.default_rng(seed), len(lengths)
    ids = [_words(layout, row, config.vocab, np.random.default_rng([seed, index])) for index, row in enumerate(lengths)]
    opening = 1 if layout.opens_with_fast else 0
    text = pad_and_mask(
        layout, np.concatenate(ids), np.array(lengths), max_token_len=config.max_token_len, opening=opening
    )
    side = config.size.vision.image_size
    masks = {"base_0_rgb": np.arange(size) < size - 1}
    real = np.arange(config.action_dim) < REAL_DIMS
    shape = (size, config.action_horizon, config.action_dim)
    observation = Observation(
        images={slot: rng.integers(0, 256, (size, side, side, 3), dtype=np.uint8) for slot in masks},
        image_masks=masks,
        state=(rng.normal(size=(size, config.action_dim)) * real).astype(np.float32),
        tokenized_prompt=text.tokenized_prompt,
        tokenized_prompt_mask=text.tokenized_prompt_mask,
        token_ar_mask=text.token_ar_mask,
        token_loss_mask=text.token_loss_mask,
    )
    actions = (rng.normal(size=shape) * real).astype(np.float32)
    return Batch(observation, actions, np.broadcast_to(real, shape))


def with_text(batch: Batch, **changes: Any) -> Batch:
    """With other fields of its observation."""
    return dataclasses.replace(batch, observation=dataclasses.replace(batch.observation, **changes))


def random_draw(batch: Batch, seed: int = 0) -> FlowDraw:
    """Noise, and times that are neither end."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=batch.actions.shape).astype(np.float32)
    return FlowDraw(jnp.asarray(noise), jnp.asarray(rng.uniform(0.2, 0.8, len(batch)).astype(np.float32)))


def _words(layout: Layout, lengths: Sequence[int], vocab: int, rng: np.random.Generator) -> NDArray[np.int64]:
    pieces = []
    for segment, length in zip(layout.text, lengths, strict=True):
        # Drawn whatever the length, so that other segments do not change with it.
        words = rng.integers(3, vocab, 512)[:length]
        pieces.append(np.full(length, STATE_TOKEN) if segment.continuous else words)
    return np.concatenate(pieces).astype(np.int64)
