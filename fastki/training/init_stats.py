"""The statistics that lie beside the weights a run begins with: compared with the run's own, or taken for them.

A policy has learnt actions in normalised units. A run that begins with its weights and normalises otherwise gives the
same numbers another meaning, which training has to undo first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastki.data import Dataset, Normalizer
from fastki.data.norm_stats import FILE_NAME, NormStats, load_norm_stats
from fastki.data.normalize import Method
from fastki.errors import UsageError
from fastki.model.checkpoint_folder import find_checkpoint
from fastki.model.checkpoint_remote import local_checkpoint
from fastki.tokenizer import FitOptions
from fastki.training.config import TrainConfig
from fastki.training.steps import find_steps

INIT = "init"
"""The word in ``tokenizer.norm_stats`` for those of ``--init``; ``init/ID`` names one of several."""
_WIDTH = 1e-6
_SAME = 1e-3  # Of a dimension's range: less than quantiles of another split differ by.


@dataclass(frozen=True, eq=False)
class GivenStats:
    """Statistics that a run is to normalise by, rather than by those of its own data.

    Attributes:
        where: their folder, for messages.
        stats: by openpi's key, ``actions`` and perhaps ``state``.
    """

    where: str
    stats: Mapping[str, NormStats]

    def normalizer(self, key: str, dims: int, options: FitOptions) -> Normalizer:
        """That of ``actions`` or ``state`` of so many dimensions; of more statistics the first count, as in openpi.

        Raises:
            UsageError: they are of fewer dimensions, or not of the method that is asked for.
        """
        if key not in self.stats:
            raise UsageError(f"{self.where} has no statistics of {key}: leave tokenizer.norm_stats out")
        stats = self.stats[key]
        if len(stats) < dims:
            raise UsageError(f"{self.where} has {len(stats)} dimensions of {key}, and the data have {dims}")
        method = options.norm if key == "actions" else "quantile"
        quantiles = [None if one is None else one[:dims] for one in (stats.q01, stats.q99)]
        cut = NormStats(stats.mean[:dims], stats.std[:dims], *quantiles)
        self._require_width(key, cut, method)
        return Normalizer(method, cut, clip=options.clip and key == "actions")

    def _require_width(self, key: str, stats: NormStats, method: Method) -> None:
        """UsageError where a dimension would be divided by nothing."""
        width = stats.std if method == "zscore" else None
        if method in ("quantile", "minmax") and stats.q01 is not None and stats.q99 is not None:
            width = stats.q99 - stats.q01
        if width is not None and width.min(initial=1.0) <= _WIDTH:
            narrow = int(width.argmin())
            raise UsageError(f"{self.where}: dimension {narrow} of {key} has no width, so nothing can be divided by it")


def step_of(init: str) -> str:
    """The newest checkpoint of a run's folder; anything else as it stands."""
    folder = Path(init) / "checkpoints"
    latest = find_steps(folder, training=False).latest
    return init if latest is None else str(folder / str(latest))


def given_stats(config: TrainConfig, dataset: Dataset) -> GivenStats | None:
    """What ``tokenizer.norm_stats`` names; None where it names nothing.

    Raises:
        UsageError: there is none of it, or the tokenizer has statistics of its own.
        DataError: it can't be read.
    """
    asked = config.tokenizer.norm_stats
    if asked is None:
        return None
    if config.tokenizer.path is not None:
        raise UsageError("--tokenizer has its own statistics: leave tokenizer.norm_stats out, or let one be fitted")
    word, _, asset = asked.partition("/")
    if word != INIT:
        if not Path(asked, FILE_NAME).is_file():
            raise UsageError(f"tokenizer.norm_stats {asked} has no {FILE_NAME}: give its folder, or {INIT}")
        return GivenStats(asked, load_norm_stats(asked))
    if config.init is None:
        raise UsageError("tokenizer.norm_stats = init takes those of --init: give --init, or their folder")
    assets = _assets(config.init)
    place = assets.get(asset) if asset else _fitting(assets, dataset)
    if place is None:
        known = ", ".join(f"{INIT}/{name}" for name in assets) or "a folder, as it has none"
        raise UsageError(f"tokenizer.norm_stats = {asked} is not clear of {config.init}: give {known}")
    return GivenStats(str(place), load_norm_stats(place))


def init_note(config: TrainConfig, dataset: Dataset, own: Mapping[str, NormStats]) -> str | None:
    """A sentence where the run normalises otherwise than the weights that it begins with were trained by.

    Args:
        config: of the run.
        dataset: whose robot says which of several statistics to compare with.
        own: the run's statistics.

    Raises:
        DataError: the checkpoint or its statistics can't be read.
    """
    if config.init is None or config.init.endswith(".npz") or config.tokenizer.norm_stats is not None:
        return None
    assets = _assets(config.init)
    place = _fitting(assets, dataset)
    if place is None:
        return None if not assets else f"{config.init} has statistics of {', '.join(assets)}, and none for these data"
    theirs = load_norm_stats(place)
    words = [text for key in own if key in theirs and (text := _difference(key, own[key], theirs[key]))]
    if not words:
        return None
    if any(len(theirs[key]) < len(own[key]) for key in own if key in theirs):
        return f"{place} has statistics of other dimensions than this run ({' and '.join(words)})"
    return (
        f"{place} normalises otherwise than this run ({' and '.join(words)}), so that its weights have learnt other "
        f"units: --set tokenizer.norm_stats={INIT} takes its statistics"
    )


def _difference(key: str, own: NormStats, theirs: NormStats) -> str | None:
    """By how much the ends of a dimension's range are elsewhere, as a share of the range, where it is most."""
    if len(theirs) < len(own):
        return f"{key} of {len(theirs)} dimensions, not {len(own)}"
    dims = len(own)
    found = []
    for (low, high), (first, last) in zip(_ends(own), _ends(theirs), strict=False):
        apart = np.maximum(np.abs(low - first[:dims]), np.abs(high - last[:dims])) / np.maximum(high - low, _WIDTH)
        found.append((float(apart.max()), int(apart.argmax())))
    most, worst = min(found)  # An export has its own in one of the two: fastki.export.stats.openpi_stats.
    return None if most <= _SAME else f"{key} by up to {most:.0%} of the range, in dimension {worst}"


def _ends(stats: NormStats) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """A range by mean and standard deviation, and by quantiles where there are any."""
    by_std = (stats.mean - stats.std, stats.mean + stats.std)
    return [by_std] if stats.q01 is None or stats.q99 is None else [by_std, (stats.q01, stats.q99)]


def _assets(init: str) -> dict[str, Path]:
    """Id → folder; empty of what is no checkpoint of openpi's."""
    return {} if init.endswith(".npz") else find_checkpoint(local_checkpoint(os.fspath(step_of(init)))).assets


def _fitting(assets: Mapping[str, Path], dataset: Dataset) -> Path | None:
    """Those of the data's robot, or the only ones."""
    preset = dataset.info.preset
    if preset is not None and preset in assets:
        return assets[preset]
    return next(iter(assets.values())) if len(assets) == 1 else None
