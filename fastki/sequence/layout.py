"""Layouts: where images, text, FAST tokens and noisy actions stand in the sequence, who sees whom, who is learnt.

A layout is data. Everything else about it (masks, positions, flags, weights) follows in :mod:`fastki.sequence.masks`.

>>> PRESETS["images-prompt-fast"].kinds
('images', 'prompt', 'fast', 'actions')
>>> PRESETS["images-fast-prompt"].after_fast
('prompt',)
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastki.config import from_plain
from fastki.errors import UsageError

Kind = Literal["images", "prompt", "state", "fast", "actions"]
Attends = Literal["bidirectional", "causal"]
Loss = Literal["none", "tokens", "flow"]
StateForm = Literal["none", "text", "token"]
TEXT: tuple[Kind, ...] = ("prompt", "state", "fast")
"""What a batch's ``tokenized_prompt`` holds, in the layout's order."""
_LOSS: dict[Kind, Loss] = {"fast": "tokens", "actions": "flow"}
_STATE_FORMS: dict[Kind, tuple[StateForm, ...]] = {"prompt": ("none", "text"), "state": ("text", "token")}
_MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Segment:
    """A run of tokens of one kind.

    Attributes:
        kind: ``images`` (every camera's tokens), ``prompt``, ``state``, ``fast`` (the FAST tokens and their end) or
            ``actions`` (the noisy ones, which the action expert reads and writes).
        attends: ``bidirectional``: its tokens see all of its block; ``causal``: each sees those before it. Both see
            all segments before, within KI's rules.
        loss: ``tokens`` (next-token cross-entropy) for FAST, ``flow`` for the actions, ``none`` for the rest.
        state: how the state comes in: ``text`` (256 bins as figures) in a prompt, as π0.5 has it, or in a segment
            of its own; there also as one continuous ``token``.
        own_block: begin a block, though the segment before is bidirectional too; by default they are one, and see
            each other.

    Raises:
        UsageError: a field that does not go with the kind.
    """

    kind: Kind
    attends: Attends = "bidirectional"
    loss: Loss = "none"
    state: StateForm = "none"
    own_block: bool = False

    def __post_init__(self) -> None:
        loss = _LOSS.get(self.kind, "none")
        if self.loss != loss:
            raise UsageError(f'the segment {self.kind} has loss = "{loss}", not "{self.loss}"')
        if self.kind == "fast" and self.attends != "causal":
            raise UsageError('the segment fast needs attends = "causal": next-token prediction may not look ahead')
        forms = _STATE_FORMS.get(self.kind, ("none",))
        if self.state not in forms:
            raise UsageError(f'the segment {self.kind} has state = {_either(forms)}, not "{self.state}"')

    @property
    def causal(self) -> bool:
        return self.attends == "causal"

    @property
    def continuous(self) -> bool:
        """Whether it is the state as one continuous token."""
        return self.state == "token"


@dataclass(frozen=True)
class Layout:
    """Segments in order.

    Attributes:
        name: for tables and on the command line.
        segments: each kind once at most; images first and actions last, as a batch holds the text in one piece.
        about: a remark for people.

    Raises:
        UsageError: segments that can't be a sequence; the message says what to do.
    """

    name: str
    segments: tuple[Segment, ...]
    about: str = ""

    def __post_init__(self) -> None:
        kinds = self.kinds
        twice = next((kind for kind in kinds if kinds.count(kind) > 1), None)
        if twice is not None:
            raise UsageError(f"layout {self.name}: {twice} stands there twice; each kind may stand there once")
        if "fast" not in kinds and "actions" not in kinds:
            raise UsageError(f"layout {self.name} learns nothing: it needs a segment fast, actions, or both")
        if "images" in kinds[1:]:
            raise UsageError(f"layout {self.name}: images must come first")
        if "actions" in kinds[:-1]:
            raise UsageError(f"layout {self.name}: actions must come last: nothing else may see them")
        if len([segment for segment in self.segments if segment.state != "none"]) > 1:
            raise UsageError(f'layout {self.name} has the state twice: give its prompt state = "none"')

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(segment.kind for segment in self.segments)

    def find(self, kind: Kind) -> Segment | None:
        """The segment of a kind, None where there is none."""
        return next((segment for segment in self.segments if segment.kind == kind), None)

    @property
    def text(self) -> tuple[Segment, ...]:
        """The segments of ``tokenized_prompt``."""
        return tuple(segment for segment in self.segments if segment.kind in TEXT)

    @property
    def after_fast(self) -> tuple[Kind, ...]:
        """Text that stands after the FAST tokens: it sees them, so the action expert may not see it."""
        kinds = self.kinds
        if "fast" not in kinds:
            return ()
        return tuple(kind for kind in kinds[kinds.index("fast") + 1 :] if kind in TEXT)

    @property
    def opens_with_fast(self) -> bool:
        """Whether the text begins with FAST: then that segment brings its own beginning, which carries no loss."""
        return bool(self.text) and self.text[0].kind == "fast"

    @property
    def state_form(self) -> StateForm:
        """How the state comes in."""
        return next((segment.state for segment in self.segments if segment.state != "none"), "none")

    def without_fast(self) -> Layout:
        """The same with no FAST segment: what stands there at inference."""
        return Layout(self.name, tuple(segment for segment in self.segments if segment.kind != "fast"), self.about)

    def for_flow(self) -> Layout:
        """What the action expert acts on: without FAST, and without what stood after it, which it never saw."""
        hidden = ("fast", *self.after_fast)
        return Layout(self.name, tuple(one for one in self.segments if one.kind not in hidden), self.about)

    def for_fast(self) -> Layout:
        """What FAST tokens are written after, and their own segment, which is the last.

        Raises:
            UsageError: there is none.
        """
        if "fast" not in self.kinds:
            raise UsageError(f"layout {self.name} has no FAST tokens")
        return Layout(self.name, self.segments[: self.kinds.index("fast") + 1], self.about)

    def prompts_expert(self) -> tuple[Kind, ...]:
        """The segments before FAST, all that the expert sees besides its own tokens, in order."""
        hidden = ("fast", "actions", *self.after_fast)
        return tuple(kind for kind in self.kinds if kind not in hidden)


_IMAGES, _FAST, _ACTIONS = Segment("images"), Segment("fast", "causal", "tokens"), Segment("actions", loss="flow")
_PI05 = Segment("prompt", state="text")


def _preset(name: str, about: str, *middle: Segment) -> Layout:
    return Layout(name, (_IMAGES, *middle, _ACTIONS), about)


PRESETS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        _preset("images-prompt-fast", "π0.5: the state in figures, inside the prompt", _PI05, _FAST),
        _preset("images-fast", "no prompt and no state", _FAST),
        _preset("images-fast-prompt", "FAST before the text", _FAST, _PI05),
        _preset(
            "images-prompt-state-fast",
            "the state in figures, a block of its own after the prompt",
            Segment("prompt"),
            Segment("state", state="text", own_block=True),
            _FAST,
        ),
        _preset(
            "images-prompt-state-token-fast",
            "the state as one continuous token",
            Segment("prompt"),
            Segment("state", state="token"),
            _FAST,
        ),
        _preset(
            "images-causal-prompt-fast", "π0.5 with a causal prompt", Segment("prompt", "causal", state="text"), _FAST
        ),
    )
}
DEFAULT = "images-prompt-fast"


def open_layout(name: str) -> Layout:
    """The layout that a user's word means: a preset's name, or a TOML file.

    Raises:
        UsageError: it is neither, or the file does not describe a layout.
    """
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return load_layout(path)
    near = difflib.get_close_matches(name, PRESETS, n=1)
    mend = f"did you mean {near[0]}?" if near else f"use {', '.join(PRESETS)}, or a .toml file of your own"
    raise UsageError(f"there is no layout {name!r}: {mend}")


def open_layouts(names: Sequence[str]) -> tuple[Layout, ...]:
    """Several, as :func:`open_layout`; UsageError too where two have one name, or there is none."""
    layouts = tuple(open_layout(name) for name in names)
    if not layouts:
        raise UsageError(f"no layout is named: use {', '.join(PRESETS)}, or a .toml file of your own")
    seen = [layout.name for layout in layouts]
    twice = next((name for name in seen if seen.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two layouts are called {twice}: each needs a name of its own")
    return layouts


def load_layout(path: Path) -> Layout:
    """A layout out of a TOML file: ``[[segments]]`` in order, and ``name`` if not the file's.

    Raises:
        UsageError: there is no such file, it is no TOML, or it does not describe a layout.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"layout {path} can't be read: {error.strerror or error}") from error
    if len(text) > _MAX_BYTES:
        raise UsageError(f"layout {path} is larger than {_MAX_BYTES // 1024} KiB: it is no layout")
    try:
        plain = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"layout {path} is no TOML: {error}") from error
    try:
        return from_plain(Layout, {"name": path.stem, **plain})
    except UsageError as error:
        raise UsageError(f"layout {path}: {error}") from error


def _either(words: Sequence[str]) -> str:
    return " or ".join(f'"{word}"' for word in words)
