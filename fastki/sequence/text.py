"""Text ⇄ ids: what every text tokenizer offers, and the one that needs no file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError
from fastki.sequence.text_files import (
    HuggingFaceTokenizer,
    SentencePieceTokenizer,
    open_hugging_face,
    require_known,
    utf8,
)

__all__ = ["ByteTokenizer", "HuggingFaceTokenizer", "SentencePieceTokenizer", "TextTokenizer", "open_text_tokenizer"]

_PAD, _EOS, _BOS, _FIRST_BYTE = 0, 1, 2, 3
_BYTES_END = _FIRST_BYTE + 256
_BYTE_NAME = re.compile(r"byte(?::([0-9]{1,9}))?")


class TextTokenizer(Protocol):
    """Text ⇄ token ids.

    Attributes:
        name: as a user gives it, for messages and tables.
        vocab_size: ids are 0 … vocab_size − 1.
        bos_id: of the beginning of a text; None where the tokenizer has none, and then none is put there.
        eos_id: of the end.
        pad_id: what fills a sequence up; a mask always goes with it, so that it may have another meaning as well.
        ordinary_ids: int64, ascending, the ids that sequences of ordinary text hold, beginning, end and padding
            included; see :mod:`fastki.sequence.pieces`. FAST's ids must not be among them.
    """

    @property
    def name(self) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def bos_id(self) -> int | None: ...
    @property
    def eos_id(self) -> int: ...
    @property
    def pad_id(self) -> int: ...
    @property
    def ordinary_ids(self) -> NDArray[np.int64]: ...

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        """The ids of a text.

        Raises:
            TokenizerError: it is not Unicode, or has a marker in it that has no id below ``vocab_size``.
        """
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; beginning, end and padding are left out.

        Raises:
            TokenizerError: an id outside the vocabulary.
        """
        ...


@dataclass(frozen=True)
class ByteTokenizer:
    """A byte of UTF-8 an id, 3 and up; padding is 0, the end 1, the beginning 2, as in PaliGemma's vocabulary.

    >>> ByteTokenizer().encode("cup", add_bos=True)
    [2, 102, 120, 115]

    Attributes:
        vocab_size: at least 259; the ids above the bytes are free. By default there is room for FAST's usual 2,048
            and the 128 that are skipped.

    Raises:
        UsageError: below 259.
    """

    vocab_size: int = 2560

    def __post_init__(self) -> None:
        if self.vocab_size < _BYTES_END:
            raise UsageError(
                f"a byte tokenizer needs {_BYTES_END} ids, not {self.vocab_size}: give byte:{_BYTES_END} or more"
            )

    @property
    def name(self) -> str:
        return "byte" if self.vocab_size == ByteTokenizer.vocab_size else f"byte:{self.vocab_size}"

    @property
    def bos_id(self) -> int | None:
        return _BOS

    @property
    def eos_id(self) -> int:
        return _EOS

    @property
    def pad_id(self) -> int:
        return _PAD

    @property
    def ordinary_ids(self) -> NDArray[np.int64]:
        return np.arange(_BYTES_END, dtype=np.int64)

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        ids = [_FIRST_BYTE + byte for byte in utf8(text)]
        return [_BOS, *ids] if add_bos else ids

    def decode(self, ids: Iterable[int]) -> str:
        """As every tokenizer; ids above the bytes are left out too, and half characters become �."""
        given = require_known(ids, self.vocab_size, self.name)
        return bytes(index - _FIRST_BYTE for index in given if _FIRST_BYTE <= index < _BYTES_END).decode(
            errors="replace"
        )


def open_text_tokenizer(name: str) -> TextTokenizer:
    """The text tokenizer that a user's word means.

    Args:
        name: ``byte``, or ``byte:4096`` with the number of ids; a SentencePiece ``.model`` file; or a Hugging Face
            tokenizer, by its folder or by its id on the hub (``user/name``, ``user/name@revision``).

    Raises:
        UsageError: it is none of these.
        TokenizerError: damaged or unusable files.
        DataError: the hub does not give it, or a library is not installed.
    """
    byte = _BYTE_NAME.fullmatch(name)
    if byte is not None:
        return ByteTokenizer(int(byte[1])) if byte[1] else ByteTokenizer()
    if name.endswith(".model"):
        return SentencePieceTokenizer(name)
    return open_hugging_face(name)
