"""How long a chunk of actions takes, batch 1: by the flow, and token by token under the grammar."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.model_cells import Cell
from fastki.model.fast_sampling import TokenHead, write_tokens
from fastki.model.flow_sampling import sample_actions
from fastki.model.inputs import on_device
from fastki.model.params import Definition, Params
from fastki.sequence.sizes import STEPS
from fastki.tokenizer.rules import rules_of

MOST_TOKENS = 128


def sampling_row(cell: Cell, definition: Definition, params: Params, repetitions: int) -> dict[str, Any]:
    """Milliseconds of both heads for one scene, and FAST tokens a second."""
    scene = on_device(jax.tree.map(lambda array: array[:1], cell.prompt.observation))
    noise = jnp.asarray(np.asarray(cell.draw.noise)[:1])
    head = TokenHead.of(rules_of(cell.tokenizer), cell.ids, cell.end_id)
    flow = jax.jit(lambda params, scene, noise: sample_actions(definition.merge(params), scene, noise))
    fast = jax.jit(
        lambda params, scene, key: write_tokens(definition.merge(params), scene, key, head, max_tokens=MOST_TOKENS)
    )
    flow_ms = _median_ms(lambda: flow(params, scene, noise), repetitions)
    written = fast(params, scene, jax.random.key(0))
    fast_ms = _median_ms(lambda: fast(params, scene, jax.random.key(0)), repetitions)
    # The end is a token that is chosen too.
    tokens = int(written.lengths[0]) + 1
    return {
        "name": cell.name,
        "flow_ms": flow_ms,
        "flow_steps": STEPS,
        "fast_ms": fast_ms,
        "fast_tokens": tokens,
        "fast_tokens_per_s": tokens / fast_ms * 1000,
        "repetitions": repetitions,
    }


def _median_ms(work: Callable[[], Any], repetitions: int) -> float:
    jax.block_until_ready(work())
    taken = []
    for _ in range(repetitions):
        start = time.perf_counter()
        jax.block_until_ready(work())
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)
