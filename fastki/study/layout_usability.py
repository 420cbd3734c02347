"""Whether the action expert can act by a layout."""

from __future__ import annotations

from collections.abc import Sequence

from fastki.sequence.layout import Layout


def usability(layout: Layout) -> tuple[bool, str]:
    """Whether the action expert can act by this layout as it stands, and why or how, in words.

    >>> from fastki.sequence.layout import PRESETS
    >>> usability(PRESETS["images-prompt-fast"])
    (True, 'yes')
    >>> usability(PRESETS["images-fast-prompt"])[0]
    False
    """
    if layout.find("actions") is None:
        return False, "no: it has no action expert; its FAST tokens can be decoded one by one"
    late = layout.after_fast
    if late:
        what = " and ".join(late)
        verb = "come" if len(late) > 1 else "comes"
        return False, f"no: the {what} {verb} after FAST, where the expert may not look, so nothing prompts it"
    lacks = [word for word, absent in _absences(layout) if absent]
    return True, "yes" + (f", but the expert gets no {' and no '.join(lacks)}" if lacks else "")


def _absences(layout: Layout) -> Sequence[tuple[str, bool]]:
    return (
        ("images", layout.find("images") is None),
        ("prompt", layout.find("prompt") is None),
        ("state", layout.state_form == "none"),
    )
