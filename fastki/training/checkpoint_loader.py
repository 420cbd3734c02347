"""Where each process was in the data, as JSON beside the arrays of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax

from fastki.errors import CheckpointError
from fastki.training.checkpoint_files import Writer
from fastki.training.steps import LOADER

_MAX_BYTES = 1 << 26


def loader_writer(position: Any) -> Writer:
    """What writes this process's position (plain JSON values, as they are now) into the item's folder."""
    text = json.dumps(position)
    name = f"process_{jax.process_index()}-of-{jax.process_count()}.json"

    def write(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return write


def read_loader(folder: Path) -> Any:
    """This process's position in the data; None where the checkpoint has none.

    Saved by another number of processes, it serves only if all of them were at the same one.

    Raises:
        ValueError: a file is damaged.
        CheckpointError: another number of processes were at several positions.
    """
    files = sorted(folder.glob("process_*-of-*.json"))
    if not files:
        return None
    own = folder / f"process_{jax.process_index()}-of-{jax.process_count()}.json"
    if own in files:
        return _read(own)
    positions = [_read(file) for file in files]
    if any(position != positions[0] for position in positions):
        raise CheckpointError(
            f"{folder} has the positions in the data of {len(files)} processes, and these are {jax.process_count()}:"
            f" go on with {len(files)}"
        )
    return positions[0]


def _read(file: Path) -> Any:
    if file.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{LOADER}/{file.name} is larger than {_MAX_BYTES:,} bytes")
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{LOADER}/{file.name} is no JSON ({error})") from error
