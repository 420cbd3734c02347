"""What is compared of layouts, and with what."""

from __future__ import annotations

from dataclasses import dataclass

from fastki.errors import UsageError
from fastki.sequence.layout import PRESETS, Layout
from fastki.sequence.options import SKIP
from fastki.sequence.sizes import SIZES, ModelSize
from fastki.sequence.text import ByteTokenizer, TextTokenizer


@dataclass(frozen=True)
class LayoutOptions:
    """What is compared, and with what.

    Attributes:
        layouts: their names differ.
        size: of the model.
        text: the text tokenizer.
        max_token_len: of every layout; None gives each the fewest that truncate nothing.
        cameras: pictures that an example has; None: those that the data have.
        skip: ids at the top of the text's vocabulary that FAST leaves alone.
        max_chunks: measure on at most so many.
        seed: of the sample.

    Raises:
        UsageError: a number out of range, or two layouts of one name.
    """

    layouts: tuple[Layout, ...] = tuple(PRESETS.values())
    size: ModelSize = SIZES["pi05"]
    text: TextTokenizer = ByteTokenizer()  # noqa: RUF009
    max_token_len: int | None = None
    cameras: int | None = None
    skip: int = SKIP
    max_chunks: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_token_len is not None and self.max_token_len < 1:
            raise UsageError(f"--max-token-len {self.max_token_len} is out of range: 1 or more is needed")
        if self.cameras is not None and not 0 <= self.cameras <= self.size.cameras:
            raise UsageError(
                f"--cameras {self.cameras}: the model {self.size.name} has {self.size.cameras} slots for cameras"
            )

    @property
    def text_vocab(self) -> int:
        """Ids of the text, those that FAST takes included."""
        return self.size.table_rows(self.text.vocab_size)
