"""What reports' figures have in common: a title and a caption, two files each, and names drawn letter for letter."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastki.report.figures import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
MOST_CHARACTERS = 48


@dataclass(frozen=True)
class Drawn:
    """A figure, and what is said of it.

    Attributes:
        stem: of its files' names.
        title, caption: in words.
        figure: Matplotlib's.
    """

    stem: str
    title: str
    caption: str
    figure: Figure


def write_drawn(figures: Sequence[Drawn], folder: Path, *, stems: Sequence[str]) -> list[Path]:
    """Write each as PNG and SVG; those that an earlier run left there and this one lacks are taken away.

    Args:
        figures: whose stems are among ``stems``.
        folder: to write into.
        stems: of all figures that such a report can have.

    Raises:
        UsageError: the folder can't be written to.
    """
    paths = [save(drawn.figure, folder / f"{drawn.stem}{suffix}") for drawn in figures for suffix in SUFFIXES]
    for stem in set(stems) - {drawn.stem for drawn in figures}:
        for suffix in SUFFIXES:
            (folder / f"{stem}{suffix}").unlink(missing_ok=True)
    return paths


def clean(text: str, most: int = MOST_CHARACTERS) -> str:
    r"""A name from the data as Matplotlib draws it letter for letter: no formulas, one line, no missing glyph.

    >>> clean("cost in $ and \n€")
    'cost in \\$ and  €'
    """
    shown = text if len(text) <= most else f"{text[: most // 2]}…{text[-(most - most // 2 - 1) :]}"
    return "".join(_glyph(character) for character in shown)


def _glyph(character: str) -> str:
    if character == "$":
        return r"\$"
    if character.isspace():
        return " "
    return character if character.isprintable() and _has_glyph(character) else "□"


@functools.cache
def _has_glyph(character: str) -> bool:
    """Whether the font can draw it: Matplotlib would warn of each character that it can't."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return bool(get_font(findfont(FontProperties())).get_char_index(ord(character)))
