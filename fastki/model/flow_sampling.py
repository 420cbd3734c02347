"""Actions out of noise: the flow, integrated from time 1 to 0.

Axis letters: B batch, P tokens of the prefix, H horizon, D action dimensions.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from fastki.model.gemma import Span
from fastki.model.vla import VLA
from fastki.sequence.batch import Observation
from fastki.sequence.sizes import STEPS


def draw_noise(model: VLA, key: Array, batch: int) -> Array:
    """Where sampling starts, float32 ``[B, H, D]``."""
    noise: Array = jax.random.normal(key, (batch, model.config.action_horizon, model.config.action_dim))
    return noise


def sample_actions(
    model: VLA, observation: Observation, noise: Array, *, num_steps: int = STEPS, dims: int | None = None
) -> Array:
    """Euler's method over the velocity; the prefix is read once, and its keys and values kept.

    Args:
        model: with an action expert.
        observation: of B scenes; FAST tokens in its text are not seen.
        noise: float32 ``[B, H, D]``, see :func:`draw_noise`.
        num_steps: of length 1/num_steps.
        dims: dimensions that the robot has, where the flow was not trained in the others: these go straight to 0, as
            padding did in training, and come out there. None: all, as openpi trains and samples.

    Returns:
        float32 ``[B, H, D]``, normalised actions.
    """
    prefix = model.embed_prefix(observation)
    where = model.places(observation, prefix.image_valid, expert=True)
    mask, positions, cut = where.attention(), model.positions(where), prefix.tokens.shape[1]
    _, cache = model.llm.backbone(Span(prefix.tokens, positions[:, :cut], mask[:, :cut, :cut]))
    state = jnp.asarray(observation.state)
    length = jnp.float32(-1.0 / num_steps)
    real = jnp.arange(noise.shape[-1]) < (noise.shape[-1] if dims is None else dims)

    def step(_: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        noisy, time = carry
        suffix, cond = model.embed_suffix(state, noisy, jnp.broadcast_to(time, noisy.shape[:1]))
        span = Span(suffix.astype(model.dtype), positions[:, cut:], mask[:, cut:])
        # The time is a running sum in float32, as openpi has it: 1 - i/n would move the result by 1e-5.
        velocity = jnp.where(real, model.velocity(model.llm.expert(span, cache, cond)), noise)
        return noisy + length * velocity, time + length

    carry = noise.astype(jnp.float32), jnp.float32(1.0)
    actions: Array = lax.fori_loop(0, num_steps, step, carry)[0]
    return actions
