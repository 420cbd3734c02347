"""Layouts compared on a dataset: how long sequences get, what carries loss, what they cost, whether they can act.

Axis letters: N chunks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastki.data import Dataset, Normalizer
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import Layout
from fastki.sequence.sizes import ModelSize
from fastki.study.layout_options import LayoutOptions
from fastki.study.layout_rows import LayoutRow, layout_row
from fastki.study.layout_sample import Progress, read_sample
from fastki.study.layout_usability import usability
from fastki.tokenizer import ActionTokenizer

__all__ = ["Comparison", "LayoutOptions", "LayoutRow", "compare_layouts", "usability"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Layouts side by side.

    Attributes:
        rows: in the order asked for.
        layouts: likewise.
        totals: layout → tokens of each example, int64 ``[N]``, before any truncation; absent where there is an error.
        chunks, episodes: measured on.
        horizon: actions in a chunk.
        cameras: pictures counted for an example, at most: some episodes may lack a camera.
        size: of the model.
        text: name of the text tokenizer.
        state_normalizer: fitted on the state; None where there is none.
        notes: what a user should know, a sentence each.
    """

    rows: tuple[LayoutRow, ...]
    layouts: tuple[Layout, ...]
    totals: dict[str, NDArray[np.int64]]
    chunks: int
    episodes: int
    horizon: int
    cameras: int
    size: ModelSize
    text: str
    state_normalizer: Normalizer | None
    notes: tuple[str, ...]


def compare_layouts(
    tokenizer: ActionTokenizer, dataset: Dataset, options: LayoutOptions, *, progress: Progress | None = None
) -> Comparison:
    """Measure each layout on chunks of all episodes, cut as the tokenizer's were.

    Raises:
        UsageError: the data do not have the tokenizer's shape, or its ids do not fit into the text's vocabulary.
        DataError: the data can't be read, or no episode is as long as the horizon.
    """
    report = progress or (lambda *_: None)
    sample = read_sample(tokenizer, dataset, options, report)
    ids = FastIds.onto(options.text, sample.vocab, skip=options.skip, text_vocab=options.text_vocab)
    rows, totals = [], {}
    for done, layout in enumerate(options.layouts, 1):
        row, lengths = layout_row(layout, sample, ids, options)
        rows.append(row)
        if lengths is not None:
            totals[layout.name] = lengths
        report("layouts", done, len(options.layouts))
    return Comparison(
        tuple(rows),
        options.layouts,
        totals,
        chunks=len(sample.prompts),
        episodes=sample.episodes,
        horizon=sample.horizon,
        cameras=int(sample.cameras.max(initial=0)),
        size=options.size,
        text=options.text.name,
        state_normalizer=sample.normalizer,
        notes=sample.notes,
    )
