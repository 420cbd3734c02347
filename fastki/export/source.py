"""What is exported: a tokenizer by itself, or a trained policy with all that stands around it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastki.data.normalize import Normalizer
from fastki.errors import CheckpointError, UsageError
from fastki.tokenizer import FastTokenizer, load_tokenizer
from fastki.training.steps import ASSETS

if TYPE_CHECKING:
    from fastki.training.card import PolicyCard

DEFAULT_ASSET = "fastki"
_ASSET = re.compile(r"[\w.+-]+(/[\w.+-]+)*", re.ASCII)


@dataclass(frozen=True, eq=False)
class Source:
    """What an export is made of.

    Attributes:
        name: as the user gave it.
        tokenizer: whose folder is written; None: a published one, which has a name of its own.
        published: that name.
        normalizers: asset id → ``actions`` and, where there is a state, ``state``.
        card: of the policy; None for a tokenizer by itself.
        checkpoint: folder of the policy's step; None likewise.
    """

    name: str
    tokenizer: FastTokenizer | None
    published: str | None
    normalizers: Mapping[str, Mapping[str, Normalizer]]
    card: PolicyCard | None = None
    checkpoint: Path | None = None

    @property
    def step(self) -> int | None:
        """Of training, which the checkpoint is named by."""
        name = "" if self.checkpoint is None else self.checkpoint.absolute().name
        return int(name) if name.isascii() and name.isdigit() else None

    @property
    def by_std(self) -> bool:
        """Whether openpi normalises it by mean and standard deviation: π0 alone."""
        return self.card is not None and self.card.model.kind == "pi0"

    @property
    def asset_id(self) -> str:
        """Of the first statistics."""
        return next(iter(self.normalizers), DEFAULT_ASSET)


def tokenizer_source(name: str, asset_id: str | None) -> Source:
    """A tokenizer's folder or hub id.

    Args:
        name: of it.
        asset_id: of its statistics; None: the robot preset of the data that it was fitted on, else ``fastki``.

    Raises:
        TokenizerError: there is no such tokenizer, or a damaged one.
        UsageError: a published one, which needs no export; or an asset id that is none, or of a mixture.
    """
    tokenizer = load_tokenizer(name)
    if not isinstance(tokenizer, FastTokenizer):
        raise UsageError(f"{name} is a published FAST tokenizer, which openpi and LeRobot load as it is: name it there")
    if tokenizer.members:
        if asset_id is not None:
            raise UsageError("a mixture's statistics are called as its datasets: leave --asset-id out")
        found = {member.name: {"actions": member.normalizer} for member in tokenizer.members}
        return Source(name, tokenizer, None, found)
    normalizers = {} if tokenizer.normalizer is None else {"actions": tokenizer.normalizer}
    return Source(name, tokenizer, None, {checked_asset(asset_id or _robot(tokenizer)): normalizers})


def policy_source(checkpoint: Path, name: str, asset_id: str | None) -> Source:
    """One checkpoint of a run.

    Args:
        checkpoint: its folder.
        name: as the user gave it.
        asset_id: of its statistics; None: the run's own.

    Raises:
        CheckpointError, TokenizerError, DataError: a part of it is damaged.
        UsageError: an asset id that is none.
    """
    from fastki.training.card import load_assets

    assets = load_assets(checkpoint / ASSETS)
    actions, state = assets.tokenizer.normalizer, assets.state_normalizer
    if actions is None:
        raise CheckpointError(f"{checkpoint} has no normaliser of its actions: copy it again")
    normalizers = {"actions": actions} if state is None else {"state": state, "actions": actions}
    own = assets.tokenizer if isinstance(assets.tokenizer, FastTokenizer) else None
    found = {checked_asset(asset_id or assets.card.asset_id): normalizers}
    return Source(name, own, assets.card.published, found, assets.card, checkpoint)


def checked_asset(asset_id: str) -> str:
    """``asset_id``, a name, or several with slashes between them.

    Raises:
        UsageError: it could be no folder's name under ``assets``.
    """
    if not _ASSET.fullmatch(asset_id) or not all(part.strip(".") for part in asset_id.split("/")):
        raise UsageError(f"--asset-id {asset_id!r} is no name: use letters, digits, ., _, - and /, such as droid")
    return asset_id


def _robot(tokenizer: FastTokenizer) -> str:
    robot = None if tokenizer.source is None else tokenizer.source.opened.robot
    return robot if robot not in (None, "auto", "none") else DEFAULT_ASSET
