"""Tokenizers in folders: save, load, and tell whose folder it is.

A saved tokenizer is::

    fastki.json            format version, codec, normaliser, source, check sums
    tokenizer.json         the BPE, valid for Hugging Face `tokenizers`
    norm_stats.json        the normaliser's statistics, openpi's format; of a mixture, each dataset's lie in
                           assets/NAME/norm_stats.json, as openpi's assets do
    processor_config.json, processing_fastki.py
                           what AutoProcessor.from_pretrained(folder, trust_remote_code=True) reads
    README.md              what this is and how to load it
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
from pathlib import Path
from typing import Any

from fastki import __version__
from fastki.config import from_plain, to_plain
from fastki.data import Normalizer, load_norm_stats, save_norm_stats
from fastki.data.files import read_text, stay_inside
from fastki.errors import DataError, FastkiError, TokenizerError
from fastki.files import atomic_folder, write_text
from fastki.tokenizer.base import ActionTokenizer
from fastki.tokenizer.codec import Codec
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.hf_json import from_tokenizer_json, to_tokenizer_json
from fastki.tokenizer.hub import fetch_tokenizer
from fastki.tokenizer.published import is_published, load_published
from fastki.tokenizer.source import TokenizerMember, TokenizerSource

FORMAT = "fastki-tokenizer"
FORMAT_VERSION = 1
_CHECKED = ("tokenizer.json", "norm_stats.json")


def save_tokenizer(tokenizer: FastTokenizer, folder: str | os.PathLike[str]) -> Path:
    """Write a tokenizer folder; an older one in its place is replaced only once the new one is whole.

    Returns:
        The folder.

    Raises:
        UsageError: the folder can't be written, or holds something else than a tokenizer.
    """
    target = Path(folder)
    require_replaceable(target)
    with atomic_folder(target) as temporary:
        write_text(temporary / "tokenizer.json", to_tokenizer_json(tokenizer.bpe))
        if tokenizer.normalizer is not None:
            save_norm_stats(temporary, {"actions": tokenizer.normalizer.stats})
        for member in tokenizer.members:
            save_norm_stats(temporary / _asset(member.name), {"actions": member.normalizer.stats})
        write_text(temporary / "fastki.json", _dump(_document(tokenizer, temporary)))
        write_text(temporary / "processor_config.json", _dump(_processor_config(tokenizer)))
        processor = importlib.resources.files("fastki.tokenizer") / "processing_fastki.py"
        write_text(temporary / "processing_fastki.py", processor.read_text(encoding="utf-8"))
        write_text(temporary / "README.md", _readme(tokenizer))
    return target


def load_tokenizer(folder: str | os.PathLike[str]) -> ActionTokenizer:
    """Load a tokenizer from its data files; no code in the folder is executed.

    Args:
        folder: one that :func:`save_tokenizer` wrote, a published FAST folder (flat, or with the BPE in a
            sub-folder as transformers 5 saves it), or a hub id such as ``physical-intelligence/fast``.

    Raises:
        TokenizerError: there is no such tokenizer, its format version is unknown, or a file is damaged.
    """
    path = Path(folder)
    if not path.exists():
        path = fetch_tokenizer(str(folder))
    if is_saved(path):
        return _load_saved(path)
    if is_published(path):
        return load_published(path)
    raise TokenizerError(
        f"{path} is no tokenizer: neither fastki.json nor a published FAST processor_config.json is in it; "
        "`fastki fit` makes one"
    )


def require_replaceable(folder: Path) -> None:
    """Refuse a place that a tokenizer may not take: one that holds something else.

    Raises:
        TokenizerError: naming it.
    """
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]) and not is_saved(folder):
        raise TokenizerError(f"{folder} exists and is no fastki tokenizer: choose another --out")


def is_saved(path: Path) -> bool:
    """Whether a folder is one that :func:`save_tokenizer` wrote."""
    return (path / "fastki.json").is_file()


def is_tokenizer(path: Path) -> bool:
    """Whether a folder holds a tokenizer of any kind that :func:`load_tokenizer` reads."""
    return is_saved(path) or is_published(path)


def _load_saved(path: Path) -> FastTokenizer:
    document = _read_json(path / "fastki.json")
    version = document.get("format_version")
    if document.get("format") != FORMAT or not isinstance(version, int):
        raise TokenizerError(f"{path / 'fastki.json'} does not describe a tokenizer: `fastki fit` makes one that does")
    if version != FORMAT_VERSION:
        raise TokenizerError(
            f"{path} has tokenizer format version {version}, this fastki ({__version__}) reads version "
            f"{FORMAT_VERSION}: upgrade fastki, or fit the tokenizer again"
        )
    try:
        for name, expected in document["sha256"].items():
            _check_sum(path / stay_inside(name, where="fastki.json"), expected)
        codec = from_plain(Codec, document["codec"])
        source = None if document["source"] is None else from_plain(TokenizerSource, document["source"])
        bpe_text = read_text(path / "tokenizer.json")
        bpe = from_tokenizer_json(bpe_text, codec.alphabet.size)
        members = tuple(_load_member(path, entry) for entry in document.get("members", []))
        return FastTokenizer(codec, bpe, _load_normalizer(path, document["normalizer"]), source, members)
    except TokenizerError:
        raise
    except (FastkiError, OSError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{path} is damaged ({error}): fit the tokenizer again") from error


def _load_member(path: Path, entry: dict[str, Any]) -> TokenizerMember:
    normalizer = _load_normalizer(path / _asset(entry["name"]), entry["normalizer"])
    if normalizer is None:
        raise KeyError("normalizer")
    return TokenizerMember(entry["name"], entry["share"], normalizer, from_plain(TokenizerSource, entry["source"]))


def _asset(name: str) -> str:
    """Where a member's statistics lie in the folder."""
    return stay_inside(f"assets/{name}", where="fastki.json")


