"""Text tokenizers that are read from files: SentencePiece's and Hugging Face's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.data.extras import need
from fastki.data.hub import parse_hub_name, snapshot
from fastki.errors import TokenizerError, UsageError
from fastki.sequence.pieces import ordinary_ids

_MAX_BYTES = 2**28  # PaliGemma's model has 4 MiB.
_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "config.json",
)


class SentencePieceTokenizer:
    """A SentencePiece model, such as PaliGemma's: see :class:`fastki.sequence.text.TextTokenizer`.

    Raises:
        TokenizerError: there is no such file, it is damaged, or its vocabulary has no id for the end.
        DataError: the library is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        file = _expanded(path)
        self.name = str(path)
        self._processor = _read_model(file)
        self.vocab_size = int(self._processor.vocab_size())
        self.bos_id = _id_or_none(self._processor.bos_id())
        self.eos_id = _require_end(_id_or_none(self._processor.eos_id()), self.name)
        self.pad_id = max(0, int(self._processor.pad_id()))
        self.ordinary_ids = self._find_ordinary(file)

    def _find_ordinary(self, file: Path) -> NDArray[np.int64]:
        model, every = self._processor, range(self.vocab_size)
        try:
            pieces = [model.id_to_piece(index) for index in every]
        except UnicodeDecodeError as error:
            raise _damaged(file) from error
        controls = [index for index in every if model.is_control(index) or model.is_unused(index)]
        # Which pieces were added by name rather than learnt, the library does not tell.
        used = _present(self.bos_id, self.eos_id, self.pad_id, _id_or_none(model.unk_id()))
        return ordinary_ids(pieces, controls=controls, used=used)

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        utf8(text)
        ids: list[int] = self._processor.encode(text)
        return [self.bos_id, *ids] if add_bos and self.bos_id is not None else ids

    def decode(self, ids: Iterable[int]) -> str:
        return str(self._processor.decode(require_known(ids, self.vocab_size, self.name)))


class HuggingFaceTokenizer:
    """A Hugging Face tokenizer in a folder: see :class:`fastki.sequence.text.TextTokenizer`.

    No code of the folder is executed. ``vocab_size`` is the base vocabulary, as openpi and LeRobot count PaliGemma's
    257,152, without ``<image>`` and the like that stand above it; where the end of a text stands there as well, it
    is the whole.

    Raises:
        TokenizerError: the folder holds no tokenizer that can be used.
        DataError: the library is not installed.
    """

    def __init__(self, folder: Path, *, name: str | None = None) -> None:
        self.name = str(folder) if name is None else name
        self._tokenizer = _read_folder(folder, self.name)
        self.bos_id: int | None = self._tokenizer.bos_token_id
        self.eos_id = _require_end(self._tokenizer.eos_token_id, self.name)
        pad = self._tokenizer.pad_token_id
        self.pad_id: int = 0 if pad is None else pad
        base = int(self._tokenizer.vocab_size)
        own = max(self.eos_id, self.pad_id, self.bos_id or 0)
        self.vocab_size = base if own < base else len(self._tokenizer)
        self.ordinary_ids = self._find_ordinary()

    def _find_ordinary(self) -> NDArray[np.int64]:
        pieces = self._tokenizer.convert_ids_to_tokens(list(range(self.vocab_size)))
        added = [index for index in self._tokenizer.added_tokens_decoder if index < self.vocab_size]
        used = _present(self.bos_id, self.eos_id, self.pad_id, self._tokenizer.unk_token_id)
        return ordinary_ids(pieces, declared=added, used=used)

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        utf8(text)
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        if ids and max(ids) >= self.vocab_size:
            marker = self._tokenizer.convert_ids_to_tokens(max(ids))
            raise TokenizerError(
                f"the text {text[:60]!r} has the marker {marker} in it, whose id {max(ids)} is above the vocabulary of "
                f"{self.name} ({self.vocab_size:,} ids): take it out of the text"
            )
        return [self.bos_id, *ids] if add_bos and self.bos_id is not None else ids

    def decode(self, ids: Iterable[int]) -> str:
        known = require_known(ids, self.vocab_size, self.name)
        silent = {self.bos_id, self.eos_id, self.pad_id if self._tokenizer.pad_token_id is not None else None}
        shown = [index for index in known if index not in silent]
        return str(self._tokenizer.decode(shown, clean_up_tokenization_spaces=False))


