"""A FAST vocabulary among the ids of a text, for people: where it stands and what it takes, or why it can't.

>>> from fastki.sequence.sizes import SIZES
>>> from fastki.sequence.text import ByteTokenizer
>>> found = map_ids(1024, ByteTokenizer(), SIZES["pi05"])
>>> (found.highest, found.lowest, found.refusal), found.ends[0]
((257023, 256000, None), IdPair(fast=0, text=257023, stands=None))
>>> map_ids(1024, ByteTokenizer(1400), SIZES["tiny"]).ordinary
11
"""

from __future__ import annotations

from dataclasses import dataclass

from fastki.errors import UsageError
from fastki.sequence.ids import FastIds, IdRow
from fastki.sequence.options import SKIP
from fastki.sequence.prompts import FAST_END
from fastki.sequence.sizes import ModelSize
from fastki.sequence.text import TextTokenizer

ENDS = 3
"""Ids at each end of FAST's that are listed one by one."""


@dataclass(frozen=True)
class IdPair:
    """A FAST id and the text id at which it stands.

    Attributes:
        fast, text: ids.
        stands: what the text tokenizer reads there, "" for what it reads as nothing; None where it has no such id.
    """

    fast: int
    text: int
    stands: str | None


@dataclass(frozen=True)
class IdMap:
    """FAST ids among those of a text: FAST id ``i`` is text id ``highest − i``.

    Attributes:
        text: name of the text tokenizer; text_ids: how many ids it has.
        model: name of the size; text_vocab: rows of its table of text embeddings, ``text_ids`` or more.
        fast_vocab: ids of FAST.
        skip: ids at the top that stay free of FAST.
        highest, lowest: the text ids of the first and the last FAST id; None where they do not fit.
        rows: the whole vocabulary from its top to its bottom; empty where they do not fit.
        ends: the first and the last few FAST ids.
        beyond: ids of FAST's that the text tokenizer has not.
        spare: ids of FAST's that it has and ordinary text does not use: free ones, markers, the rarest characters.
        ordinary: ids of FAST's that ordinary text uses.
        specials: name → id, of the beginning of a text, its end, and padding; the beginning may be missing.
        closing: ids that follow FAST's in a sequence: ``|`` and the end.
        refusal: why batches can't be made so, and the mend; None where they can.
    """

    text: str
    text_ids: int
    model: str
    text_vocab: int
    fast_vocab: int
    skip: int
    highest: int | None
    lowest: int | None
    rows: tuple[IdRow, ...]
    ends: tuple[IdPair, ...]
    beyond: int
    spare: int
    ordinary: int
    specials: dict[str, int]
    closing: tuple[int, ...]
    refusal: str | None


def map_ids(fast_vocab: int, tokenizer: TextTokenizer, size: ModelSize, *, skip: int = SKIP) -> IdMap:
    """Where a FAST vocabulary stands; one that runs into ordinary text, or does not fit, is shown with the refusal.

    Args:
        fast_vocab: ids of FAST.
        tokenizer: of the text.
        size: of the model.
        skip: ids at the top that stay free of FAST.

    Raises:
        TokenizerError: the text tokenizer can't read its own ids.
    """
    text_vocab = size.table_rows(tokenizer.vocab_size)
    refusal, ids = None, None
    try:
        ids = FastIds.onto(tokenizer, fast_vocab, skip=skip, text_vocab=text_vocab)
    except UsageError as error:
        refusal = str(error)
        if fast_vocab + skip <= text_vocab:
            ids = FastIds(text_vocab, fast_vocab, skip)
    ordinary = 0 if ids is None else len(ids.overlap(tokenizer))
    beyond = 0 if ids is None else max(0, ids.highest - max(ids.lowest, tokenizer.vocab_size) + 1)
    specials = {"beginning": tokenizer.bos_id, "end": tokenizer.eos_id, "padding": tokenizer.pad_id}
    return IdMap(
        text=tokenizer.name,
        text_ids=tokenizer.vocab_size,
        model=size.name,
        text_vocab=text_vocab,
        fast_vocab=fast_vocab,
        skip=skip,
        highest=None if ids is None else ids.highest,
        lowest=None if ids is None else ids.lowest,
        rows=() if ids is None else ids.rows(tokenizer),
        ends=() if ids is None else _ends(ids, tokenizer),
        beyond=beyond,
        spare=0 if ids is None else fast_vocab - beyond - ordinary,
        ordinary=ordinary,
        specials={name: index for name, index in specials.items() if index is not None},
        closing=(*tokenizer.encode(FAST_END), tokenizer.eos_id),
        refusal=refusal,
    )


def _ends(ids: FastIds, tokenizer: TextTokenizer) -> tuple[IdPair, ...]:
    last = ids.fast_vocab
    shown = range(last) if last <= 2 * ENDS else [*range(ENDS), *range(last - ENDS, last)]
    pairs = [(fast, int(ids.to_text(fast))) for fast in shown]
    return tuple(
        IdPair(fast, text, tokenizer.decode([text]) if text < tokenizer.vocab_size else None) for fast, text in pairs
    )
