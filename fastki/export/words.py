"""Names and sentences as a README can hold them, whatever they are made of."""

from __future__ import annotations

import json
import shlex


def in_python(text: str) -> str:
    """A string literal.

    >>> in_python('my "own" folder')
    '"my \\\\"own\\\\" folder"'
    """
    return json.dumps(text, ensure_ascii=not text.isprintable())


def in_shell(text: str) -> str:
    """One word of a command line.

    >>> in_shell("/my folder/x")
    "'/my folder/x'"
    """
    return shlex.quote(one_line(text))


def one_line(text: str) -> str:
    """The text without breaks and control characters."""
    return "".join(one if one.isprintable() else " " for one in text)


def listed(title: str, notes: tuple[str, ...]) -> str:
    """A chapter of notes; nothing where there are none."""
    return f"## {title}\n\n" + "\n".join(f"- {one_line(note)}" for note in notes) if notes else ""
