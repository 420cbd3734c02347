"""The vision-language-action model: pictures, text and noisy actions through the three networks.

Black et al., "π0" (2024); Physical Intelligence, "π0.5: a vision-language-action model with open-world generalization"
(2025); Pertsch et al., "FAST: efficient action tokenization for vision-language-action models" (2025).

Axis letters: B batch, I tokens of all images, P text tokens, H horizon, D action dimensions, S tokens of the expert, W
width.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from fastki.model.config import ModelConfig
from fastki.model.gemma import Gemma, Span
from fastki.model.inputs import to_float
from fastki.model.layers import time_embedding
from fastki.model.siglip import SigLIP
from fastki.sequence.batch import STATE_TOKEN, Observation
from fastki.sequence.layout import DEFAULT, PRESETS, Layout
from fastki.sequence.masks import Places, places_of_text


@dataclass(frozen=True, eq=False)
class Prefix:
    """What the backbone reads, embedded.

    Attributes:
        tokens: ``[B, I + P, W]``, images, then text.
        image_valid: bool ``[B, I]``.
    """

    tokens: Array
    image_valid: Array


@dataclass(frozen=True, eq=False)
class Outputs:
    """Of one pass.

    Attributes:
        prefix: ``[B, I + P, W]`` after the last norm; rows of padding mean nothing.
        suffix: ``[B, S, W']`` after the expert's last norm; None where it did not run.
        velocity: float32 ``[B, H, D]``; None likewise.
        text_start: I, where the text begins in ``prefix``.
    """

    prefix: Array
    suffix: Array | None
    velocity: Array | None
    text_start: int


class VLA(nnx.Module):
    """A π0.5-style policy; the tree of parameters and its names are openpi's.

    Args:
        config: what it is made of.
        rngs: for the first values of its parameters.
        layout: where the text's segments stand.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs, layout: Layout | None = None) -> None:
        self.config = config
        self.layout = PRESETS[DEFAULT] if layout is None else layout
        self.PaliGemma = nnx.Dict(llm=Gemma(config, rngs=rngs), img=SigLIP(config, rngs=rngs))
        if config.state_token:
            self.state_token_proj = nnx.Linear(config.action_dim, config.size.backbone.width, rngs=rngs)
        if config.kind == "pi0_fast":
            return
        width = config.size.expert.width
        self.action_in_proj = nnx.Linear(config.action_dim, width, rngs=rngs)
        self.action_out_proj = nnx.Linear(width, config.action_dim, rngs=rngs)
        if config.kind == "pi05":
            self.time_mlp_in = nnx.Linear(width, width, rngs=rngs)
            self.time_mlp_out = nnx.Linear(width, width, rngs=rngs)
        else:
            self.state_proj = nnx.Linear(config.action_dim, width, rngs=rngs)
            self.action_time_mlp_in = nnx.Linear(2 * width, width, rngs=rngs)
            self.action_time_mlp_out = nnx.Linear(width, width, rngs=rngs)

    @property
    def llm(self) -> Gemma:
        """The language model and its expert."""
        return cast(Gemma, self.PaliGemma["llm"])

    @property
    def dtype(self) -> jnp.dtype:
        """Of computation."""
        return jnp.dtype(self.config.dtype)

    def embed_prefix(self, observation: Observation) -> Prefix:
        """Images and text as the backbone reads them."""
        text = self.embed_text(observation)
        if not observation.images:
            return Prefix(text, jnp.zeros((len(text), 0), bool))
        # All cameras go through the tower at once, those of an example beside each other.
        images = jnp.stack([to_float(image) for image in observation.images.values()], axis=1)
        tokens = self.PaliGemma["img"](images.reshape(-1, *images.shape[2:]), self.dtype)
        tokens = tokens.reshape(len(text), -1, tokens.shape[-1])
        there = jnp.stack([jnp.asarray(observation.image_masks[slot]) for slot in observation.images], axis=1)
        valid = jnp.repeat(there, tokens.shape[1] // there.shape[1], axis=1)
        return Prefix(jnp.concatenate([tokens, text], axis=1), valid)

    def embed_text(self, observation: Observation) -> Array:
        """``[B, P, W]``; the state's own token is its projection."""
        ids = jnp.asarray(observation.tokenized_prompt)
        if not self.config.state_token:
            return self.llm.embedder.encode(ids, self.dtype)
        words = self.llm.embedder.encode(jnp.maximum(ids, 0), self.dtype)
        state = self.state_token_proj(jnp.asarray(observation.state)).astype(self.dtype)
        return jnp.where((ids == STATE_TOKEN)[..., None], state[:, None], words)

    def embed_suffix(self, state: Array, noisy: Array, time: Array) -> tuple[Array, Array | None]:
        """Noisy actions ``[B, H, D]`` at flow times ``[B]`` → ``[B, S, W']`` float32, and what adaptive norms read."""
        actions = self.action_in_proj(noisy)
        embedded = time_embedding(time, actions.shape[-1])
        if self.config.kind == "pi05":
            return actions, jax.nn.swish(self.time_mlp_out(jax.nn.swish(self.time_mlp_in(embedded))))
        timed = jnp.concatenate([actions, jnp.broadcast_to(embedded[:, None], actions.shape)], axis=-1)
        timed = self.action_time_mlp_out(jax.nn.swish(self.action_time_mlp_in(timed)))
        return jnp.concatenate([self.state_proj(state)[:, None], timed], axis=1), None

    def places(self, observation: Observation, image_valid: Array, *, expert: bool) -> Places:
        """The places of the sequence, with the expert's tokens or without."""
        count = self.config.suffix_len if expert else 0
        where: Places = places_of_text(
            self.layout,
            image_valid=image_valid,
            text_valid=observation.tokenized_prompt_mask,
            text_flags=observation.token_ar_mask,
            text_loss=observation.token_loss_mask,
            horizon=count,
            xp=jnp,
        )
        if expert and self.config.kind == "pi0":
            # π0's state token is a block of its own: it doesn't see the actions.
            later = jnp.arange(where.block.shape[1]) > where.block.shape[1] - count
            return dataclasses.replace(where, block=where.block + later)
        return where

    def positions(self, where: Places) -> Array:
        """int32 ``[B, L]``; openpi's π0-FAST trains with the plain place, padding and missing cameras counted."""
        if self.config.kind == "pi0_fast":
            return jnp.broadcast_to(jnp.arange(where.valid.shape[1], dtype=jnp.int32), where.valid.shape)
        positions: Array = where.positions(jnp)
        return positions

    def backbone(self, observation: Observation) -> Outputs:
        """A pass without the expert."""
        prefix = self.embed_prefix(observation)
        where = self.places(observation, prefix.image_valid, expert=False)
        out, _ = self.llm.backbone(Span(prefix.tokens, self.positions(where), where.attention()))
        return Outputs(out, None, None, prefix.image_valid.shape[1])

    def joint(self, observation: Observation, noisy: Array, time: Array, *, insulated: bool) -> Outputs:
        """A pass of both.

        Args:
            observation: with FAST tokens in its text, or without.
            noisy: float32 ``[B, H, D]``, actions on their way from noise.
            time: float32 ``[B]``, 1 for noise, 0 for actions.
            insulated: no gradient from the expert to the backbone.
        """
        prefix = self.embed_prefix(observation)
        suffix, cond = self.embed_suffix(jnp.asarray(observation.state), noisy, time)
        where = self.places(observation, prefix.image_valid, expert=True)
        mask, positions = where.attention(), self.positions(where)
        cut = prefix.tokens.shape[1]
        prefix_out, suffix_out = self.llm.joint(
            Span(prefix.tokens, positions[:, :cut], mask[:, :cut, :cut]),
            Span(suffix.astype(self.dtype), positions[:, cut:], mask[:, cut:]),
            cond,
            insulated=insulated,
        )
        return Outputs(prefix_out, suffix_out, self.velocity(suffix_out), prefix.image_valid.shape[1])

    def last_text(self, observation: Observation, out: Array, text_start: int) -> Array:
        """The outputs ``[B, I + P, W]`` at each example's last token of text, ``[B, W]``."""
        count = jnp.sum(jnp.asarray(observation.tokenized_prompt_mask), axis=1)
        last: Array = jnp.take_along_axis(out, (text_start + count - 1)[:, None, None], axis=1)[:, 0]
        return last

    def velocity(self, suffix_out: Array) -> Array:
        """float32 ``[B, H, D]`` of the expert's last H tokens."""
        last = suffix_out[:, -self.config.action_horizon :].astype(jnp.float32)
        velocity: Array = self.action_out_proj(last)
        return velocity
