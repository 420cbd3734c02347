"""Fitting a FAST tokenizer: choose the precision, choose the alphabet, train the merges.

From a vocabulary of 256 on (512 in dimension-major order) neither the precision nor the alphabet depends on it: such
tokenizers differ in the number of their merges alone, and the merges of a smaller one are the first of a larger one's.
One fit serves them all.

Axis letters: N chunks, H horizon, A action dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastki.data import Chunks, Normalizer
from fastki.errors import UsageError
from fastki.tokenizer.base import as_chunks
from fastki.tokenizer.blocks import map_blocks
from fastki.tokenizer.bpe import Bpe, train_bpe
from fastki.tokenizer.codec import Codec, Reference, require_finite
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.ragged import Ragged
from fastki.tokenizer.rounding import zero_shares
from fastki.tokenizer.source import TokenizerSource
from fastki.tokenizer.stream import MIN_LITERALS, Alphabet, Order, write_stream

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, steps done and steps in all."""

DEFAULT_ATOL = 0.01
MIN_VOCAB, MAX_VOCAB = 64, 1 << 16
MIN_BINS = 4
_TRIAL_CHUNKS = 1024
_TRIAL_VOCAB = 1024
"""Vocabulary that alphabets and scales are tried with, whichever is wanted."""
_LITERALS: dict[Order, tuple[int, ...]] = {"freq": (14, 30, 62), "dim": (14, 30, 62, 126)}
"""Alphabets to try: within about 1 % of the best of all up to 1022, at any vocabulary and precision."""
_BLOCK_VALUES = 1 << 17
_FIRST_GUESS = 0.63
"""Where the search for the cheapest scale under a bound begins, times 1 / atol: near the best on robot data."""
_SCALE_STEP = 1.12


