"""Options that several commands share, each defined once."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Optional

import typer

SAMPLE = "synthetic:droid"
OUT = Path("fastki-out")


class Norm(str, enum.Enum):
    """How native values become normalised ones."""

    quantile = "quantile"
    minmax = "minmax"
    zscore = "zscore"
    none = "none"


class DeltaFrom(str, enum.Enum):
    """What a delta dimension is relative to."""

    state = "state"
    previous = "previous"


class OrderName(str, enum.Enum):
    """Order of a chunk's coefficients in the stream."""

    freq = "freq"
    dim = "dim"


class SplitName(str, enum.Enum):
    """Which episodes of the fitted data."""

    heldout = "heldout"
    fitted = "fitted"
    all = "all"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
ActionKey = Annotated[
    Optional[str],  # noqa: UP045 - Typer reads this at run time on every supported Python
    typer.Option(help="Feature that holds the actions; several joined by commas. Found by default."),
]
StateKey = Annotated[Optional[str], typer.Option(help="Feature that holds the state.")]  # noqa: UP045
