"""A BPE ⇄ Hugging Face's ``tokenizer.json``, one code point a base symbol.

The code points are a contiguous run of CJK ideographs: letters, without surrogates, white space or case, so that
no normaliser, pre-tokenizer or clean-up of any library has a reason to touch them.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fastki.errors import TokenizerError
from fastki.tokenizer.bpe import Bpe

FIRST_CODE_POINT = 0x4E00


def to_tokenizer_json(bpe: Bpe) -> str:
    """The text of a ``tokenizer.json`` that gives the same ids as ``bpe``."""
    texts = [_text(expansion) for expansion in bpe.expansions]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {text: token for token, text in enumerate(texts)},
        "merges": [[texts[left], texts[right]] for left, right in bpe.merges],
    }
    document: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": model,
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def from_tokenizer_json(text: str, num_symbols: int) -> Bpe:
    """The BPE of a ``tokenizer.json`` that :func:`to_tokenizer_json` wrote.

    Raises:
        TokenizerError: the file is damaged or was not written by fastki.
    """
    try:
        model: dict[str, Any] = json.loads(text)["model"]
        vocab: dict[str, int] = model["vocab"]
        base = [chr(FIRST_CODE_POINT + symbol) for symbol in range(num_symbols)]
        if [vocab[character] for character in base] != list(range(num_symbols)):
            raise TokenizerError("tokenizer.json does not hold fastki's base symbols: fit the tokenizer again")
        merges = np.array([(vocab[a], vocab[b]) for a, b in model["merges"]], dtype=np.int32)
        merged = np.array([vocab[a + b] for a, b in model["merges"]], dtype=np.int32)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise TokenizerError(f"tokenizer.json is damaged ({error!r}): fit the tokenizer again") from error
    return Bpe(num_symbols, merges.reshape(-1, 2), merged)


def _text(symbols: np.ndarray[Any, np.dtype[np.int32]]) -> str:
    return "".join(chr(FIRST_CODE_POINT + int(symbol)) for symbol in symbols)
