"""The text of a sequence, to the letter as openpi writes it, since a checkpoint knows no other.

Each model has its own words: π0 the bare prompt and a line's end, π0.5 the prompt and the state in figures, π0-FAST
the same in lower case. The state is read after normalisation and before its dimensions are padded.

Some texts are tokenized in pieces, because a tokenizer may join what stands together: π0's prompt and its
:data:`PI0_END`; π0-FAST's prefix, then :data:`FAST_START`, the FAST ids, and :data:`FAST_END` with the end of the
text. Only the first piece begins with the id for the beginning.

Axis letters: S state dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastki.errors import DataError, UsageError

STATE_BINS = 256
FAST_START = "Action: "
"""What stands before π0-FAST's action tokens; the prefix of π0.5 ends with it."""
FAST_END = "|"
"""What stands after the action tokens, before the id for the end."""
PI0_END = "\n"
"""What ends π0's prompt."""

_EDGES = np.linspace(-1, 1, STATE_BINS + 1)[:-1]


def state_bins(state: ArrayLike) -> NDArray[np.int64]:
    """The bin of each number of a normalised state, int64 of the state's shape: 0 … 255, or −1 below the range.

    The bins are 256 equal ones over [−1, 1], their lower edge included. What lies above the range is in the last
    of them and what lies below has −1, as openpi counts.

    >>> state_bins([-1.5, -1.0, 0.0, 0.999, 1.5]).tolist()
    [-1, 0, 128, 255, 255]

    Args:
        state: any shape, normalised units; the precision is kept, because float32 can round onto an edge.

    Raises:
        DataError: NaN or infinity.
        UsageError: no numbers.
    """
    values = np.asarray(state)
    if values.dtype.kind not in "iuf":
        raise UsageError(f"a state is an array of numbers, not of {values.dtype}")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DataError(
            f"the state's dimension {bad[0] % max(1, values.shape[-1])} is {values.flat[bad[0]]}: leave out frames "
            "whose state is not finite"
        )
    return np.searchsorted(_EDGES, values, side="right").astype(np.int64) - 1


def state_text(state: ArrayLike) -> str:
    """The bins of one state ``[S]`` in figures, with spaces between them.

    Raises:
        DataError, UsageError: see :func:`state_bins`; or not one axis.
    """
    bins = state_bins(state)
    if bins.ndim != 1:
        raise UsageError(f"one state has the shape [S], not {list(bins.shape)}")
    return " ".join(map(str, bins.tolist()))


def pi05_prefix(prompt: str, state: NDArray[np.floating] | None) -> str:
    r"""π0.5's text before the action tokens.

    >>> pi05_prefix(" Pick_up the cup", np.array([-1.0, 0.25]))
    'Task: Pick up the cup, State: 0 160;\nAction: '

    Args:
        prompt: the instruction; its letters keep their case.
        state: ``[S]``, normalised; None leaves it out (for layouts that give it as a continuous token or not at
            all; openpi's π0.5 always has one).

    Raises:
        DataError, UsageError: see :func:`state_text`.
    """
    return f"Task: {clean_prompt(prompt)}{_state(state)};\n{FAST_START}"


def pi0_fast_prefix(prompt: str, state: NDArray[np.floating] | None) -> str:
    r"""π0-FAST's text before :data:`FAST_START`; in lower case, and line ends in the prompt stay.

    >>> pi0_fast_prefix("Pick_up the Cup", np.array([-1.0, 0.25]))
    'Task: pick up the cup, State: 0 160;\n'

    Args:
        prompt: the instruction.
        state: ``[S]``, normalised; None leaves it out.

    Raises:
        DataError, UsageError: see :func:`state_text`.
    """
    return f"Task: {prompt.lower().strip().replace('_', ' ')}{_state(state)};\n"


def clean_prompt(prompt: str) -> str:
    """The instruction as π0.5 writes it, and the whole of π0's text before :data:`PI0_END`.

    Nothing at its ends, and spaces for underscores and line ends.
    """
    return prompt.strip().replace("_", " ").replace("\n", " ")


def _state(state: ArrayLike | None) -> str:
    return "" if state is None else f", State: {state_text(state)}"
