"""Small models with random parameters, and observations for them."""

from __future__ import annotations

import jax
import numpy as np

from fastki.model.config import ModelConfig, small_config
from fastki.model.params import Definition, Params, abstract_model, flatten, nest
from fastki.sequence.batch import Batch, Observation, pad_and_mask
from fastki.sequence.layout import DEFAULT, PRESETS, Layout


def random_model(config: ModelConfig, *, layout: Layout | None = None, seed: int = 0) -> tuple[Definition, Params]:
    """Normal numbers in every parameter, those included that a new model has at zero or one; no gate is shut."""
    definition, shapes = abstract_model(config, layout=layout)
    rng = np.random.default_rng(seed)

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        scale = 0.3 if name.endswith(("scale", "bias")) or "Dense_0" in name else 0.7 / np.sqrt(shape[-2])
        return rng.normal(0, scale, shape).astype(np.float32)

    flat = flatten(shapes)
    return definition, nest({name: jax.numpy.asarray(values(name, leaf.shape)) for name, leaf in flat.items()})


def observe(
    config: ModelConfig, lengths: list[list[int]], *, layout: str | Layout = DEFAULT, seed: int = 0, cameras: int = 2
) -> Observation:
    """Random pictures, text of random ids whose segments have these lengths, ``[B][text segments]``, and a state."""
    layout = PRESETS[layout] if isinstance(layout, str) else layout
    rng = np.random.default_rng(seed)
    counts = np.asarray(lengths)
    text = pad_and_mask(layout, rng.integers(1, config.vocab, counts.sum()), counts, max_token_len=config.max_token_len)
    size, batch = config.size.vision.image_size, len(counts)
    slots = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")[:cameras]
    images = {slot: rng.integers(0, 256, (batch, size, size, 3), dtype=np.uint8) for slot in slots}
    masks = {slot: np.arange(batch) % 3 != place for place, slot in enumerate(slots)}
    state = rng.normal(size=(batch, config.action_dim)).astype(np.float32)
    fields = (text.tokenized_prompt, text.tokenized_prompt_mask, text.token_ar_mask, text.token_loss_mask)
    return Observation(images, masks, state, *fields)


def with_actions(config: ModelConfig, observation: Observation, *, dims: int | None = None, seed: int = 0) -> Batch:
    """A batch with random actions in the first ``dims`` dimensions, all by default."""
    shape = (len(observation.state), config.action_horizon, config.action_dim)
    mask = np.zeros(shape, bool)
    mask[..., : config.action_dim if dims is None else dims] = True
    actions = np.random.default_rng(seed).normal(size=shape).astype(np.float32) * mask
    return Batch(observation, actions, mask)


def tiny_config(**changes: object) -> ModelConfig:
    """The ``dummy`` size with few text tokens and actions."""
    defaults = {"vocab": 512, "action_dim": 4, "action_horizon": 8, "max_token_len": 24}
    return small_config("dummy", **{**defaults, **changes})
