"""A loss that is no number: what led to it is kept, and training stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fastki.errors import TrainingError
from fastki.files import atomic_path, write_text
from fastki.model.params import flatten
from fastki.training.batch import TrainingBatch

NAME = "nonfinite"


def note_failure(
    folder: Path, step: int, metrics: dict[str, float], batch: TrainingBatch, checkpoint: int | None
) -> NoReturn:
    """Write the batch and where each of its examples is from, and raise.

    ``nonfinite.json`` has the step, its numbers and the origins; ``nonfinite.npz`` the arrays that this process saw.

    Raises:
        TrainingError: always; it names the step, the numbers, the files and the last good checkpoint.
    """
    origins = [batch.origin(row) for row in range(len(batch))]
    document = {"step": step, "metrics": {name: repr(value) for name, value in metrics.items()}, "examples": origins}
    write_text(folder / f"{NAME}.json", json.dumps(document, indent=2) + "\n")
    observation = batch.batch.observation
    arrays = {
        **flatten({"images": observation.images, "image_masks": observation.image_masks}),
        "state": observation.state,
        "tokenized_prompt": observation.tokenized_prompt,
        "tokenized_prompt_mask": observation.tokenized_prompt_mask,
        "token_loss_mask": observation.token_loss_mask,
        "actions": batch.batch.actions,
        "actions_mask": batch.batch.actions_mask,
    }
    # Of a batch that several hosts share each has its own rows only.
    local = {name: _local(array) for name, array in arrays.items()}
    with atomic_path(folder / f"{NAME}.npz") as path:
        named: dict[str, Any] = {name.replace("/", "."): array for name, array in local.items()}
        np.savez(path, **named)
    wrong = [name for name, value in metrics.items() if not np.isfinite(value)]
    good = "no checkpoint was saved before" if checkpoint is None else f"the last good checkpoint is step {checkpoint}"
    raise TrainingError(
        f"step {step}: {', '.join(wrong) or 'the gradient'} is not finite, and {good}; its examples are in "
        f"{folder / NAME}.json and .npz: lower recipe.schedule.peak_lr, or mend the data"
    )


def _local(array: object) -> np.ndarray:
    shards = getattr(array, "addressable_shards", None)
    if shards is None or getattr(array, "is_fully_addressable", True):
        return np.asarray(array)
    return np.concatenate([np.asarray(shard.data) for shard in shards])
