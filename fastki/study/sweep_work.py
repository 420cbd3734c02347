"""From cells to rows: what a worker of a tokenizer sweep does.

Cells that differ in the vocabulary alone come together, and share the fit, the round trip and the streams: a larger
vocabulary's tokens are made of a smaller one's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastki.config import from_plain
from fastki.errors import FastkiError
from fastki.study.cells import Cell, Row, Shard
from fastki.study.grid import SweepCell
from fastki.study.ngram import ngram_nats
from fastki.study.rows import SweepRow, measured_row, payload, row_of_cell
from fastki.study.sweep_data import SweepData
from fastki.tokenizer import ActionTokenizer, RoundTrip, load_tokenizer, roundtrip
from fastki.tokenizer.binning import BinningTokenizer
from fastki.tokenizer.bspline import BsplineTokenizer
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.fit import fit_family
from fastki.tokenizer.kernels import warm_up
from fastki.tokenizer.published import PublishedFast
from fastki.tokenizer.ragged import Ragged
from fastki.tokenizer.reference import RangeError, coefficient_range, fit_reference, require_range

NGRAM_VALUES = 400_000
"""Action values that the n-gram model is counted on at most, the same chunks for every method.

On four times as many every figure falls by 3 to 8 % and their order stays (on recordings and the sample): windows
that begin a frame apart say little new."""

Placed = Iterator[tuple[int, Row]]


def sweep_rows(shard: Shard, cells: Sequence[Cell]) -> Placed:
    """The rows of cells of one group, each as soon as it is there; a refused cell's row says why."""
    warm_up()  # Else the first fit's seconds would be those of loading compiled code.
    data = SweepData.of(shard)
    mine = [from_plain(SweepCell, dict(cell.parameters)) for cell in cells]
    left = dict(enumerate(mine))
    try:
        for place, row in _METHODS[mine[0].method](data, mine):
            del left[place]
            yield place, row
    except FastkiError as error:
        for place, cell in left.items():
            yield place, payload(row_of_cell(cell, error=str(error)))


