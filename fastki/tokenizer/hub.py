"""Tokenizer folders on the Hugging Face hub: data files only."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from fastki.errors import TokenizerError

_HUB_ID = re.compile(r"(?:hf://)?([\w.-]+/[\w.-]+)")
_DATA_FILES = ["*.json", "bpe_tokenizer/*.json"]


def fetch_tokenizer(name: str) -> Path:
    """The local copy of a hub tokenizer's data files.

    Raises:
        TokenizerError: ``name`` is neither a path nor a hub id, or the hub can't be reached or has no such id.
    """
    match = _HUB_ID.fullmatch(name)
    if match is None or name.startswith("."):
        raise TokenizerError(f"there is no tokenizer at {name}{_near(Path(name))}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(match[1], allow_patterns=_DATA_FILES))
    except HfHubHTTPError as error:
        raise TokenizerError(f"the hub has no tokenizer {match[1]} that you may read ({error})") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise TokenizerError(
            f"there is no folder {name}, and the hub could not be reached to look for {match[1]}; with a "
            f"network, or after `hf download {match[1]}`, it loads"
        ) from error


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    near = difflib.get_close_matches(path.name, [item.name for item in path.parent.iterdir()], n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else "; `fastki fit` makes one"
