"""What a user's word on the command line stands for: a tokenizer or a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastki.errors import DataError, TokenizerError

if TYPE_CHECKING:
    from fastki.data import Dataset
    from fastki.tokenizer import ActionTokenizer


def is_hub_id(name: str) -> bool:
    """Whether ``name`` looks like ``owner/name`` and no folder here is called like the owner."""
    return name.count("/") == 1 and ":" not in name and not Path(name).parent.exists()


def open_either(name: str, *, action_key: str | None, state_key: str | None) -> Dataset:
    """The dataset ``name``, where a tokenizer could have stood; if it is neither, the message says so."""
    from fastki.data import open_dataset

    try:
        return open_dataset(name, action_key=action_key, state_key=state_key)
    except DataError as error:
        if not Path(name).is_dir() or (Path(name) / "meta" / "info.json").exists():
            raise
        raise DataError(f"{name} is no tokenizer (it holds no fastki.json), and {error}") from error


def load_either(name: str) -> ActionTokenizer:
    """The tokenizer ``name``, where a dataset could have stood; if the hub has none, the message says what next."""
    from fastki.tokenizer import load_tokenizer

    try:
        return load_tokenizer(name)
    except TokenizerError as error:
        if Path(name).exists():
            raise
        fetch = f"`hf download --repo-type dataset {name} --local-dir FOLDER`"
        raise TokenizerError(f"{error}; if it is a dataset, fetch it with {fetch} and give FOLDER") from error