@dataclass(frozen=True)
class _Sample:
    """Places of the chunks that models are counted on and asked about, evenly spread."""

    fitted: NDArray[np.int64]
    heldout: NDArray[np.int64]

    @classmethod
    def of(cls, data: SweepData) -> _Sample:
        most = max(1, NGRAM_VALUES // data.fitted.actions[0].size)
        sides = (len(data.fitted), len(data.heldout))
        return cls(*(np.linspace(0, count - 1, min(count, most)).astype(np.int64) for count in sides))


@dataclass(frozen=True)
class FastMember:
    """One vocabulary of a family of FAST tokenizers, and its tokens.

    Attributes:
        place: of its cell.
        tokenizer: bit for bit what a fit of its own gives.
        result: of the family's round trip: all make the same errors.
        heldout: tokens of the held-out chunks.
        fitted: tokens of the chunks that models are counted on.
        fit_s: seconds of the family's fit.
    """

    place: int
    tokenizer: FastTokenizer
    result: RoundTrip
    heldout: Ragged
    fitted: Ragged
    fit_s: float


def fast_members(data: SweepData, cells: Sequence[SweepCell]) -> Iterator[FastMember]:
    """One fit at the largest vocabulary; the smaller ones take the first of its merges.

    Tokens are made once, too: each vocabulary goes on from where the next smaller one ended.
    """
    start = time.perf_counter()
    ascending = sorted(range(len(cells)), key=lambda place: cells[place].settings.vocab_size)
    largest = cells[ascending[-1]].settings
    family = fit_family(data.fitted, largest, normalizer=data.context.normalizer, transformed=data.transformed)
    fit_s = time.perf_counter() - start
    result = _round_trip(family.tokenizer(largest.vocab_size), data)
    held = family.codec.write(family.normalizer.normalize(data.heldout.actions))
    fitted = family.streams.take(_Sample.of(data).fitted)
    for step, place in enumerate(ascending):
        tokenizer = family.tokenizer(cells[place].settings.vocab_size)
        encode = tokenizer.bpe.encode_more if step else tokenizer.bpe.encode
        held, fitted = encode(held), encode(fitted)
        yield FastMember(place, tokenizer, result, held, fitted, fit_s)


def _fast(data: SweepData, cells: Sequence[SweepCell]) -> Placed:
    asked = _Sample.of(data).heldout
    for mine in fast_members(data, cells):
        row = measured_row(cells[mine.place], mine.tokenizer, data, mine.result, mine.heldout)
        row = replace(row, fit_s=mine.fit_s)
        row = _modelled(row, mine.tokenizer, data, mine.fitted, mine.heldout.take(asked))
        yield mine.place, payload(row, mine.result, mine.heldout)


def _reference(data: SweepData, cells: Sequence[SweepCell]) -> Placed:
    """As above; a cell whose vocabulary is below the coefficients' range fails, and says so."""
    start = time.perf_counter()
    assert cells[0].bins is not None
    scale, normalizer = cells[0].bins / 2, data.context.normalizer
    low, high = coefficient_range(data.transformed, scale)
    sizes: dict[int, int] = {}
    for place, cell in enumerate(cells):
        try:
            require_range(low, high, cell.vocab_size or 0)
        except RangeError as error:
            yield place, payload(row_of_cell(cell, error=f"{error}: the algorithm has no id for each of them"))
        else:
            sizes[place] = cell.vocab_size or 0
    if not sizes:
        return
    normalized = normalizer.normalize(data.fitted.actions)
    settings: dict[str, Any] = {"scale": scale, "vocab_size": max(sizes.values()), "normalizer": normalizer}
    fit = fit_reference(normalized, **settings, transformed=data.transformed)
    fit_s = time.perf_counter() - start
    for place, vocab_size in sizes.items():
        yield place, _whole_row(cells[place], fit.prefix(vocab_size), data, fit_s)


def _binning(data: SweepData, cells: Sequence[SweepCell]) -> Placed:
    _, horizon, action_dim = data.fitted.actions.shape
    for place, cell in enumerate(cells):
        tokenizer = BinningTokenizer(int(cell.bins or 0), horizon, action_dim, data.context.normalizer)
        yield place, _whole_row(cell, tokenizer, data, 0.0)


def _bspline(data: SweepData, cells: Sequence[SweepCell]) -> Placed:
    normalizer = data.context.normalizer
    for place, cell in enumerate(cells):
        start = time.perf_counter()
        assert cell.control_points is not None
        tokenizer = BsplineTokenizer.fit(
            normalizer.normalize(data.fitted.actions),
            bins=int(cell.bins or 0),
            control_points=cell.control_points,
            normalizer=normalizer,
        )
        yield place, _whole_row(cell, tokenizer, data, time.perf_counter() - start)


def _published(data: SweepData, cells: Sequence[SweepCell]) -> Placed:
    for place, cell in enumerate(cells):
        tokenizer = load_tokenizer(str(cell.path))
        assert isinstance(tokenizer, PublishedFast)
        yield place, _whole_row(cell, tokenizer.with_normalizer(data.context.normalizer), data, None)


_METHODS: dict[str, Callable[[SweepData, Sequence[SweepCell]], Placed]] = {
    "fast": _fast,
    "binning": _binning,
    "bspline": _bspline,
    "reference": _reference,
    "published": _published,
}


def _whole_row(cell: SweepCell, tokenizer: ActionTokenizer, data: SweepData, fit_s: float | None) -> Row:
    """The row of a tokenizer that shares nothing with others."""
    result = _round_trip(tokenizer, data)
    sample = _Sample.of(data)
    held = Ragged.from_list(tokenizer.encode(data.heldout.actions))
    fitted = Ragged.from_list(tokenizer.encode(data.fitted.actions[sample.fitted]))
    row = replace(measured_row(cell, tokenizer, data, result, held), fit_s=fit_s)
    return payload(_modelled(row, tokenizer, data, fitted, held.take(sample.heldout)), result, held)


def _round_trip(tokenizer: ActionTokenizer, data: SweepData) -> RoundTrip:
    context = data.context
    return roundtrip(tokenizer, [data.heldout], atol=context.atol, names=context.names, units=context.units)


def _modelled(row: SweepRow, tokenizer: ActionTokenizer, data: SweepData, fitted: Ragged, heldout: Ragged) -> SweepRow:
    """How well models foretell the tokens: the n-gram always, the probe where it was asked for."""
    values = data.fitted.actions[0].size
    row = replace(row, nats_per_value=ngram_nats(fitted, heldout, tokenizer.vocab_size, values_per_chunk=values))
    if not data.context.probe:
        return row
    from fastki.study.probe import ProbeSettings, run_probe

    settings = ProbeSettings(steps=data.context.probe, seed=data.context.seed)
    states = {"train_states": data.fitted_state, "test_states": data.heldout_state}
    probed = run_probe(tokenizer, data.fitted, data.heldout, settings, **states)
    return replace(
        row,
        probe_nats_per_value=probed.nats_per_value,
        rollout_rmse=probed.rollout_rmse,
        rollout_max=probed.rollout_max,
        rollout_repaired=probed.rollout_repaired,
        probe_s=probed.seconds,
    )
