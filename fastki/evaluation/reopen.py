"""A trained run opened again to be measured: its policy, its data as it was trained on them, and its split."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastki.data import ChunkSpec, Dataset, OpenOptions, open_with
from fastki.data.mixture import Mixture
from fastki.errors import CheckpointError, DataError, UsageError
from fastki.evaluation.fitting import Fit, fit_of
from fastki.evaluation.policy import Policy, Sampling, find_policy, load_policy
from fastki.sequence.assemble import Assembler, BatchShape
from fastki.sequence.text import open_text_tokenizer
from fastki.sequence.wording import Wording
from fastki.tokenizer import FastTokenizer, RoundTripOptions
from fastki.tokenizer.replay import Replay, Which
from fastki.training.config import TrainConfig
from fastki.training.prepare import Setup
from fastki.training.run_folder import RunFolder, read_config

Part = Literal["heldout", "train", "all"]
PARTS: tuple[Part, ...] = ("heldout", "train", "all")
_WHICH: dict[Part, Which] = {"heldout": "heldout", "train": "fitted", "all": "all"}


@dataclass(frozen=True, eq=False)
class Reopened:
    """A run, or one checkpoint of it.

    Attributes:
        policy: loaded.
        setup: what :func:`fastki.training.prepare.prepare` made of the run, on the data to be measured on.
        part: which of the data's episodes.
        episodes: int64, theirs, those long enough.
        checkpoint: the step's folder.
        run: the run's folder; None for a checkpoint that lies apart from it.
        notes: what a user should know, a sentence each.
    """

    policy: Policy
    setup: Setup
    part: Part
    episodes: NDArray[np.int64]
    checkpoint: Path
    run: Path | None
    notes: tuple[str, ...] = ()

    @property
    def step(self) -> int | None:
        """Of training, which the checkpoint is named by."""
        name = self.checkpoint.absolute().name
        return int(name) if name.isascii() and name.isdigit() else None


@dataclass(frozen=True)
class ReopenOptions:
    """What is measured on.

    Attributes:
        data: a dataset's name; None: the run's own.
        opened: how it is opened.
        part: which of its episodes; None: those held out of the run's own data, all of others.
        sampling: how actions are drawn.

    Raises:
        UsageError: ways to open data, and none are named.
    """

    data: str | None = None
    opened: OpenOptions = OpenOptions()  # noqa: RUF009
    part: Part | None = None
    sampling: Sampling = Sampling()  # noqa: RUF009

    def __post_init__(self) -> None:
        if self.data is None and self.opened != OpenOptions():
            raise UsageError("how data are opened can be said only of DATA: give it, as `fastki eval RUN DATA`")


def run_of(checkpoint: Path) -> Path | None:
    """The run's folder that a step's folder lies in; None where it lies apart."""
    run = checkpoint.absolute().parent.parent
    return _short(run) if RunFolder(run).exists() else None


def reopen(path: Path, options: ReopenOptions) -> Reopened:
    """The run at ``path``, or of the checkpoint there; nothing is fitted.

    Raises:
        CheckpointError: there is none, or it is damaged.
        UsageError: no episodes of the part asked for, or data that the policy does not fit.
        DataError: the data can't be opened.
    """
    checkpoint = find_policy(path)
    run = run_of(checkpoint)
    if run is None and options.data is None:
        raise CheckpointError(f"{checkpoint} lies apart from its run: give the DATA to measure it on")
    policy = load_policy(checkpoint, options.sampling)
    config = TrainConfig(mode=policy.card.mode) if run is None else read_config(RunFolder(run))
    dataset = _open(config, options)
    fit = fit_of(policy, dataset)
    replay, part, notes = _episodes(policy, dataset, config, options)
    episodes = replay.episodes.astype(np.int64)
    nothing = np.zeros(0, np.int64)
    setup = Setup(
        _configured(config, policy, dataset),
        dataset,
        policy.assets.tokenizer,
        _assembler(policy, fit, replay.spec),
        policy.card.model,
        policy.card.layout,
        nothing if part == "heldout" else episodes,
        episodes if part == "heldout" else nothing,
        tuple(fit.cameras),
        policy.card.fast_tokens,
        fitted=False,
    )
    return Reopened(policy, setup, part, episodes, checkpoint, run, notes)


def _open(config: TrainConfig, options: ReopenOptions) -> Dataset:
    if options.data is not None:
        dataset = open_with(options.data, options.opened)
    else:
        try:
            dataset = open_with(config.data.uri, config.data.opened)
        except DataError as error:
            raise DataError(f"the data of this run can't be opened ({error}); or give DATA") from error
    if isinstance(dataset, Mixture):
        names = ", ".join(member.name for member in dataset.members)
        raise UsageError(f"{dataset.info.uri} is a mixture ({names}): measure on one of its datasets")
    return dataset


def _configured(config: TrainConfig, policy: Policy, dataset: Dataset) -> TrainConfig:
    """The run's, with the data to be measured on."""
    uri, opened = dataset.info.uri, dataset.info.opened
    return dataclasses.replace(
        config, data=dataclasses.replace(config.data, uri=uri, opened=opened, images=bool(policy.card.slots))
    )


