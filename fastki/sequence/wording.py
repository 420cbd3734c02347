"""The words of each segment of a layout, and their ids.

Text before FAST reads as π0.5's, whichever segments it is cut into; FAST's own segment is its ids, ``|``, and the end.

Axis letters: N examples, S text segments of the layout, D state dimensions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastki.errors import UsageError
from fastki.sequence.batch import STATE_TOKEN
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import Kind, Layout
from fastki.sequence.prompts import FAST_END, FAST_START, clean_prompt, state_bins
from fastki.sequence.text import TextTokenizer

_LINE_END = ";\n"


@dataclass(frozen=True)
class Phrase:
    """What a segment of text says.

    Attributes:
        kind: the segment's.
        lead, end: what stands before and after it.
        task, state: whether it tells the instruction, and the state in figures.
    """

    kind: Kind
    lead: str
    task: bool
    state: bool
    end: str

    def say(self, prompt: str, figures: str) -> str:
        """The words; ``prompt`` is clean, ``figures`` the state's bins."""
        said = ([f"Task: {prompt}"] if self.task else []) + ([f"State: {figures}"] if self.state else [])
        return self.lead + ", ".join(said) + self.end


def phrases(layout: Layout) -> dict[Kind, Phrase]:
    r"""What each segment of text says, but for FAST's and a continuous state.

    >>> from fastki.sequence.layout import PRESETS
    >>> said = phrases(PRESETS["images-prompt-state-fast"])
    >>> [said[kind].say("pick up the cup", "0 160") for kind in ("prompt", "state")]
    ['Task: pick up the cup', ', State: 0 160;\nAction: ']
    """
    words = [segment for segment in layout.text if segment.kind != "fast" and not segment.continuous]
    late = layout.after_fast
    early = [segment for segment in words if segment.kind not in late]
    said: dict[Kind, Phrase] = {}
    for part, end in ((early, _LINE_END + FAST_START), ([one for one in words if one.kind in late], _LINE_END)):
        for number, segment in enumerate(part):
            said[segment.kind] = Phrase(
                segment.kind,
                ", " if number else "",
                segment.kind == "prompt",
                segment.state == "text",
                end if number == len(part) - 1 else "",
            )
    return said


@dataclass(frozen=True, eq=False)
class Wording:
    """A layout in a text tokenizer's ids.

    Attributes:
        layout: the segments.
        text: the tokenizer of text.
        fast: where FAST's ids stand; None only for a layout without FAST.

    Raises:
        UsageError: the layout has FAST tokens and ``fast`` is None.
    """

    layout: Layout
    text: TextTokenizer
    fast: FastIds | None = None

    def __post_init__(self) -> None:
        if self.fast is None and "fast" in self.layout.kinds:
            raise UsageError(f"layout {self.layout.name} has FAST tokens: say where their ids stand, with FastIds.onto")

    @cached_property
    def head(self) -> list[int]:
        """What opens FAST's segment where no text stands before it: the beginning and ``Action: ``."""
        return self.text.encode(FAST_START, add_bos=True) if self.layout.opens_with_fast else []

    @cached_property
    def tail(self) -> list[int]:
        """What ends it: ``|`` and the end."""
        return [*self.text.encode(FAST_END), self.text.eos_id]

    @property
    def opening(self) -> int:
        """Tokens at the head of FAST's segment that are given, not predicted."""
        return len(self.head)

    def encode(
        self,
        prompts: Sequence[str],
        states: NDArray[np.floating] | None,
        fast: Sequence[NDArray[np.integer]] | None,
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The ids of N examples end to end, int32, and the lengths of their text segments, int64 ``[N, S]``.

        Args:
            prompts: N instructions.
            states: ``[N, D]`` normalised, not padded; None where there is none.
            fast: N sequences of FAST ids; None leaves that segment's tokens out but for its opening, as at inference.

        Raises:
            UsageError: the layout writes the state and there is none.
            DataError: a state is not finite.
            TokenizerError: a FAST id outside its vocabulary.
        """
        mapped, figures, said = self._map(fast), self._figures(len(prompts), states), self.phrases
        clean = {prompt: clean_prompt(prompt) for prompt in prompts}
        pieces: list[NDArray[np.int32] | list[int]] = []
        text = self.layout.text
        for place, prompt in enumerate(prompts):
            for number, segment in enumerate(text):
                if segment.kind == "fast":
                    pieces += self._around(mapped, place)
                elif segment.continuous:
                    pieces.append([STATE_TOKEN])
                else:
                    words = said[segment.kind].say(clean[prompt], figures[place])
                    pieces.append(self.text.encode(words, add_bos=number == 0))
        return self._joined(pieces, len(prompts))

    @cached_property
    def phrases(self) -> dict[Kind, Phrase]:
        """What each segment of text says."""
        return phrases(self.layout)

    def _figures(self, count: int, states: NDArray[np.floating] | None) -> list[str]:
        """The state of each example in figures, "" where the layout has none."""
        if self.layout.state_form != "text":
            return [""] * count
        if states is None:
            raise UsageError(
                f"layout {self.layout.name} writes the state, and there is none: choose one with --state-key KEY"
            )
        return [" ".join(map(str, row)) for row in state_bins(states).tolist()]

    def _map(self, fast: Sequence[NDArray[np.integer]] | None) -> list[NDArray[np.int32]] | None:
        """The text ids of FAST ids: all in one look."""
        if fast is None or self.fast is None:
            return None
        whole = self.fast.to_text(np.concatenate(fast)) if len(fast) else np.zeros(0, np.int32)
        return np.split(whole, np.cumsum([len(one) for one in fast])[:-1]) if len(fast) else []

    def _around(self, mapped: list[NDArray[np.int32]] | None, place: int) -> list[NDArray[np.int32] | list[int]]:
        """FAST's segment in three pieces."""
        if mapped is None:
            return [self.head, [], []]
        return [self.head, mapped[place], self.tail]

    def _joined(
        self, pieces: Sequence[NDArray[np.int32] | list[int]], count: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        widths = [3 if segment.kind == "fast" else 1 for segment in self.layout.text]
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces)).reshape(count, sum(widths))
        starts = np.cumsum([0, *widths])[:-1]
        flat = itertools.chain.from_iterable(piece if isinstance(piece, list) else piece.tolist() for piece in pieces)
        ids = np.fromiter(flat, np.int32, int(lengths.sum()))
        return ids, np.add.reduceat(lengths, starts, axis=1) if widths else np.zeros((count, 0), np.int64)