@dataclass(frozen=True)
class FitSettings:
    """What fixes a FAST tokenizer besides its data.

    Attributes:
        vocab_size: token ids at most, base symbols included, 64 … 65,536. Data that run out of pairs that occur
            twice give fewer.
        scale: γ, coefficients are rounded multiples of 1/γ.
        bins: the same as quantisation steps over [-1, 1], 2γ; at least 4.
        atol: a bound that the encoder keeps on every value of every chunk, normalised units; the scale is then the
            one that takes the fewest tokens. 0.01 where none of the three is given.
        order: of the coefficients, ``freq`` (FAST's) or ``dim``.
        reference: ``previous`` writes chunks relative to the action before them.
        deadzone: widens the zero of the rounding, in steps; with ``scale`` or ``bins``.
        rdo: rate–distortion-optimised rounding, squared error in steps² a bit; with ``scale`` or ``bins``.

    Raises:
        UsageError: more than one of ``scale``, ``bins``, ``atol``, or a value out of range.
    """

    vocab_size: int = 1024
    scale: float | None = None
    bins: float | None = None
    atol: float | None = None
    order: Order = "freq"
    reference: Reference = "none"
    deadzone: float = 0.0
    rdo: float = 0.0

    def __post_init__(self) -> None:
        if not MIN_VOCAB <= self.vocab_size <= MAX_VOCAB:
            raise UsageError(
                f"the vocabulary must lie in [{MIN_VOCAB}, {MAX_VOCAB}], not {self.vocab_size}: FAST's default is 1024"
            )
        chosen = [name for name in ("scale", "bins", "atol") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise UsageError(f"{' and '.join(chosen)} both fix the precision: give one of them")
        if self.bins is not None and not self.bins >= MIN_BINS:
            raise UsageError(
                f"bins must be at least {MIN_BINS} (a quantisation step of half the range), not {self.bins}"
            )

    @property
    def bound(self) -> float | None:
        """The error bound to keep; None where ``scale`` or ``bins`` fixes the precision."""
        if self.scale is not None or self.bins is not None:
            return None
        return DEFAULT_ATOL if self.atol is None else self.atol


def fit_tokenizer(
    chunks: Chunks | ArrayLike,
    settings: FitSettings,
    *,
    normalizer: Normalizer | None = None,
    source: TokenizerSource | None = None,
    progress: Progress | None = None,
) -> FastTokenizer:
    """Fit a FAST tokenizer on action chunks. The same input gives the same tokenizer, bit for bit.

    Args:
        chunks: native units, ``[N, H, A]``.
        settings: vocabulary, precision, order.
        normalizer: native → normalised; without one, the q01/q99 of the chunks' values.
        source: recorded in the tokenizer.
        progress: told what goes on.

    Raises:
        UsageError: no chunk.
        TokenizerError: a NaN or infinity, or a value too large for the precision, with chunk, step and dimension.
    """
    return fit_family(chunks, settings, normalizer=normalizer, progress=progress).tokenizer(
        settings.vocab_size, source=source
    )


@dataclass(frozen=True)
class Family:
    """FAST tokenizers that differ in the number of their merges alone.

    Attributes:
        codec: of all of them.
        bpe: of the largest.
        streams: of the chunks that they were fitted on.
        normalizer: of all of them.
    """

    codec: Codec
    bpe: Bpe
    streams: Ragged
    normalizer: Normalizer

    def tokenizer(self, vocab_size: int, *, source: TokenizerSource | None = None) -> FastTokenizer:
        """What a fit of its own with this vocabulary, at most that of the settings, gives: bit for bit the same."""
        return FastTokenizer(self.codec, self.bpe.prefix(vocab_size), self.normalizer, source)


def family_of(vocab_size: int, order: Order) -> int:
    """A number that is equal for vocabularies of one :class:`Family`.

    Those that leave half of their ids to merges whichever alphabet is chosen are one; any smaller one is alone.

    >>> family_of(256, "freq") == family_of(4096, "freq"), family_of(128, "freq") == family_of(64, "freq")
    (True, False)
    """
    return min(vocab_size, 4 * (_LITERALS[order][-1] + 2))


def fit_family(
    chunks: Chunks | ArrayLike,
    settings: FitSettings,
    *,
    normalizer: Normalizer | None = None,
    transformed: NDArray[np.float64] | None = None,
    progress: Progress | None = None,
) -> Family:
    """Fit the largest tokenizer of a family.

    Args:
        chunks: native units, ``[N, H, A]``.
        settings: those of the largest vocabulary.
        normalizer: native → normalised; without one, the q01/q99 of the chunks' values.
        transformed: the DCT of the normalised chunks, ``[N, H, A]``, where a caller has it already; not with
            ``reference="previous"``.
        progress: told what goes on.

    Raises:
        UsageError, TokenizerError: as :func:`fit_tokenizer`.
    """
    native = as_chunks(chunks.actions if isinstance(chunks, Chunks) else chunks)
    if not len(native):
        raise UsageError("there is no chunk to fit on")
    require_finite(native)
    if normalizer is None:
        normalizer = Normalizer.fit(native.reshape(-1, native.shape[2]))
    report = progress or (lambda *_: None)
    inputs = _Inputs(native, _previous(chunks, settings), normalizer, transformed)
    codec = _choose_codec(inputs.sample(), settings, report)
    streams = _streams(codec, inputs, report)
    bpe = train_bpe(
        streams,
        num_symbols=codec.alphabet.size,
        vocab_size=settings.vocab_size,
        progress=lambda done, total: report("merges", done, total),
    )
    return Family(codec, bpe, streams, normalizer)


@dataclass(frozen=True)
class _Inputs:
    """Chunks on their way to a codec: normalised, relative to what is before them if that is asked for.

    Attributes:
        native: ``[N, H, A]``.
        previous: native ``[N, A]``, or None.
        normalizer: for both.
        transformed: the DCT of what the codec sees, or None.
    """

    native: NDArray[np.floating]
    previous: NDArray[np.floating] | None
    normalizer: Normalizer
    transformed: NDArray[np.float64] | None = None

    def at(self, picked: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """What the codec sees of the chunks at ``picked``."""
        chunks = self.normalizer.normalize(self.native[picked])
        if self.previous is not None:
            chunks -= self.normalizer.normalize(self.previous[picked])[:, None]
        return chunks

    def write(self, codec: Codec, picked: NDArray[np.integer[Any]]) -> Ragged:
        """The streams of the chunks at ``picked``."""
        transformed = None if self.transformed is None else np.asarray(self.transformed[picked])
        return codec.write(self.at(picked), transformed=transformed)

    def sample(self) -> NDArray[np.float64]:
        """At most :data:`_TRIAL_CHUNKS` chunks, evenly spread."""
        count = len(self.native)
        return self.at(np.linspace(0, count - 1, min(count, _TRIAL_CHUNKS)).astype(int))


def _previous(chunks: Chunks | ArrayLike, settings: FitSettings) -> NDArray[np.floating] | None:
    if settings.reference != "previous":
        return None
    if not isinstance(chunks, Chunks):
        raise UsageError("reference='previous' needs the actions before the chunks: fit on Chunks, not on an array")
    return chunks.previous


def _choose_codec(sample: NDArray[np.float64], settings: FitSettings, report: Progress) -> Codec:
    horizon, action_dim = sample.shape[1:]
    scale = settings.scale if settings.bins is None else settings.bins / 2
    base = Codec(
        horizon,
        action_dim,
        1.0 if scale is None else scale,
        MIN_LITERALS,
        order=settings.order,
        atol=settings.bound,
        reference=settings.reference,
        deadzone=settings.deadzone,
    )
    if settings.rdo:
        base = replace(base, rdo=settings.rdo, zero_share=zero_shares(base.quantize(sample)[0]))
    if settings.bound is not None:
        return _cheapest_codec(base, sample, settings.vocab_size, report)
    report("alphabet", 0, 1)
    counts = _trial_counts(base, sample, settings.vocab_size)
    report("alphabet", 1, 1)
    return replace(base, literals=min(counts, key=counts.__getitem__))


def _trial_vocab(vocab_size: int, order: Order) -> int:
    """The vocabulary of trials, the same for a whole family."""
    return _TRIAL_VOCAB if vocab_size >= family_of(_TRIAL_VOCAB, order) else vocab_size


def _cheapest_codec(base: Codec, sample: NDArray[np.float64], vocab_size: int, report: Progress) -> Codec:
    """The scale and the alphabet at which chunks take the fewest tokens while the codec's bound is kept.

    A coarser step makes smaller numbers, but more of them must be repaired or refined; a finer one wastes precision.
    Walks downhill from the first guess in steps of 12 %, by the mean over all alphabets: a single one's trial is noisy.
    """
    assert base.atol is not None
    first = _FIRST_GUESS / base.atol
    tried: dict[int, dict[int, int]] = {}

    def at(place: int) -> Codec:
        return replace(base, scale=first * _SCALE_STEP**place)

    def tokens(place: int) -> float:
        if place not in tried:
            report("precision", len(tried), max(4, len(tried) + 1))
            tried[place] = _trial_counts(at(place), sample, vocab_size)
        return float(np.mean(list(tried[place].values())))

    place = 0
    direction = 1 if tokens(1) < tokens(0) else -1
    while abs(place) < 12 and tokens(place + direction) < tokens(place):
        place += direction
    report("precision", 1, 1)
    return replace(at(place), literals=min(tried[place], key=tried[place].__getitem__))


def _trial_counts(codec: Codec, sample: NDArray[np.float64], vocab_size: int) -> dict[int, int]:
    """Tokens that half of the sample takes under merges of the other half, for each alphabet that is tried.

    A larger alphabet escapes less and leaves fewer ids for merges; where the balance lies depends on the data.
    """
    blocks = list(map_blocks(codec.quantize, sample, values=_BLOCK_VALUES))
    coefficients = np.concatenate([block for block, _ in blocks])
    refinements = [finer for _, finer in blocks if finer is not None]
    finer = np.concatenate(refinements) if refinements else None

    def tokens(literals: int) -> int:
        alphabet = Alphabet(literals, codec.order)
        even, odd = (
            write_stream(coefficients[part], alphabet, finer=None if finer is None else finer[part])
            for part in (slice(0, None, 2), slice(1, None, 2))
        )
        return _tokens(even, odd, alphabet, _trial_vocab(vocab_size, codec.order))

    candidates = _literal_candidates(int(np.abs(coefficients).max()), vocab_size, codec.order)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(candidates, pool.map(tokens, candidates), strict=True))


def _literal_candidates(peak: int, vocab_size: int, order: Order) -> list[int]:
    """The alphabets to try, as far as half of the vocabulary is left to merges and a coefficient is that large."""
    sizes = _LITERALS[order]
    top = max(MIN_LITERALS, min(sizes[-1], vocab_size // 4 - 2, peak))
    return [*(literals for literals in sizes if literals < top), top]


def _tokens(trained: Ragged, tested: Ragged, alphabet: Alphabet, vocab_size: int) -> int:
    """Tokens of ``tested`` under merges of ``trained``; of a single stream, its symbols."""
    if not len(tested):
        return len(trained.values)
    bpe = train_bpe(trained, num_symbols=alphabet.size, vocab_size=vocab_size)
    return len(bpe.encode(tested).values)


def _streams(codec: Codec, inputs: _Inputs, report: Progress) -> Ragged:
    """The streams of all chunks, made a block at a time: the numbers before them take many times their memory."""
    done, parts = 0, []
    indices = np.arange(len(inputs.native))
    chunk_values = inputs.native[0].size
    for part in map_blocks(lambda picked: inputs.write(codec, picked), indices, values=_BLOCK_VALUES // chunk_values):
        parts.append(part)
        done += len(part)
        report("streams", done, len(indices))
    return Ragged.concatenate(parts)
