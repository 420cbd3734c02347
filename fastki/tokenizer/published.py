"""Published FAST tokenizers (``physical-intelligence/fast`` and its like), read from their data files.

The reference algorithm writes coefficients as characters ``chr(coefficient − min_token)`` and runs a byte-level
BPE over that text. Its ids are reproduced exactly, with Hugging Face's own BPE on the published
``tokenizer.json``; its processor file is never executed. So is its decode, malformed streams included: the reference
answers zeros for a text of the wrong length and takes half a character for a coefficient of 65533. Both are counted
as repairs, and ``strict=True`` refuses them.

Axis letters: N chunks, H horizon, A action dimensions, L tokens of a chunk.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastki.data import Normalizer
from fastki.data.files import read_text
from fastki.errors import DataError, TokenizerError, UsageError
from fastki.tokenizer.base import ActionTokenizer, Decoded, DecodeOptions, as_chunks, as_token_lists, split_unknown
from fastki.tokenizer.codec import MAX_ACTION_DIM, MAX_HORIZON, require_finite
from fastki.tokenizer.dct import idct
from fastki.tokenizer.ragged import Ragged
from fastki.tokenizer.stream import Repairs

_REPLACEMENT = 0xFFFD  # What undecodable UTF-8 becomes: half of a character that a cut stream has lost.
_SURROGATES = range(0xD800, 0xE000)
_LAST_CODE_POINT = 0x10FFFF


@dataclass(frozen=True)
class PublishedFast(ActionTokenizer):
    """A published FAST tokenizer: normalised units, unless it is given a normaliser.

    Attributes:
        scale: γ, coefficients are rounded multiples of 1/γ.
        min_token: the coefficient that is written as code point 0; smaller ones are cut to it.
        bpe: Hugging Face ``tokenizers.Tokenizer`` of the published ``tokenizer.json``.
        fitted_horizon: H that the files name, if any.
        fitted_action_dim: A that the files name, if any.
        normalizer: native → normalised, or None.
    """

    scale: float
    min_token: int
    bpe: Any
    fitted_horizon: int | None
    fitted_action_dim: int | None
    normalizer: Normalizer | None = None

    @property
    def method(self) -> str:
        return "published"

    @property
    def vocab_size(self) -> int:
        return int(self.bpe.get_vocab_size())

    @property
    def horizon(self) -> int | None:
        return self.fitted_horizon

    @property
    def action_dim(self) -> int | None:
        return self.fitted_action_dim

    def with_normalizer(self, normalizer: Normalizer | None) -> PublishedFast:
        """The same tokenizer with a map between native and normalised units."""
        return replace(self, normalizer=normalizer)

    def encode_normalized(self, actions: ArrayLike, *, previous: ArrayLike | None = None) -> list[NDArray[np.int32]]:
        from scipy.fft import dct

        chunks = as_chunks(actions)
        require_finite(chunks)
        # In the input's own precision, as the reference does: a float32 rounding can tip a coefficient.
        coefficients = np.around(dct(chunks, axis=1, norm="ortho") * self.scale)
        codes = np.maximum(coefficients - self.min_token, 0).astype(np.int64).reshape(len(chunks), -1)
        _require_characters(codes, chunks.shape[2])
        texts = ["".join(map(chr, row)) for row in codes.tolist()]
        encodings = self.bpe.encode_batch_fast(texts, add_special_tokens=True)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def decode_normalized_report(self, tokens: Sequence[ArrayLike], **options: Unpack[DecodeOptions]) -> Decoded:
        horizon = options.get("horizon") or self.fitted_horizon
        action_dim = options.get("action_dim") or self.fitted_action_dim
        if horizon is None or action_dim is None:
            raise UsageError("this tokenizer's files name no shape: give decode horizon= and action_dim=")
        known, unknown = split_unknown(as_token_lists(tokens), self.vocab_size, options.get("on_unknown", "error"))
        coefficients, repairs = self._coefficients(known, horizon * action_dim)
        actions = idct(coefficients.reshape(-1, horizon, action_dim) / self.scale)
        return Decoded(actions, repairs if unknown is None else replace(repairs, unknown=unknown))

    def _coefficients(self, tokens: Ragged, size: int) -> tuple[NDArray[np.float64], Repairs]:
        """What the reference reads: a text of another length than ``size`` is a chunk of zeros."""
        texts = self.bpe.decode_batch([row.tolist() for row in tokens], skip_special_tokens=False)
        coefficients = np.zeros((len(texts), size))
        misplaced, zeroed = np.zeros((2, len(texts)), dtype=np.int64)
        for chunk, text in enumerate(texts):
            codes = np.fromiter(map(ord, text), dtype=np.int64, count=len(text))
            zeroed[chunk] = len(codes) != size
            misplaced[chunk] = (codes == _REPLACEMENT).sum()
            if len(codes) == size:
                coefficients[chunk] = codes + self.min_token
        return coefficients, Repairs.none(len(texts), misplaced=misplaced, zeroed=zeroed)


def is_published(path: Path) -> bool:
    """Whether a folder is laid out as a published FAST tokenizer."""
    return (path / "processor_config.json").is_file() and _bpe_file(path) is not None


def load_published(path: Path) -> PublishedFast:
    """Load a published FAST folder.

    Raises:
        TokenizerError: a file is damaged or is not of this method.
    """
    import tokenizers

    try:
        config = json.loads(read_text(path / "processor_config.json"))
        scale, min_token = float(config["scale"]), int(config["min_token"])
        horizon = _size(config.get("time_horizon"), MAX_HORIZON)
        action_dim = _size(config.get("action_dim"), MAX_ACTION_DIM)
        if not (0 < scale < math.inf and abs(min_token) <= _LAST_CODE_POINT):
            raise ValueError(f"scale {scale}, min_token {min_token}")
    except (DataError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise TokenizerError(
            f"{path / 'processor_config.json'} does not describe a FAST tokenizer ({error!r})"
        ) from error
    bpe_file = _bpe_file(path)
    try:
        bpe = tokenizers.Tokenizer.from_file(str(bpe_file))
    except Exception as error:  # `tokenizers` raises nothing narrower for a damaged file
        raise TokenizerError(f"{bpe_file} is damaged ({error})") from error
    return PublishedFast(scale, min_token, bpe, horizon, action_dim)


def _size(value: object, most: int) -> int | None:
    """A number of steps or dimensions, None where the files name none."""
    if value is None or (type(value) is int and 1 <= value <= most):
        return value
    raise ValueError(f"{value!r} where a size from 1 to {most} is expected")


def _bpe_file(path: Path) -> Path | None:
    """The BPE beside the configuration (transformers 4) or in the sub-folder of transformers 5."""
    candidates = [path / "tokenizer.json", path / "bpe_tokenizer" / "tokenizer.json"]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _require_characters(codes: NDArray[np.int64], action_dim: int) -> None:
    bad = (codes > _LAST_CODE_POINT) | ((codes >= _SURROGATES.start) & (codes < _SURROGATES.stop))
    if bad.any():
        chunk, index = np.argwhere(bad)[0]
        raise TokenizerError(
            f"chunk {chunk}, frequency {index // action_dim}, dimension {index % action_dim}: the coefficient is "
            "too large for a character, so the published method can't write it: check the normalisation"
        )
