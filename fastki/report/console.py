"""A console that only fastki itself can give orders to: names out of data and paths are shown, never obeyed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_ORDERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, which move the cursor, colour or rename the window; those that turn the writing round; and what
is no character at all, in a file's name that is not UTF-8."""


class SafeConsole(Console):
    """A console on which such characters of a text, wherever it stands, become �."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of anything that can be shown."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=_ORDERS.sub("\ufffd", segment.text))
