"""Names from data in figures: drawn letter for letter, whatever they hold."""

from __future__ import annotations

import functools

MOST_CHARACTERS = 48


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
