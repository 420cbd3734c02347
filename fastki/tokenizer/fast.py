"""The FAST tokenizer: normalise, DCT, quantise, integer BPE.

Axis letters: N chunks, H horizon, A action dimensions, L tokens of a chunk.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastki.data import Chunks, Normalizer
from fastki.errors import UsageError
from fastki.tokenizer.base import ActionTokenizer, Decoded, DecodeOptions, as_chunks, as_token_lists, split_unknown
from fastki.tokenizer.blocks import map_blocks
from fastki.tokenizer.bpe import Bpe
from fastki.tokenizer.codec import Codec
from fastki.tokenizer.ragged import Ragged
from fastki.tokenizer.source import TokenizerMember, TokenizerSource
from fastki.tokenizer.stream import Repairs

if TYPE_CHECKING:
    from fastki.tokenizer.fit import Progress

_BLOCK_VALUES = 1 << 17  # Action values that one thread takes at a time: a few MB of temporaries.


@dataclass(frozen=True)
class FastTokenizer(ActionTokenizer):
    """FAST (Pertsch et al., "FAST: Efficient Action Tokenization for Vision-Language-Action Models", 2025) over
    integers: no byte-level text in between, so any precision fits any vocabulary of at least 64.

    >>> import numpy as np
    >>> chunks = np.cumsum(np.random.default_rng(0).normal(size=(200, 16, 3)), axis=1)
    >>> tokenizer = FastTokenizer.fit(chunks, vocab_size=256, bins=40)
    >>> tokens = tokenizer.encode(chunks[:2])
    >>> tokenizer.decode(tokens).shape
    (2, 16, 3)

    Attributes:
        codec: the parameters that make integers of a normalised chunk.
        bpe: the merges over those integers.
        normalizer: native ⇄ normalised units, per dimension.
        source: which data it was fitted on, or None for arrays and mixtures.
        members: the datasets of the mixture that it was fitted on, each with a normaliser of its own; empty where
            it was fitted on one.
    """

    codec: Codec
    bpe: Bpe
    normalizer: Normalizer | None
    source: TokenizerSource | None = None
    members: tuple[TokenizerMember, ...] = ()

    def __post_init__(self) -> None:
        if self.bpe.num_symbols != self.codec.alphabet.size:
            raise UsageError(f"the BPE has {self.bpe.num_symbols} base symbols, the codec {self.codec.alphabet.size}")

    @classmethod
    def fit(
        cls,
        chunks: Chunks | ArrayLike,
        *,
        normalizer: Normalizer | None = None,
        source: TokenizerSource | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> FastTokenizer:
        """Fit a tokenizer on chunks ``[N, H, A]`` in native units; see :func:`fastki.tokenizer.fit.fit_tokenizer`.

        ``settings`` are the fields of :class:`fastki.tokenizer.fit.FitSettings`: ``vocab_size=1024``, one of
        ``scale=``, ``bins=`` or ``atol=0.01``, and ``order="freq"``.
        """
        from fastki.tokenizer.fit import FitSettings, fit_tokenizer

        return fit_tokenizer(chunks, FitSettings(**settings), normalizer=normalizer, source=source, progress=progress)

    @staticmethod
    def load(folder: str | os.PathLike[str]) -> ActionTokenizer:
        """Load a saved tokenizer, or a published FAST one; see :func:`fastki.tokenizer.store.load_tokenizer`."""
        from fastki.tokenizer.store import load_tokenizer

        return load_tokenizer(folder)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Save as a folder that ``AutoProcessor`` loads too; see :func:`fastki.tokenizer.store.save_tokenizer`."""
        from fastki.tokenizer.store import save_tokenizer

        return save_tokenizer(self, folder)

    def with_normalizer(self, normalizer: Normalizer | None) -> FastTokenizer:
        """The same tokenizer over another map between native and normalised units."""
        return replace(self, normalizer=normalizer)

    def for_dataset(self, name: str) -> FastTokenizer:
        """The tokenizer of one of the datasets that it was fitted on, in that dataset's native units.

        Raises:
            UsageError: there is no such dataset; the message lists those there are.
        """
        for member in self.members:
            if member.name == name:
                return replace(self, normalizer=member.normalizer, source=member.source, members=())
        known = ", ".join(member.name for member in self.members) or "none: it was fitted on one dataset"
        raise UsageError(f"this tokenizer was not fitted on a dataset {name!r}; its mixture has {known}")

    def _own_normalizer(self) -> Normalizer:
        if self.normalizer is None and self.members:
            raise UsageError(
                "this tokenizer was fitted on a mixture, each dataset normalised by its own statistics: choose with "
                f"for_dataset(…), one of {', '.join(member.name for member in self.members)}"
            )
        return super()._own_normalizer()

    @property
    def method(self) -> str:
        return "fast"

    @property
    def vocab_size(self) -> int:
        return self.bpe.vocab_size

    @property
    def horizon(self) -> int:
        return self.codec.horizon

    @property
    def action_dim(self) -> int:
        return self.codec.action_dim

    def encode_normalized(self, actions: ArrayLike, *, previous: ArrayLike | None = None) -> list[NDArray[np.int32]]:
        chunks = as_chunks(actions)
        if chunks.shape[1:] != (self.horizon, self.action_dim):
            raise UsageError(
                f"chunks have shape [N, {chunks.shape[1]}, {chunks.shape[2]}], this tokenizer was fitted for "
                f"[N, {self.horizon}, {self.action_dim}]: choose --horizon and --dims to match, or fit anew"
            )
        reference = self._reference(previous, len(chunks), self.action_dim)
        if reference is not None:
            chunks = chunks - reference
        if len(chunks) == 1:
            return [self.bpe.encode_one(self.codec.write(chunks).values)]
        return [row for block in map_blocks(self._encode_block, chunks, values=_BLOCK_VALUES) for row in block]

    def _encode_block(self, chunks: NDArray[np.floating]) -> Ragged:
        return self.bpe.encode(self.codec.write(chunks), threads=1)

    def decode_normalized_report(self, tokens: Sequence[ArrayLike], **options: Unpack[DecodeOptions]) -> Decoded:
        given = as_token_lists(tokens)
        known, unknown = split_unknown(given, self.vocab_size, options.get("on_unknown", "error"))
        shape = options.get("horizon") or self.horizon, options.get("action_dim") or self.action_dim
        actions, repairs = self._decode_blocks(known, *shape)
        reference = self._reference(options.get("previous"), len(actions), actions.shape[2])
        if reference is not None:
            actions += reference
        return Decoded(actions, repairs if unknown is None else replace(repairs, unknown=unknown))

    def _decode_blocks(self, tokens: Ragged, horizon: int, dims: int) -> tuple[NDArray[np.float64], Repairs]:
        if len(tokens) == 1:
            symbols = self.bpe.decode_one(tokens.values)
            return self.codec.read(Ragged(symbols, np.array([0, len(symbols)])), horizon=horizon, action_dim=dims)
        actions = np.empty((len(tokens), horizon, dims))

        def decode(picked: NDArray[np.int64]) -> Repairs:
            start, stop = int(picked[0]), int(picked[-1]) + 1
            symbols = self.bpe.decode(tokens.part(start, stop))
            return self.codec.read(symbols, horizon=horizon, action_dim=dims, out=actions[start:stop])[1]

        blocks = map_blocks(decode, np.arange(len(tokens)), values=max(1, _BLOCK_VALUES // (horizon * dims)))
        return actions, Repairs.concatenate(list(blocks))

    def _reference(self, previous: ArrayLike | None, chunks: int, dims: int) -> NDArray[np.float64] | None:
        """What each chunk is relative to, float64 ``[N, 1, A]``, or None for absolute chunks."""
        if self.codec.reference == "none":
            return None
        if previous is None:
            raise UsageError("this tokenizer writes chunks relative to the action before them: give previous= [N, A]")
        reference = np.atleast_2d(np.asarray(previous, dtype=np.float64))
        if reference.shape != (chunks, dims) or not np.isfinite(reference).all():
            raise UsageError(f"previous must be finite actions [{chunks}, {dims}], not of shape {reference.shape}")
        return reference[:, None]
