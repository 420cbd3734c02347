"""The grid of a tokenizer sweep: options in, cells out, each wish checked before any work."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fastki.errors import UsageError
from fastki.tokenizer.binning import require_bins
from fastki.tokenizer.bspline import DEGREE, require_control_points
from fastki.tokenizer.fit import DEFAULT_ATOL, FitSettings, family_of
from fastki.tokenizer.pipeline import FitOptions
from fastki.tokenizer.published import PublishedFast
from fastki.tokenizer.store import load_tokenizer
from fastki.tokenizer.stream import ORDERS, Order

METHODS = ("fast", "binning", "bspline", "reference", "published")
BOUND = "bound"
"""Among the bins: FAST whose encoder keeps ``atol`` on every value, at the precision that takes the fewest tokens."""

_POINTS_SHARE = 0.4  # 20 control points for 50 steps.


@dataclass(frozen=True)
class SweepCell:
    """One tokenizer of the grid.

    Attributes:
        method: one of :data:`METHODS`.
        horizon: H.
        bins: over [-1, 1] (of a spline's coefficients: over their range); None under a bound, or where a published
            tokenizer brings its own.
        bound: the encoder's error bound, normalised units, or None.
        vocab_size: ids at most, where the method takes that.
        order: of FAST's coefficients.
        control_points: of a spline, per dimension.
        path: of a published tokenizer.
        digest: of that one's files: another tokenizer in its place is another cell.
    """

    method: str
    horizon: int
    bins: float | None = None
    bound: float | None = None
    vocab_size: int | None = None
    order: Order | None = None
    control_points: int | None = None
    path: str | None = None
    digest: str | None = None

    @property
    def settings(self) -> FitSettings:
        """Those of a FAST cell, as ``fastki fit`` would have them."""
        assert self.vocab_size is not None
        assert self.order is not None
        return FitSettings(self.vocab_size, bins=self.bins, atol=self.bound, order=self.order)

    @property
    def group(self) -> str:
        """Cells of one group share a fit."""
        shared = replace(self, vocab_size=None)
        if self.method == "fast" and self.order is not None and self.vocab_size is not None:
            return f"{shared} family {family_of(self.vocab_size, self.order)}"
        return str(shared)


@dataclass(frozen=True)
class SweepOptions:
    """What a sweep compares, and on which data.

    Attributes:
        vocab: sizes of vocabularies, for FAST and the reference.
        bins: quantisation steps over [-1, 1], :data:`BOUND` among them or not.
        horizon: H each; empty for that of data that are chunks already, else 16.
        order: of FAST's coefficients.
        method: ``fast``, ``binning``, ``bspline`` or ``bspline:K`` (K control points; by default 0.4 H, as in
            the published example of BEAST, and at least 4), ``reference``, ``published:PATH``.
        atol: bound on the error that is asked about, normalised units; None is 0.01, and asks nothing of the
            recommendation where ``max_tokens`` does.
        max_tokens: that 99 of 100 chunks may take, or None.
        probe: steps that a tiny transformer is trained on each cell's tokens; 0 for none.
        data: how the dataset is cut, normalised and split; its ``tokenizer`` and ``horizon`` are not looked at.

    Raises:
        UsageError: a value out of range or an unknown method.
    """

    vocab: tuple[int, ...] = (256, 1024, 4096)
    bins: tuple[float | str, ...] = (20.0, 64.0, 256.0, BOUND)
    horizon: tuple[int, ...] = ()
    order: tuple[Order, ...] = ("freq",)
    method: tuple[str, ...] = ("fast",)
    atol: float | None = None
    max_tokens: float | None = None
    probe: int = 0
    data: FitOptions = field(default_factory=FitOptions)

    @property
    def bound(self) -> float:
        """The error bound asked about, normalised units."""
        return DEFAULT_ATOL if self.atol is None else self.atol

    def __post_init__(self) -> None:
        for name in ("vocab", "bins", "horizon", "order", "method"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
            if name != "horizon" and not getattr(self, name):
                raise UsageError(f"--{name} names nothing to compare")
        if not self.bound > 0:
            raise UsageError(f"--atol must be a positive number, not {self.atol}")
        if self.max_tokens is not None and not self.max_tokens > 0:
            raise UsageError(f"--max-tokens must be a positive number, not {self.max_tokens}")
        if self.probe < 0:
            raise UsageError(f"--probe must be a number of training steps, 0 or more, not {self.probe}")
        for order in self.order:
            if order not in ORDERS:
                raise UsageError(f"--order {order!r} is unknown: use {' or '.join(ORDERS)}")
        for method in self.method:
            _parse_method(method)
        for vocab, bins in itertools.product(self.vocab, self.bins):
            FitSettings(vocab, bins=None if bins == BOUND else _number(bins))


def grid(options: SweepOptions, horizons: Sequence[int]) -> tuple[SweepCell, ...]:
    """The cells by method, horizon, order, bins and vocabulary, as far as a method knows these.

    Raises:
        UsageError, TokenizerError: a cell that its method can't be, or a published tokenizer that can't be read.
    """
    cells: list[SweepCell] = []
    for method, horizon in itertools.product(options.method, horizons):
        name, argument = _parse_method(method)
        cells += _cells_of(options, name, argument, horizon)
    if not cells:
        raise UsageError(f"--bins {BOUND} is FAST's: give a number of bins for --method {','.join(options.method)}")
    return tuple(cells)


def _cells_of(options: SweepOptions, name: str, argument: str, horizon: int) -> list[SweepCell]:
    numbers = [_number(bins) for bins in options.bins if bins != BOUND]
    if name == "fast":
        precisions = [(None, options.bound) if bins == BOUND else (_number(bins), None) for bins in options.bins]
        grid_of = itertools.product(options.order, precisions, options.vocab)
        return [SweepCell(name, horizon, bins, bound, vocab, order) for order, (bins, bound), vocab in grid_of]
    if name == "reference":
        return [SweepCell(name, horizon, bins, vocab_size=vocab) for bins in numbers for vocab in options.vocab]
    if name == "published":
        return [SweepCell(name, horizon, path=argument, digest=_digest(argument))]
    for bins in numbers:
        require_bins(bins, 2)
    if name == "binning":
        return [SweepCell(name, horizon, bins) for bins in numbers]
    points = int(argument) if argument else max(DEGREE + 1, round(_POINTS_SHARE * horizon))
    require_control_points(points, horizon)
    return [SweepCell(name, horizon, bins, control_points=points) for bins in numbers]


def _parse_method(method: str) -> tuple[str, str]:
    """Name and argument of ``name[:argument]``."""
    name, _, argument = method.partition(":")
    if name not in METHODS or (argument and name not in ("bspline", "published")):
        raise UsageError(
            f"--method {method!r} is unknown: use fast, binning, bspline, bspline:K, reference or published:PATH"
        )
    if name == "published" and not argument:
        raise UsageError("--method published needs a folder or hub id: published:PATH")
    if name == "bspline" and argument and not argument.isdecimal():
        raise UsageError(f"--method {method!r}: the number of control points must be a whole number")
    return name, argument


def _number(bins: float | str) -> float:
    try:
        return float(bins)
    except ValueError as error:
        raise UsageError(f"--bins {bins!r} is no number of bins: use numbers, or {BOUND}") from error


def _digest(path: str) -> str:
    tokenizer = load_tokenizer(path)
    if not isinstance(tokenizer, PublishedFast):
        raise UsageError(f"{Path(path)} is a tokenizer of fastki's, no published one: `fastki roundtrip` measures it")
    text = f"{tokenizer.scale} {tokenizer.min_token} {tokenizer.bpe.to_str()}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]
