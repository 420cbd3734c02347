"""Options that several commands share, each defined once."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

SAMPLE = "synthetic:droid"
OUT = Path("fastki-out")


class Norm(enum.StrEnum):
    """How native values become normalised ones."""

    quantile = "quantile"
    minmax = "minmax"
    zscore = "zscore"
    none = "none"


class DeltaFrom(enum.StrEnum):
    """What a delta dimension is relative to."""

    state = "state"
    previous = "previous"


class OrderName(enum.StrEnum):
    """Order of a chunk's coefficients in the stream."""

    freq = "freq"
    dim = "dim"


class ReferenceName(enum.StrEnum):
    """What a chunk's stream is relative to."""

    none = "none"
    previous = "previous"


class PadEndName(enum.StrEnum):
    """How chunks go on beyond an episode's end."""

    none = "none"
    repeat = "repeat"
    zero = "zero"


class PartName(enum.StrEnum):
    """Which episodes of the fitted data."""

    heldout = "heldout"
    fitted = "fitted"
    all = "all"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
