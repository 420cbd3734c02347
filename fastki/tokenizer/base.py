"""What every action tokenizer offers, whichever method is inside.

Axis letters: N chunks, H horizon, A action dimensions, L tokens of a chunk.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastki.data import Normalizer
from fastki.errors import DecodeError, TokenizerError, UsageError
from fastki.tokenizer.ragged import Ragged
from fastki.tokenizer.stream import Repairs

Unknown = Literal["error", "skip"]


@dataclass(frozen=True)
class Decoded:
    """Actions and what had to be mended in the tokens that they came from.

    Attributes:
        actions: float64 ``[N, H, A]``.
        repairs: counts for each chunk.
    """

    actions: NDArray[np.float64]
    repairs: Repairs


class DecodeOptions(TypedDict, total=False):
    """Options of decoding.

    Attributes:
        previous: the action before each chunk, ``[N, A]``, in the units of the chunks; for ``reference="previous"``.
        horizon: H, if another than the tokenizer was fitted for.
        action_dim: A, likewise.
        on_unknown: what to do with an id outside the vocabulary, ``error`` (the default) or ``skip``.
    """

    previous: ArrayLike | None
    horizon: int | None
    action_dim: int | None
    on_unknown: Unknown


class ActionTokenizer(abc.ABC):
    """Action chunks ⇄ token ids.

    ``encode`` and ``decode`` take and give **native** units (radians, metres, …): the tokenizer owns its
    normaliser. ``encode_normalized`` and ``decode_normalized`` leave it out, for callers that have already
    normalised, as openpi's data path has.
    """

    normalizer: Normalizer | None

    @property
    @abc.abstractmethod
    def method(self) -> str:
        """Short name of the method, for tables."""

    @property
    @abc.abstractmethod
    def vocab_size(self) -> int:
        """Number of token ids in use; ids are 0 … vocab_size − 1."""

    @property
    @abc.abstractmethod
    def horizon(self) -> int | None:
        """H that the tokenizer was fitted for, or None where its files do not say."""

    @property
    @abc.abstractmethod
    def action_dim(self) -> int | None:
        """A that the tokenizer was fitted for, or None where its files do not say."""

    @abc.abstractmethod
    def encode_normalized(self, actions: ArrayLike, *, previous: ArrayLike | None = None) -> list[NDArray[np.int32]]:
        """Token ids (int32 ``[L]`` each) of normalised chunks ``[N, H, A]`` or of one chunk ``[H, A]``.

        Args:
            actions: normalised units.
            previous: the normalised action before each chunk, ``[N, A]`` or ``[A]``; only a tokenizer fitted with
                ``reference="previous"`` looks at it, here and in decoding.

        Raises:
            UsageError: the shape does not fit.
            TokenizerError: NaN, infinity, or a magnitude beyond what the method can write; the message names
                chunk, step and dimension.
        """

    @abc.abstractmethod
    def decode_normalized_report(self, tokens: Sequence[ArrayLike], **options: Unpack[DecodeOptions]) -> Decoded:
        """Normalised chunks of token sequences, with the repairs that malformed ones needed.

        A sequence that is too short is completed with zero coefficients (writers leave trailing zeros out, so
        that is no repair), one that is too long is cut.

        Args:
            tokens: N sequences of ids.
            options: see :class:`DecodeOptions`.

        Raises:
            TokenizerError: an id outside the vocabulary, unless ``on_unknown="skip"``.
            UsageError: the shape is neither known nor given.
        """

    def decode_normalized(
        self, tokens: Sequence[ArrayLike], *, strict: bool = False, **options: Unpack[DecodeOptions]
    ) -> NDArray[np.float64]:
        """Normalised chunks float64 ``[N, H, A]`` of token sequences; see :meth:`decode_normalized_report`.

        Raises:
            DecodeError: ``strict=True`` and a sequence needed a repair.
        """
        decoded = self.decode_normalized_report(tokens, **options)
        if strict:
            _refuse_repairs(decoded.repairs)
        return decoded.actions

    def encode(self, actions: ArrayLike, *, previous: ArrayLike | None = None) -> list[NDArray[np.int32]]:
        """As :meth:`encode_normalized`, chunks and the actions before them in native units."""
        normalizer = self._own_normalizer()
        normalized = normalizer.normalize(as_chunks(actions))
        return self.encode_normalized(normalized, previous=_normalized(normalizer, previous))

    def decode(
        self, tokens: Sequence[ArrayLike], *, strict: bool = False, **options: Unpack[DecodeOptions]
    ) -> NDArray[np.float64]:
        """As :meth:`decode_normalized`, in native units."""
        decoded = self.decode_report(tokens, **options)
        if strict:
            _refuse_repairs(decoded.repairs)
        return decoded.actions

    def decode_report(self, tokens: Sequence[ArrayLike], **options: Unpack[DecodeOptions]) -> Decoded:
        """As :meth:`decode_normalized_report`, in native units."""
        normalizer = self._own_normalizer()
        options["previous"] = _normalized(normalizer, options.get("previous"))
        decoded = self.decode_normalized_report(tokens, **options)
        return Decoded(normalizer.unnormalize(decoded.actions), decoded.repairs)

    def _own_normalizer(self) -> Normalizer:
        if self.normalizer is None:
            raise UsageError(
                "this tokenizer carries no normaliser: use encode_normalized and decode_normalized, or give it "
                "one with with_normalizer(...)"
            )
        return self.normalizer


def as_chunks(actions: ArrayLike) -> NDArray[np.floating]:
    """Chunks ``[N, H, A]`` of floating type; one chunk ``[H, A]`` becomes N = 1.

    Raises:
        UsageError: another number of axes.
    """
    array = np.asarray(actions)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3:
        raise UsageError(f"actions must be chunks [N, H, A] or one chunk [H, A], not of shape {array.shape}")
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)


def as_token_lists(tokens: Sequence[ArrayLike]) -> Ragged:
    """Token sequences end to end.

    Raises:
        UsageError: not a list of lists of integers.
    """
    if len(tokens) > 1 and all(type(sequence) is np.ndarray and sequence.dtype == np.int32 for sequence in tokens):
        whole = np.concatenate(tokens)  # What `encode` gives: one look at the whole instead of one at each.
        if whole.ndim == 1:
            return Ragged.from_lengths(whole, map(np.size, tokens))
    arrays = [np.asarray(sequence) for sequence in tokens]
    for index, array in enumerate(arrays):
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise UsageError(
                f"tokens must be a list of integer sequences, one for each chunk; entry {index} is "
                f"{array.dtype} of shape {array.shape}"
            )
    return Ragged.from_list(arrays)


def split_unknown(tokens: Ragged, vocab_size: int, on_unknown: Unknown) -> tuple[Ragged, NDArray[np.int64] | None]:
    """Token sequences without the ids outside [0, V), and how many each lost, int64 ``[N]``; None if none did.

    Raises:
        TokenizerError: there is such an id and ``on_unknown`` is ``"error"``.
    """
    values = tokens.values
    if not values.size or (values.min() >= 0 and values.max() < vocab_size):
        return tokens, None
    bad = (values < 0) | (values >= vocab_size)
    if on_unknown == "error":
        first = int(np.flatnonzero(bad)[0])
        chunk = int(np.searchsorted(tokens.offsets, first, side="right")) - 1
        raise TokenizerError(
            f"token {first - tokens.offsets[chunk]} of chunk {chunk} is id {tokens.values[first]}, outside the "
            f'vocabulary 0 … {vocab_size - 1}; on_unknown="skip" leaves such ids out'
        )
    before = np.concatenate([[0], np.cumsum(bad)])
    lost = np.diff(before[tokens.offsets])
    return Ragged(tokens.values[~bad], tokens.offsets - before[tokens.offsets]), lost


def _normalized(normalizer: Normalizer, previous: ArrayLike | None) -> NDArray[np.float64] | None:
    return None if previous is None else normalizer.normalize(np.asarray(previous))


def _refuse_repairs(repairs: Repairs) -> None:
    broken = np.flatnonzero(repairs.total)
    if len(broken):
        raise DecodeError(
            f"the tokens of chunk {broken[0]} are malformed ({repairs.describe(int(broken[0]))}), as those of "
            f"{len(broken) - 1} more; decode without strict=True to repair them"
        )
