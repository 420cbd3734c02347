"""Which text FAST's ids stand among, as a user says it: names and numbers, which nothing is opened for."""

from __future__ import annotations

from dataclasses import dataclass

from fastki.errors import UsageError

SKIP = 128
"""Ids at the top of the text's vocabulary that openpi leaves alone."""


@dataclass(frozen=True)
class TextOptions:
    """Where FAST's ids stand.

    Attributes:
        model: name of a size, whose table of text embeddings it is.
        text: the text tokenizer, as :func:`fastki.sequence.text.open_text_tokenizer` takes it.
        skip: ids at the top of the text's vocabulary that FAST leaves alone.

    Raises:
        UsageError: fewer than none are skipped.
    """

    model: str = "pi05"
    text: str = "byte"
    skip: int = SKIP

    def __post_init__(self) -> None:
        if self.skip < 0:
            raise UsageError(f"--skip {self.skip} is out of range: 0 or more is needed")
