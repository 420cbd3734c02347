"""SentencePiece models with the layout of PaliGemma's: trained on a few sentences, and pieces added at the end."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Iterable

import sentencepiece

NORMAL, USER_DEFINED = 1, 4
MARKERS = [*(f"<loc{i:04d}>" for i in range(1024)), *(f"<seg{i:03d}>" for i in range(128))]
_VERBS, _COLOURS = ("pick up", "put down", "push", "open", "close", "turn", "fold"), ("red", "green", "blue", "small")
_THINGS, _PLACES = ("cup", "bottle", "drawer", "towel", "spoon", "lid"), ("left", "right", "table", "bowl", "shelf")


def sentences(count: int = 400) -> list[str]:
    """Prompts as robots get them, with a state in figures."""
    rng = random.Random(0)
    words = [[rng.choice(words) for words in (_VERBS, _COLOURS, _THINGS, _PLACES)] for _ in range(count)]
    states = [" ".join(str(rng.randrange(-1, 256)) for _ in range(4)) for _ in range(count)]
    return [
        f"Task: {verb} the {colour} {thing} on the {place}, State: {state};"
        for (verb, colour, thing, place), state in zip(words, states, strict=True)
    ]


def train(vocab_size: int = 420, **options: object) -> bytes:
    """A model of BPE with fallback to bytes: padding 0, end 1, beginning 2, unknown 3, as PaliGemma's."""
    model = io.BytesIO()
    settings: dict[str, object] = {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "byte_fallback": True}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences()),
        model_writer=model,
        vocab_size=vocab_size,
        model_type="bpe",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        minloglevel=2,
        **(settings | options),
    )
    return model.getvalue()


def with_pieces(model: bytes, pieces: Iterable[str], kind: int) -> bytes:
    """The model with pieces at its end: a repeated field of a message goes on wherever it comes again."""
    return model + b"".join(_piece(piece, kind) for piece in pieces)


def _piece(text: str, kind: int) -> bytes:
    data = text.encode()
    assert len(data) < 100, "one byte must do for a length"
    message = b"\x0a" + bytes([len(data)]) + data + b"\x15" + struct.pack("<f", -1e6) + b"\x18" + bytes([kind])
    return b"\x0a" + bytes([len(message)]) + message
