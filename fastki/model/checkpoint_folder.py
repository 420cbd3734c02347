"""Where the parts of a checkpoint lie: openpi's folders, told by their files. Nothing here needs JAX.

3000/                        a training step, or a released checkpoint such as pi05_base/
  params/                    the weights, an Orbax tree
  assets/<id>/norm_stats.json
  train_state/               what only training needs
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fastki.data.norm_stats import FILE_NAME
from fastki.data.paths import as_path, is_local, is_remote, reaching
from fastki.errors import DataError

PARAMS = "params"
ASSETS = "assets"
TRAIN_STATE = "train_state"
TREE = "_METADATA"
MANIFEST = "manifest.ocdbt"


@dataclass(frozen=True)
class CheckpointFolder:
    """A checkpoint on this machine.

    Attributes:
        root: what holds the rest; ``params`` itself where that stands alone.
        params: the Orbax tree of the weights.
        step: of training, which ``root`` is named by; None for others.
        assets: id → the folder of its ``norm_stats.json``.
        trainable: whether the state of its training is there too.
    """

    root: Path
    params: Path
    step: int | None
    assets: dict[str, Path]
    trainable: bool


def is_checkpoint(path: Path) -> bool:
    """Whether there is a checkpoint at ``path``, a damaged one included, or a folder of training steps."""
    try:
        return _holds_tree(path) or _holds_tree(path / PARAMS) or bool(_steps(path))
    except OSError:
        return False


def find_checkpoint(path: str | os.PathLike[str]) -> CheckpointFolder:
    """The checkpoint at ``path``: a training step, a released checkpoint, or its ``params`` folder.

    Raises:
        DataError: there is none, or no right to look.
    """
    folder = _local(os.fspath(path))
    with reaching(str(folder)):
        if not folder.exists():
            raise DataError(f"{folder} does not exist: give the folder of a checkpoint")
        if not folder.is_dir():
            raise DataError(f"{folder} is a file: give the folder of a checkpoint, which holds {PARAMS}/")
        if _holds_tree(folder / PARAMS):
            root, params = folder, folder / PARAMS
        elif _holds_tree(folder):
            root, params = folder.parent if folder.name == PARAMS else folder, folder
        else:
            raise DataError(_nothing(folder))
        if not (params / TREE).is_file():
            raise DataError(f"{params} is damaged: {TREE} is missing; copy the checkpoint again")
        return CheckpointFolder(root, params, _step(root), _assets(root), (root / TRAIN_STATE).is_dir())


def _local(name: str) -> Path:
    path = as_path(name)
    if is_remote(name) or not is_local(path):
        raise DataError(f"{name} is not on this machine: copy it here first")
    return path


def _holds_tree(folder: Path) -> bool:
    return (folder / TREE).is_file() or (folder / MANIFEST).is_file()


def _step(folder: Path) -> int | None:
    """The training step that a folder is named by."""
    name = folder.absolute().name
    return int(name) if name.isascii() and name.isdigit() else None


def _steps(folder: Path) -> list[Path]:
    """The training steps in a folder of them, the last at the end."""
    if not folder.is_dir():
        return []
    steps = [child for child in folder.iterdir() if _step(child) is not None and _holds_tree(child / PARAMS)]
    return sorted(steps, key=lambda child: int(child.name))


def _nothing(folder: Path) -> str:
    steps = _steps(folder)
    if steps:
        return f"{folder} holds training steps, not one checkpoint: name one of them, such as {steps[-1]}"
    if not any(folder.iterdir()):
        return f"{folder} is empty: give the folder of a checkpoint, which holds {PARAMS}/"
    return f"{folder} is no checkpoint: it holds neither {PARAMS}/ nor {TREE}"


def _assets(root: Path) -> dict[str, Path]:
    """Every folder with statistics under ``assets``, by its path from there."""
    folder = root / ASSETS
    found = sorted(file.parent for file in folder.rglob(FILE_NAME) if file.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}
