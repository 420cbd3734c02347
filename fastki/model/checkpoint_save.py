"""Weights out, as openpi reads them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fastki.data.extras import need
from fastki.data.paths import as_path, is_local, is_remote
from fastki.errors import UsageError
from fastki.files import atomic_folder
from fastki.model.checkpoint_folder import PARAMS
from fastki.model.checkpoint_store import VALUE
from fastki.model.params import Params, flatten, nest

_TREE = "tree"


def save_openpi(
    path: str | os.PathLike[str], params: Params, *, trailing_value: bool = True, overwrite: bool = False
) -> Path:
    """Write ``path/params``, or ``path`` itself where it is called ``params``: whole, or not at all.

    Args:
        path: folder of the checkpoint.
        params: nested arrays, NumPy's or JAX's, with every part on this machine.
        trailing_value: give every leaf the trailing ``value`` that openpi's own training writes; openpi reads both.
        overwrite: replace weights that are there.

    Returns:
        The folder of the weights.

    Raises:
        DataError: Orbax is not installed.
        UsageError: weights are there already; the place can't be written to; or a leaf is no array, or not all here.
    """
    target = _target(path)
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists: choose another folder, or overwrite it")
    flat = flatten(params)
    _require_arrays(flat)
    tree = nest({f"{PARAMS}/{name}{f'/{VALUE}' if trailing_value else ''}": leaf for name, leaf in flat.items()})
    with atomic_folder(target) as folder:
        _write(folder / _TREE, tree)
        for child in (folder / _TREE).iterdir():
            child.rename(folder / child.name)
        (folder / _TREE).rmdir()
    return target


def _target(path: str | os.PathLike[str]) -> Path:
    name = os.fspath(path)
    folder = None if is_remote(name) else as_path(name)
    if folder is None or not is_local(folder):
        raise UsageError(f"{name} is not on this machine: save to a folder here and copy that")
    if "[" in str(folder.resolve()):  # Orbax takes it for a pattern, finds nothing, and leaves out half of its files.
        raise UsageError(f"{folder} has a [ in its path, which Orbax can't write to: choose another folder")
    return folder if folder.name == PARAMS else folder / PARAMS


def _require_arrays(flat: Mapping[str, Any]) -> None:
    if not flat:
        raise UsageError("there are no parameters to save")
    for name, leaf in flat.items():
        if not isinstance(leaf, (np.ndarray, jax.Array)):
            raise UsageError(f"{name} is no array but {type(leaf).__name__}: give parameters with their values")
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            raise UsageError(f"{name} lies on several machines: gather it on one before saving")


def _write(folder: Path, tree: Params) -> None:
    ocp = need("orbax.checkpoint", extra="train", what="and writing checkpoints")
    with _silence(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=False)) as checkpointer:
        try:
            checkpointer.save(folder.absolute(), ocp.args.PyTreeSave(tree))
        except ValueError as error:  # TensorStore's, with a status in front.
            reason = " ".join(str(error).partition(" [tensorstore_spec")[0].split())
            raise UsageError(f"{folder.parent} can't be written ({reason}): choose another folder") from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without Orbax's log, which tells of its own workings; what fails raises."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
