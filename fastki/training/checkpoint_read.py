"""Reading a training state from a step's folder, onto whatever mesh it is wanted on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from etils import epath

from fastki.training.checkpoint_items import MismatchError, differences, from_items, to_items
from fastki.training.checkpoint_loader import read_loader
from fastki.training.checksums import require_checksums
from fastki.training.state import TrainState
from fastki.training.steps import LOADER

DAMAGE = (FileNotFoundError, ValueError, KeyError)
"""What Orbax and its storage raise where a file is not what it should be; not what too little memory raises."""


@dataclass(frozen=True)
class Restored:
    """What training goes on from.

    Attributes:
        state: on the devices that were asked for.
        loader: this process's position in the data, plain JSON values; None if none was saved.
        step: the checkpoint's.
    """

    state: TrainState
    loader: Any
    step: int


def read_checkpoint(place: Path, target: TrainState) -> Restored:
    """The checkpoint in ``place`` (``RUN/checkpoints/STEP``), bit for bit as it was saved.

    Args:
        place: absolute.
        target: shapes, dtypes and shardings, of :func:`fastki.training.mesh.abstract`.

    Raises:
        MismatchError: it is of another model or recipe; all differences are listed.
        FileNotFoundError, ValueError, KeyError: it is damaged.
        CheckpointError: the data's positions are of another number of processes.
    """
    require_checksums(place)
    wanted = to_items(target)
    reader = ocp.PyTreeCheckpointer()
    phrases: list[str] = []
    for item, tree in wanted.items():
        stored = ocp.PyTreeCheckpointHandler().metadata(epath.Path(place / item)).tree
        phrases += differences(item, stored, tree)
    if phrases:
        raise MismatchError(str(place), tuple(phrases))
    items = {
        item: reader.restore(
            place / item,
            args=ocp.args.PyTreeRestore(tree, restore_args=ocp.checkpoint_utils.construct_restore_args(tree)),
        )
        for item, tree in wanted.items()
    }
    return Restored(from_items(items, target), read_loader(place / LOADER), int(place.name))
