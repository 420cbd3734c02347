"""Which ids of a vocabulary ordinary text uses, told from its pieces.

Three kinds of pieces are not ordinary. **Markers** stand for no text, such as PaliGemma's ``<loc0123>`` and
``<seg012>``, or the ``<unused7>`` that many vocabularies hold in reserve. **Controls** are never the outcome of
tokenizing. And the **rarest characters**: a vocabulary of SentencePiece's BPE ends with lone characters, by falling
frequency, and the end of Gemma's is private-use code points, dead scripts and musical notation. Its last half per cent
therefore counts as free, without which not even π0-FAST's own 2,048 ids would find room: 1,024 of them stand there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

RARE_SHARE = 0.005
"""How much of a vocabulary's end may be given up, as far as it is lone characters, printable ASCII apart."""

_RESERVED = re.compile(r"<\|?[A-Za-z_]+[0-9]+\|?>")  # Not <0x41>, which is a byte of ordinary text.
_MARKER = re.compile(r"<[|/]?[A-Za-z_][\w|:.-]*>")


def ordinary_ids(
    pieces: Sequence[str | None],
    *,
    declared: Collection[int] = (),
    controls: Collection[int] = (),
    used: Iterable[int] = (),
) -> NDArray[np.int64]:
    """The ids that sequences of ordinary text hold, int64, ascending.

    Args:
        pieces: of each id; None for an id without one.
        declared: ids of pieces that were added by name rather than learnt; they are free if they look like a marker.
        controls: ids that tokenizing never gives.
        used: ids that count as ordinary whatever their piece: those for beginning, end, padding, unknown.
    """
    ordinary = np.array([not _is_reserved(piece) for piece in pieces], dtype=bool)
    ordinary[[index for index in declared if _MARKER.fullmatch(pieces[index] or "")]] = False
    ordinary[list(controls)] = False
    last = np.flatnonzero(ordinary)
    last = last[len(last) - int(len(last) * RARE_SHARE) :]
    ordinary[[index for index in last.tolist() if _is_odd_character(pieces[index])]] = False
    ordinary[[index for index in used if index < len(pieces)]] = True
    return np.flatnonzero(ordinary).astype(np.int64)


def phrase_ids(ids: NDArray[np.integer], most: int = 3) -> str:
    """Ascending ids in words, as runs; of more than ``most`` runs the first ones.

    >>> phrase_ids(np.array([3, 4, 5, 9]))
    '3–5, 9'
    """
    ends = np.flatnonzero(np.diff(ids) > 1)
    firsts, lasts = ids[np.concatenate([[0], ends + 1])], ids[np.concatenate([ends, [len(ids) - 1]])]
    runs = [str(a) if a == b else f"{a}–{b}" for a, b in zip(firsts.tolist(), lasts.tolist(), strict=True)]
    return ", ".join(runs[:most]) + (
        f" and {len(runs) - most:,} more runs up to {lasts[-1]}" if len(runs) > most else ""
    )


def _is_reserved(piece: str | None) -> bool:
    return piece is None or (piece[:1] == "<" and _RESERVED.fullmatch(piece) is not None)


def _is_odd_character(piece: str | None) -> bool:
    return piece is not None and len(piece) == 1 and not (piece.isascii() and piece.isprintable())