def _load_normalizer(path: Path, settings: dict[str, Any] | None) -> Normalizer | None:
    if settings is None:
        return None
    stats = load_norm_stats(path)["actions"]
    return Normalizer(
        method=settings["method"],
        stats=stats,
        clip=settings["clip"],
        constant_dims=tuple(settings["constant_dims"]),
        widened_dims=tuple(settings["widened_dims"]),
    )


def _document(tokenizer: FastTokenizer, folder: Path) -> dict[str, Any]:
    checked = (*_CHECKED, *(f"{_asset(member.name)}/norm_stats.json" for member in tokenizer.members))
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "fastki_version": __version__,
        "vocab_size": tokenizer.vocab_size,
        "codec": to_plain(tokenizer.codec),
        "normalizer": _normalizer_settings(tokenizer.normalizer),
        "source": to_plain(tokenizer.source),
        "members": [
            {
                "name": member.name,
                "share": member.share,
                "normalizer": _normalizer_settings(member.normalizer),
                "source": to_plain(member.source),
            }
            for member in tokenizer.members
        ],
        "sha256": {name: _sha256(folder / name) for name in checked if (folder / name).exists()},
    }


def _normalizer_settings(normalizer: Normalizer | None) -> dict[str, Any] | None:
    if normalizer is None:
        return None
    return {
        "method": normalizer.method,
        "clip": normalizer.clip,
        "constant_dims": list(normalizer.constant_dims),
        "widened_dims": list(normalizer.widened_dims),
    }


def _processor_config(tokenizer: FastTokenizer) -> dict[str, Any]:
    return {
        "processor_class": "FastkiProcessor",
        "auto_map": {"AutoProcessor": "processing_fastki.FastkiProcessor"},
        "time_horizon": tokenizer.horizon,
        "action_dim": tokenizer.action_dim,
        "scale": tokenizer.codec.scale,
        "vocab_size": tokenizer.vocab_size,
    }


def _readme(tokenizer: FastTokenizer) -> str:
    codec = tokenizer.codec
    return f"""# FAST action tokenizer

Chunks of {codec.horizon} actions × {codec.action_dim} dimensions, {codec.bins:g} bins (scale {codec.scale:g}),
vocabulary {tokenizer.vocab_size}; fitted by fastki {__version__}.

```python
from transformers import AutoProcessor

processor = AutoProcessor.from_pretrained("THIS FOLDER", trust_remote_code=True)
tokens = processor(actions)  # actions [N, {codec.horizon}, {codec.action_dim}], normalised → list of lists of ids
actions = processor.decode(tokens, time_horizon={codec.horizon}, action_dim={codec.action_dim})
```

{_readme_units(tokenizer)}
"""


def _readme_units(tokenizer: FastTokenizer) -> str:
    if not tokenizer.members:
        return """`norm_stats.json` holds the normalisation (openpi's format). With fastki, in native units:
`FastTokenizer.load("THIS FOLDER").encode(actions)`."""
    names = ", ".join(f"`{member.name}` ({member.share:.0%})" for member in tokenizer.members)
    return f"""Fitted on a mixture: {names}. Each dataset is normalised by its own statistics,
`assets/NAME/norm_stats.json` (openpi's format). With fastki, in native units:
`FastTokenizer.load("THIS FOLDER").for_dataset("{tokenizer.members[0].name}").encode(actions)`."""


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_text(path))
    except (DataError, ValueError, RecursionError) as error:
        raise TokenizerError(f"{path} can't be read ({error}): fit the tokenizer again") from error
    if not isinstance(document, dict):
        raise TokenizerError(f"{path} is damaged (no object at its top): fit the tokenizer again")
    return document


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check_sum(path: Path, expected: str) -> None:
    if not path.is_file():
        raise TokenizerError(f"{path} is missing: fit the tokenizer again")
    if _sha256(path) != expected:
        raise TokenizerError(
            f"{path} is not the file that was saved (its check sum differs): restore it, or fit the tokenizer again"
        )
