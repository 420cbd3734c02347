"""What a user's word on the command line stands for: a tokenizer, a run, a checkpoint or a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastki.errors import DataError, TokenizerError

if TYPE_CHECKING:
    from fastki.data import Dataset, OpenOptions
    from fastki.data.options import Progress

_OF_A_RUN = ("environment.json", "metrics.jsonl", "checkpoints", "assets")  # One of them beside its config.toml.


def is_hub_id(name: str) -> bool:
    """Whether ``name`` is one on the hub: with ``hf://``, or where no folder here is called like the owner."""
    from fastki.data.hub import SCHEME, parse_hub_name

    return parse_hub_name(name) is not None and (name.startswith(SCHEME) or not Path(name).parent.exists())


def names_tokenizer(name: str) -> bool:
    """Whether ``name`` is a tokenizer's folder, or that of a tokenizer on the hub, whose data files are then here."""
    from fastki.tokenizer.hub import fetch_tokenizer
    from fastki.tokenizer.store import is_tokenizer

    if is_tokenizer(Path(name)):
        return True
    try:
        return is_hub_id(name) and is_tokenizer(fetch_tokenizer(name))
    except TokenizerError:
        return False


def names_checkpoint(name: str) -> bool:
    """Whether ``name`` is the folder of a model's checkpoint on this machine."""
    from fastki.data.paths import as_path, is_local, is_remote
    from fastki.model.checkpoint_folder import is_checkpoint

    if is_remote(name):
        return False
    path = as_path(name)
    return is_local(path) and is_checkpoint(path)


def open_looked_at(name: str, reading: OpenOptions, *, progress: Progress | None = None) -> Dataset:
    """The dataset ``name``, where a checkpoint could have stood as well; one by URL is not fetched to be looked at."""
    from fastki.data.hub import SCHEME
    from fastki.data.paths import as_path, exists, is_remote
    from fastki.model.checkpoint_folder import PARAMS, TREE

    try:
        return open_either(name, reading, progress=progress)
    except DataError as error:
        if not is_remote(name) or name.startswith(SCHEME):
            raise
        root = as_path(name)
        if exists(root / PARAMS / TREE) or exists(root / TREE):
            raise DataError(f"{name} is a model's checkpoint: copy it to this machine to look into it") from error
        raise


def names_run(name: str) -> bool:
    """Whether ``name`` is the folder of a training run on this machine."""
    from fastki.data.paths import as_path, is_local, is_remote

    if is_remote(name):
        return False
    path = as_path(name)
    if not is_local(path) or not (path / "config.toml").is_file():
        return False
    return any((path / other).exists() for other in _OF_A_RUN)


def open_either(name: str, reading: OpenOptions, *, progress: Progress | None = None) -> Dataset:
    """The dataset ``name``, where a tokenizer could have stood; if it is neither, the message says so."""
    from fastki.data import open_with
    from fastki.data.hub import NotOnHubError, UnreachableHubError
    from fastki.data.open import is_dataset

    try:
        return open_with(name, reading, progress=progress)
    except NotOnHubError as error:
        raise DataError(f"{error}; nor has it a tokenizer of that name that you may read") from error
    except UnreachableHubError as error:
        raise DataError(f"{error}; for a tokenizer, `hf download {name.removeprefix('hf://')}`") from error
    except DataError as error:
        if not Path(name).is_dir() or is_dataset(Path(name)):
            raise
        raise DataError(f"{name} is no tokenizer (it holds no fastki.json), and {error}") from error