def open_hugging_face(name: str) -> HuggingFaceTokenizer:
    """The tokenizer in a folder, or of an id on the hub: only its own files are fetched, into the hub's cache.

    Raises:
        UsageError: neither a folder nor an id.
        TokenizerError: see :class:`HuggingFaceTokenizer`.
        DataError: the hub does not give it.
    """
    folder = _expanded(name)
    if name and os.path.isdir(folder):  # noqa: PTH112, as it never raises, whatever the name
        return HuggingFaceTokenizer(folder, name=name)
    hub = None if name.startswith((".", "/", "~")) else parse_hub_name(name)
    if hub is None:
        raise UsageError(
            f"{name[:200]!r} is no text tokenizer: give byte, byte:4096, a SentencePiece .model file, or the folder or "
            "the hub id (user/name) of a Hugging Face tokenizer"
        )
    return HuggingFaceTokenizer(snapshot(hub, _FILES, kind="model") / hub.inside, name=name)


def utf8(text: str) -> bytes:
    """The text's bytes.

    Raises:
        TokenizerError: it has half a surrogate pair in it.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"the text {text[:60]!a} is not Unicode at character {error.start}: mend the dataset's prompt"
        ) from error


def require_known(ids: Iterable[int], vocab_size: int, name: str) -> list[int]:
    """The ids as a list.

    Raises:
        TokenizerError: one of them is outside the vocabulary.
    """
    known = [int(index) for index in ids]
    bad = next((index for index in known if not 0 <= index < vocab_size), None)
    if bad is not None:
        raise TokenizerError(f"id {bad} is outside the vocabulary of {name}, 0 … {vocab_size - 1}")
    return known


def _read_model(file: Path) -> Any:
    library = need("sentencepiece", extra="text", what="a SentencePiece model")
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise TokenizerError(f"{file} has more than {_MAX_BYTES // 2**20} MiB: it is no SentencePiece model")
        data = file.read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise TokenizerError(f"{str(file)[:200]!r} cannot be read ({why}): give a SentencePiece .model file") from error
    processor = library.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(data)
    except (RuntimeError, OSError, ValueError) as error:
        raise _damaged(file) from error
    return processor


def _expanded(name: str | Path) -> Path:
    """The path with a home folder for ~, if there is such a user."""
    return Path(os.path.expanduser(name))  # noqa: PTH111, which raises where there is none


def _damaged(file: Path) -> TokenizerError:
    return TokenizerError(f"{file} is not a SentencePiece model, or damaged: give another .model file")


def _read_folder(folder: Path, name: str) -> Any:
    library = need("transformers", extra="text", what="a Hugging Face tokenizer")
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
        tokenizer.model_max_length = sys.maxsize  # Of its own model, not of ours: it only warns.
        tokenizer.decode(tokenizer.encode("Task: 1;\n", add_special_tokens=False))  # Some damage shows only here.
    except Exception as error:  # The library's own children of many kinds, and bare ones of `tokenizers`.
        lines = [line for line in str(error).splitlines() if line.strip()]
        why = lines[0].strip(" .:") if lines else type(error).__name__
        raise TokenizerError(
            f"{name} holds no Hugging Face tokenizer that can be used ({why}): give one with a tokenizer.json that "
            "needs no code of its own"
        ) from error
    return tokenizer


def _id_or_none(index: int) -> int | None:
    return None if index < 0 else int(index)


def _present(*ids: int | None) -> list[int]:
    return [index for index in ids if index is not None]


def _require_end(index: int | None, name: str) -> int:
    if index is None:
        raise TokenizerError(f"{name} has no id for the end of a text: give a tokenizer that has one")
    return int(index)
