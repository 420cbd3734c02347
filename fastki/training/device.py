"""Batches on their way to the device while the step before still runs. Axis letters: B batch."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fastki.errors import UsageError
from fastki.training.batch import TrainingBatch

if TYPE_CHECKING:
    import jax


def device_prefetch(
    batches: Iterable[TrainingBatch], sharding: jax.sharding.Sharding | None = None, *, depth: int = 2
) -> Iterator[TrainingBatch]:
    """Batches whose ``batch`` and ``has_actions`` are JAX arrays; where they are from stays with the host.

    Args:
        batches: of this process.
        sharding: how the whole batch lies on the devices of all processes, along its first axis; None: on the
            default device.
        depth: batches under way at a time, at least 1.

    Raises:
        UsageError: a depth below 1.
    """
    if depth < 1:
        raise UsageError(f"a prefetch of {depth} batches to the device: 1 or more is needed")
    return _ahead(iter(batches), partial(_put, sharding), depth)


def _ahead(batches: Iterator[TrainingBatch], put: Callable[[Any], Any], depth: int) -> Iterator[TrainingBatch]:
    waiting: deque[TrainingBatch] = deque()
    for batch in batches:
        # A transfer returns at once and goes on by itself.
        waiting.append(replace(batch, batch=_mapped(put, batch.batch), has_actions=put(batch.has_actions)))
        if len(waiting) >= depth:
            yield waiting.popleft()
    yield from waiting


def _put(sharding: jax.sharding.Sharding | None, array: Any) -> Any:
    import jax

    if sharding is None:
        return jax.device_put(array)
    assemble: Any = jax.make_array_from_process_local_data  # Untyped in some of JAX's versions.
    return assemble(sharding, array)


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """``value`` with every array in it changed: those of dataclasses and mappings."""
    if isinstance(value, Mapping):
        return {key: _mapped(change, item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return type(value)(**{name: _mapped(change, getattr(value, name)) for name in names})
    return change(value)
