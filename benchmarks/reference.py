"""The public FAST algorithm, written from its description: the yardstick of these benchmarks.

It does what the public processor does, in its way: a SciPy transform for each chunk of a fit and for each batch of an
encode, one Python string of ``chr(coefficient − min_token)`` for each chunk, a byte-level BPE over those strings, and
chunks encoded and decoded one at a time through ``transformers``.

Axis letters: N chunks, H horizon, A action dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, idct

from fastki.tokenizer.reference import RangeError, prefix_bpe, require_range, train_byte_level

__all__ = ["RangeError", "ReferenceFast"]


@dataclass(frozen=True)
class ReferenceFast:
    """A fitted reference tokenizer over normalised chunks.

    Attributes:
        scale: γ, coefficients are rounded multiples of 1/γ.
        min_token: the coefficient that is written as code point 0; smaller ones are cut to it.
        bpe: ``transformers.PreTrainedTokenizerFast`` of the byte-level BPE.
        horizon: H.
        action_dim: A.
        max_token: the largest coefficient of the fit; None where it was loaded from files, which don't say.
    """

    scale: float
    min_token: int
    bpe: Any
    horizon: int
    action_dim: int
    max_token: int | None = None

    @classmethod
    def fit(cls, chunks: NDArray[np.floating], *, scale: float, vocab_size: int) -> ReferenceFast:
        """Train on normalised chunks ``[N, H, A]``.

        Raises:
            RangeError: the range of the coefficients exceeds ``vocab_size``.
        """
        transformed = [dct(chunk, axis=0, norm="ortho").flatten() for chunk in chunks]
        everything = np.around(np.concatenate(transformed) * scale)
        low, high = int(everything.min()), int(everything.max())
        require_range(low, high, vocab_size)
        texts = (_text(np.around(row * scale), low) for row in transformed)
        bpe = _wrap(train_byte_level(texts, high - low + 1, vocab_size))
        return cls(scale, low, bpe, chunks.shape[1], chunks.shape[2], high)

    @classmethod
    def load(cls, folder: Path) -> ReferenceFast:
        """A published folder, from its data files alone."""
        from tokenizers import Tokenizer

        config = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
        bpe = _wrap(Tokenizer.from_file(str(folder / "tokenizer.json")))
        return cls(config["scale"], config["min_token"], bpe, config["time_horizon"], config["action_dim"])

    def encode(self, chunks: NDArray[np.floating]) -> list[list[int]]:
        """Token ids of normalised chunks ``[N, H, A]``."""
        coefficients = np.around(dct(chunks, axis=1, norm="ortho") * self.scale)
        return [self.bpe(_text(chunk.flatten(), self.min_token))["input_ids"] for chunk in coefficients]

    def decode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Normalised chunks float64 ``[N, H, A]``; a text of the wrong length gives zeros."""
        return np.stack([self._decode_one(row) for row in tokens])

    def prefix(self, vocab_size: int) -> ReferenceFast:
        """What a fit with this smaller vocabulary gives: merges are learnt greedily, so they are the first of these.

        Raises:
            RangeError: as :meth:`fit`.
        """
        if self.max_token is not None:
            require_range(self.min_token, self.max_token, vocab_size)
        return replace(self, bpe=_wrap(prefix_bpe(self.bpe.backend_tokenizer, vocab_size)))

    @property
    def model(self) -> dict[str, Any]:
        """Vocabulary and merges, as ``tokenizer.json`` holds them."""
        model: dict[str, Any] = json.loads(self.bpe.backend_tokenizer.to_str())["model"]
        return model

    def _decode_one(self, row: Sequence[int]) -> NDArray[np.float64]:
        text = self.bpe.decode(row)
        coefficients = np.array(list(map(ord, text))) + self.min_token
        if coefficients.size != self.horizon * self.action_dim:
            return np.zeros((self.horizon, self.action_dim))
        return idct(coefficients.reshape(self.horizon, self.action_dim) / self.scale, axis=0, norm="ortho")


def _text(coefficients: NDArray[np.floating], min_token: int) -> str:
    return "".join(map(chr, np.maximum(coefficients - min_token, 0).astype(int)))


def _wrap(tokenizer: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)