def _episodes(
    policy: Policy, dataset: Dataset, config: TrainConfig, options: ReopenOptions
) -> tuple[Replay, Part, tuple[str, ...]]:
    """The episodes to measure on, which part they are, and what is to be said of them."""
    own = _is_own(config, policy, dataset, options)
    part: Part = options.part or ("heldout" if own else "all")
    fit, uri = config.tokenizer.fit, dataset.info.uri
    cut = RoundTripOptions(
        part=_WHICH[part], horizon=policy.horizon, stride=fit.stride, holdout=fit.holdout, seed=fit.seed
    )
    replay = Replay.of(policy.assets.tokenizer, dataset, cut, split_others=True)
    notes = []
    if part == "heldout" and replay.part != "heldout":
        if options.part is not None:
            raise UsageError(f"no episode of {uri} is held out: give --episodes train, or other DATA")
        part = "train"
        notes.append("no episode is held out")
    if part != "heldout" and own:
        notes.append(f"{'these are' if part == 'train' else 'among these are'} episodes that it was trained on")
    if options.data is None and _has_changed(config, policy, dataset):
        notes.append(f"{uri} has changed since the run began: episodes held out now may have been trained on")
    return replay, part, tuple(notes)


def _is_own(config: TrainConfig, policy: Policy, dataset: Dataset, options: ReopenOptions) -> bool:
    """Whether these are the data that the policy was trained on, whose split is known."""
    return options.data in (None, config.data.uri) or _fingerprint(policy) == dataset.info.fingerprint


def _has_changed(config: TrainConfig, policy: Policy, dataset: Dataset) -> bool:
    """Whether the run's own data are not those that its tokenizer was fitted on when it began."""
    return config.tokenizer.path is None and _fingerprint(policy) != dataset.info.fingerprint


def _fingerprint(policy: Policy) -> str | None:
    """Of the data that the policy's tokenizer was fitted on."""
    tokenizer = policy.assets.tokenizer
    source = tokenizer.source if isinstance(tokenizer, FastTokenizer) else None
    return None if source is None else source.fingerprint


def _assembler(policy: Policy, fit: Fit, spec: ChunkSpec) -> Assembler:
    """As of the run, but that text for which the policy has no room is cut off: other data's may be longer."""
    card = policy.card
    model = card.model
    shape = BatchShape(model.max_token_len, model.action_dim, model.size.vision.image_size, truncate=True)
    wording = Wording(card.layout, open_text_tokenizer(card.text), policy.fast_ids)
    return Assembler(policy.assets.tokenizer, spec, wording, shape, policy.assets.state_normalizer, fit.cameras)


def _short(path: Path) -> Path:
    """As a user in this folder would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
