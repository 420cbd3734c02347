"""What reports' figures have in common: a title and a caption, and two files each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastki.report.figures import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")


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
