"""Tokenizer folders on the Hugging Face hub: data files only."""

from __future__ import annotations

import difflib
from pathlib import Path

from fastki.data.hub import UnreachableHubError, parse_hub_name, snapshot
from fastki.errors import DataError, TokenizerError

_DATA_FILES = ["*.json", "bpe_tokenizer/*.json"]


def fetch_tokenizer(name: str) -> Path:
    """The local copy of a hub tokenizer's data files.

    Raises:
        TokenizerError: ``name`` is neither a path nor a hub id, or the hub can't be reached or has no such id.
    """
    hub = None if name.startswith((".", "hf://datasets/")) else parse_hub_name(name)
    if hub is None or hub.inside:
        raise TokenizerError(f"there is no tokenizer at {name}{_near(Path(name))}")
    try:
        return snapshot(hub, _DATA_FILES, kind="model")
    except UnreachableHubError as error:
        raise TokenizerError(
            f"there is no folder {name}, and the hub could not be reached to look for {hub.repo}; with a "
            f"network, or after `hf download {hub.repo}`, it loads"
        ) from error
    except DataError as error:
        raise TokenizerError(
            f"there is no folder {name}, nor a tokenizer on the hub that can be had ({error})"
        ) from error


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    near = difflib.get_close_matches(path.name, [item.name for item in path.parent.iterdir()], n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else "; `fastki fit` makes one"
